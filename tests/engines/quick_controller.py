"""Controller that queries a simulated SkyPilot server at short intervals.

``start`` runs it as a program.

The commands of a test find it running. One that a command starts, after a kill, has the usual intervals.
"""

from __future__ import annotations

import asyncio
import runpy
import subprocess
import sys
import threading
from pathlib import Path

from local_engine import REPOSITORY, LocalEngine
from polling import PATIENCE_S


async def start(engine: LocalEngine) -> None:
    """Start one for this engine, and wait until it listens."""
    env = {**engine.env, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "PWD": "/"}
    with (engine.home / "controller.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())], env=env, cwd="/", umask=0o077, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()  # no zombie is left
    for _ in range(PATIENCE_S * 50):
        if (engine.home / "controller.sock").exists():
            return
        assert process.poll() is None, (engine.home / "controller.log").read_text()
        await asyncio.sleep(0.02)
    raise AssertionError("the controller does not listen")


if __name__ == "__main__":
    import shared_program

    from slurmsky.engines.sky import intervals
    from slurmsky.engines.sky.launch import node_program

    node_program.build = shared_program.build
    intervals.PACE_S, intervals.POLL_S, intervals.RUNNING_POLL_S = 0.1, 0.2, 2.0
    intervals.RETRY_S, intervals.LOG_FETCH_S = (0.1, 0.2, 0.5), (0, 0.5, 1, 5)
    sys.argv = ["slurmsky"]
    runpy.run_module("slurmsky", run_name="__main__", alter_sys=True)
