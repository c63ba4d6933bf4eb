"""At the limit of open files: clients are refused in one line, and service continues later."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable
from typing import Any

from polling import wait_for

from .conftest import Engine
from .test_agent_killed import submit

Run = Callable[..., Any]


def limit(pid: int, soft: int, hard: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_the_controller_raises_its_limit_and_jobs_keep_theirs(engine: Engine, run: Run, tmp_path: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 900), hard))
    try:
        submit(run, "--wait", "-oout", "--propagate=NONE", "--wrap", "ulimit -Sn")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(engine.controller(), resource.RLIMIT_NOFILE) == (hard, hard)
    assert (tmp_path / "work" / "out").read_text() == f"{min(soft, 900)}\n"


def test_callers_are_refused_at_the_limit(engine: Engine, run: Run) -> None:
    assert run("squeue")[0] == 0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # It holds a descriptor for each other controller of this machine, too.
    limit(engine.controller(), len(os.listdir(f"/proc/{engine.controller()}/fd")) + 25, hard)
    held = []

    def connect() -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(engine.home / "controller.sock"))
        held.append(one)
        return one

    for _ in range(60):
        connect()
    for _ in range(10):
        answer = run("squeue")
        if answer.code:
            break
        connect()  # the controller closed a file of its own meanwhile: take that descriptor, too
    assert answer == (1, "", "slurmsky: error: the controller has too many open files, try again later\n")
    for one in held:
        one.close()
    wait_for(lambda: run("squeue")[0] == 0)
    log = (engine.home / "controller.log").read_text()
    assert log.count("too many open files") == 1 and len(log.splitlines()) < 10 and engine.faults() == []
