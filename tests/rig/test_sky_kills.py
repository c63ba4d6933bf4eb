"""Random kills of processes around warm nodes of the real SkyPilot: nothing is lost, run twice, or left running.

SLURMSKY_KILLS sets the number of kills (200 for the full test).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from kills import Kills
from on_skypilot import NODES, PATIENCE_S, SKY_BIN, WARM_CLUSTERS, WarmEngine, release

pytestmark = [pytest.mark.rig, pytest.mark.timeout(2400)]
KILLS = int(os.environ.get("SLURMSKY_KILLS", "12"))


@pytest.mark.parametrize("kind", [kind for kind in NODES if kind == "kept"])
def test_no_job_is_lost_or_runs_twice_after_any_kill(kind: str, kept: WarmEngine, rig: Path, tmp_path: Path) -> None:
    work = rig / f"kills-{kind}"
    work.mkdir()
    jobs, parts = (40, 30) if KILLS >= 200 else (8, 5)
    kills = Kills(kept.engine, kept.proxy, work, tmp_path / "begun", KILLS, jobs, parts)
    kills.run(PATIENCE_S)
    print(kills.done, kills.verdict())
    kept.wait_for_clusters(kept.clusters_in_use())
    if KILLS >= 200:  # the full test ends with the nodes off; a test after it brings up its own
        release(kept.engine)
        kept.wait_for_clusters(set())
        status = subprocess.run([SKY_BIN / "sky", "status"], capture_output=True, text=True, check=True)
        assert not any(prefix in status.stdout for prefix in WARM_CLUSTERS), status.stdout
