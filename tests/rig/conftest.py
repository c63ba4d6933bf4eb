"""The rig is started where SLURMSKY_RIG is set; elsewhere its tests run only if it is there already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from on_skypilot import answers

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
