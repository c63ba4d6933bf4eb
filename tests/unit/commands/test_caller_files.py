"""Files of the caller: no write blocks the controller."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slurmsky.commands import _files


def test_a_write_to_a_file_system_that_hangs_fails_with_a_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx: Any = SimpleNamespace(cwd=str(tmp_path))
    asyncio.run(_files.write(ctx, "one", b"first\n"))
    asyncio.run(_files.write(ctx, "one", b"next\n", append=True))
    assert (tmp_path / "one").read_bytes() == b"first\nnext\n"
    released, opened = threading.Event(), _files.opener

    def hang(path: str, flags: int, mode: int = 0) -> int:
        released.wait()
        return opened(path, flags, mode)

    monkeypatch.setattr(_files, "on_network", lambda path: True)
    monkeypatch.setattr(_files, "opener", hang)
    monkeypatch.setattr(_files, "PATIENCE_S", 0.01)
    try:
        with pytest.raises(OSError) as error:
            asyncio.run(_files.write(ctx, "two", b"late\n"))
    finally:
        released.set()
    assert error.value.errno == errno.ETIMEDOUT
