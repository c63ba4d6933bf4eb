"""An agent that starts slowly ends with the controller that started it."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from slurmsky.engines.local import local_engine
from slurmsky.engines.local.local_engine import LocalEngine


def test_an_agent_that_still_starts_when_the_engine_closes_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an agent would lose its controller without a message, and start another one."""
    monkeypatch.setattr(local_engine, "CLOSE_S", 0.05)
    started = asyncio.Event()

    def start(*_: object) -> subprocess.Popen[bytes]:
        started.set()
        return subprocess.Popen(["sleep", "1000"])

    monkeypatch.setattr(local_engine.daemonize, "start", start)

    async def run() -> None:
        engine = LocalEngine(tmp_path, lambda event: None, None, {"PATH": "/usr/bin:/bin"})
        linking = asyncio.ensure_future(engine.link("n1"))
        await started.wait()
        await engine.close()
        assert await asyncio.gather(linking, return_exceptions=True)
        (process,) = engine._processes
        assert process.wait(60) == -9 and not engine._starting

    asyncio.run(run())
