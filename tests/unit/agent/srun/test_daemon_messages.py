"""srun --slurmd-debug: which messages of a node are printed, and their texts."""

from __future__ import annotations

import re

import pytest

from slurmsky.agent.srun.daemon_messages import DaemonMessages
from slurmsky.model.states import OOM_STATUS

_HEAD = "debug levels are stderr='%s', logfile='info', syslog='quiet'\n"
_MAX = "srun: Using max slurmd-debug value of 'debug2'\n"
_HANDLER = "debug:  IO handler started pid=1\n"
_TASKS = "starting 2 tasks\ntask 1 (70) started TIME\ntask 1 (70) exited with exit code 3.\n"


@pytest.mark.parametrize(
    ("level", "printed"),
    [
        ("quiet", "srun: Using min slurmd-debug level of error\n"),
        ("error", ""),
        ("info", ""),
        ("verbose", _HEAD % "verbose" + _TASKS),
        ("4", _HEAD % "verbose" + _TASKS),
        ("debug2", _HEAD % "debug2" + _HANDLER + _TASKS),
        ("7", _MAX + _HEAD % "debug2" + _HANDLER + _TASKS),
        ("debug3", _MAX + _HEAD % "debug2" + _HANDLER + _TASKS),
        ("loud", _MAX + _HEAD % "debug2" + _HANDLER + _TASKS),
    ],
)
def test_messages_of_a_level(level: str, printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 1)
    lines: list[str] = []
    messages = DaemonMessages(level, lines.append)
    messages.launching([[0, 1]])
    messages.started({1: 70})
    messages.exited(1, 70, 3 << 8)
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    stamp = rf"\[{time}\.\d{{3}}\] "
    assert all(re.match(stamp, line) for line in lines if not line.startswith("srun: "))
    assert re.sub(time, "TIME", re.sub(stamp, "", "".join(lines))) == printed


@pytest.mark.parametrize(
    ("status", "end"),
    [(9, "9"), (34, "34"), (139, "11 (core dumped)"), (OOM_STATUS, "9")],
    ids=["killed", "real-time", "core", "out of memory"],
)
def test_a_task_killed_by_a_signal(status: int, end: str) -> None:
    lines: list[str] = []
    DaemonMessages("verbose", lines.append).exited(0, 70, status)
    assert lines[0].endswith(f"task 0 (70) exited. Killed by signal {end}.\n")
