"""The rig is started where SLURMSKY_RIG is set; elsewhere its tests run only if it is there already."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from pathlib import Path

import pytest

#: a server elsewhere can be named as for SkyPilot's own commands
ENDPOINT = os.environ.setdefault("SKYPILOT_API_SERVER_ENDPOINT", "http://127.0.0.1:46580")
HERE = Path(__file__).parent
PRIVATE = Path("/srv/slurmsky")  # nodes do not see what we have here


def answers() -> bool:
    try:
        with urllib.request.urlopen(f"{ENDPOINT}/api/health", timeout=5) as reply:
            return reply.status == 200 and PRIVATE.is_dir()
    except OSError:
        return False


@pytest.fixture(scope="session")
def rig():
    """A folder that this machine's Slurm nodes, SkyPilot's infra, do not share."""
    if not answers():
        if not os.environ.get("SLURMSKY_RIG"):
            pytest.skip("no SkyPilot API server of the rig answers; tests/rig/sky_up.sh starts it")
        done = subprocess.run(
            [HERE / "sky_up.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]
    folder = PRIVATE / f"tests-{os.getpid()}"
    folder.mkdir()
    return folder
