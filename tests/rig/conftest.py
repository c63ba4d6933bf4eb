"""Fixtures of the real SkyPilot.

SLURMSKY_RIG starts it; otherwise its tests run only if it is up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from on_skypilot import NODES, Nodes, WarmEngine, answers, warm_nodes

HERE = Path(__file__).resolve().parent
PRIVATE = Path("/srv/slurmsky")  # nodes do not see what we have here


@pytest.fixture(scope="session")
def rig():
    """A folder that this machine's Slurm nodes, SkyPilot's infra, do not share."""
    if not (answers() and PRIVATE.is_dir()):
        if not os.environ.get("SLURMSKY_RIG"):
            pytest.skip("no SkyPilot API server of the rig answers; tests/rig/sky_up.sh starts it")
        done = subprocess.run([HERE / "sky_up.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]
    folder = PRIVATE / f"tests-{os.getpid()}"
    folder.mkdir()
    return folder


#: they take nodes away and kill the server: on warm nodes only where SLURMSKY_RIG_NODES asks for them
ROUGH = ("test_sky_days.py",)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests of warm nodes last, on one bring-up. Warm nodes hold memory that managed jobs need."""
    if "SLURMSKY_RIG_NODES" not in os.environ:
        items[:] = [item for item in items if item.path.name not in ROUGH or "[kept]" not in item.name]
    mine = [place for place, item in enumerate(items) if item.path.parent == HERE]
    ordered = sorted((items[place] for place in mine), key=lambda item: "[kept]" in item.name)
    for place, item in zip(mine, ordered, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def kept(rig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmEngine]:
    """Commands with four running warm nodes."""
    with warm_nodes(tmp_path_factory.mktemp("kept")) as found:
        yield found


@pytest.fixture(scope="session", params=NODES)
def nodes(request: pytest.FixtureRequest) -> Nodes:
    """The kind of nodes on which a test's jobs run."""
    return Nodes(request.param, request.getfixturevalue("kept") if request.param == "kept" else None)
