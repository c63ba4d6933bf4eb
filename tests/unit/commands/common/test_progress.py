"""Progress on terminals only; the client waits for a starting controller while its process lives."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slurmsky import client_start
from slurmsky.commands.common import progress
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobFlag, JobState


def caller(terminal: bool, term: str = "xterm") -> tuple[Any, list[str]]:
    """The part of a command's context that progress uses, and the drawn text."""
    drawn: list[str] = []
    request = SimpleNamespace(ttys=(True, True, terminal), winsize=(24, 30))
    return SimpleNamespace(request=request, env={"TERM": term}, draw=drawn.append), drawn


def watch(ctx: Any, drawn: list[str], text: str) -> None:
    async def work() -> None:
        with progress.show_progress(ctx, lambda: text):
            while not drawn and ctx.request.ttys[2] and ctx.env["TERM"] != "dumb":
                await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(work())


def test_a_line_is_drawn_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_S", 0.0)
    ctx, drawn = caller(True)
    watch(ctx, drawn, "job 7: launching\x1b[2J on SkyPilot, and more words")
    assert drawn[0] == "\r\x1b[Kjob 7: launching [2J on Sk..."
    assert drawn[-1] == "\r\x1b[K"


@pytest.mark.parametrize(("terminal", "term"), [(False, "xterm"), (True, "dumb")])
def test_nothing_is_drawn_elsewhere(monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str) -> None:
    monkeypatch.setattr(progress, "FIRST_S", 0.0)
    ctx, drawn = caller(terminal, term)
    watch(ctx, drawn, "x")
    assert drawn == []


PHASES = [
    ({"state": JobState.PENDING, "reason": "Resources"}, "job 7 waits: Resources"),
    ({"state": JobState.PENDING, "awaits_nodes": True, "system_comment": "launching on SkyPilot"},
     "job 7: launching on SkyPilot"),
    ({"state": JobState.RUNNING, "flags": JobFlag.CONFIGURING, "system_comment": "setting up"}, "job 7: setting up"),
    ({"state": JobState.RUNNING}, "job 7 is running"),
    ({"state": JobState.CANCELLED, "flags": JobFlag.COMPLETING}, "job 7 ends"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "text"), PHASES)
def test_the_phase_of_a_job(fields: dict[str, Any], text: str) -> None:
    job = Job(7, JobSpec(), "x", "u", 1, 1, "g", "a", "p")
    for name, value in fields.items():
        setattr(job, name, value)
    assert progress.phase(job) == text


def test_a_command_waits_for_a_slow_start_of_the_controller(tmp_path: Path) -> None:
    """While the process lives, no time limit ends the wait."""
    assert client_start.START_TIMEOUT_S >= 300
    began: list[int] = []
    clock = iter(range(3000))

    def monotonic() -> float:
        return float(next(clock) * 10)  # ten seconds between two looks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_start.time, "monotonic", monotonic)
        patch.setattr(client_start.time, "sleep", began.append)
        patch.setattr(client_start.os, "waitpid", lambda pid, flags: (0, 0))
        looks = iter([None] * 12 + ["socket"])
        patch.setattr(client_start, "_try_connect", lambda path: next(looks))
        assert client_start._wait(1, b"x", str(tmp_path / "log"), 0) == "socket"  # type: ignore[comparison-overlap]
    assert len(began) == 12


def test_a_slow_start_is_printed_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    program = (
        "import os, time; from slurmsky import client_start as c; b = time.monotonic() - 5; "
        "t = c._show_wait(b, 0); assert t == c._show_wait(b, t); c._clear(t)"
    )
    root = Path(__file__).parents[4]
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(os.read(ours, 4096)))
    reader.start()
    subprocess.run([sys.executable, "-c", program], cwd=root, stderr=theirs, check=True)
    reader.join(30)
    assert b"slurmsky: starting the controller, 5 s (load" in read[0]
