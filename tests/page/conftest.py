"""One engine of four nodes, with an nvidia-smi of its own on PATH."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import BIN, LocalEngine, local_engine

TESTS = Path(__file__).resolve().parent.parent

SMI = """#!/bin/sh
while :; do
    for device in 0 1 2 3; do echo "$device, 50, 2048"; done
    sleep 1
done
"""


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    tools = tmp_path_factory.mktemp("tools")
    (tools / "nvidia-smi").write_text(SMI)
    (tools / "nvidia-smi").chmod(0o755)
    path = f"{BIN}:{tools}:/usr/local/bin:/usr/bin:/bin"
    with local_engine(TESTS / "oracle" / "site.toml", PATH=path) as started:
        yield started
