"""What is left of jobs when their agent was killed: their processes are ended and their end is told."""

from __future__ import annotations

import os
import signal
import time
from typing import Iterable

from ..process import processes
from .journal import JobLog

#: a batch shell is started within so many seconds after its job came
_START_S = 60.0


def close(log: JobLog, node: str) -> None:
    """Say of a job whose agent died that it ended with its node, unless it had ended before."""
    if log.ended:
        return
    now = time.time()
    open_steps: dict[tuple[int, str], dict[str, object]] = {}  # a het step has one for each component
    for event in log.events():
        step = event.get("step")
        if step is not None:
            key = (step["job_id"], step["step_id"])
            if step["state"] == "RUNNING":
                open_steps[key] = step
            else:
                open_steps.pop(key, None)
    batch = open_steps.pop((log.key[0], "batch"), None)
    for step in open_steps.values():
        log.add({"ev": "step", "step": {**step, "state": "NODE_FAIL", "end_time": now}})
    last = {
        "ev": "ended",
        "time": now,
        "state": "NODE_FAIL",
        "exit_code": 0,
        "exit_signal": 0,
        "reason": "NodeDown",
        "node": node,
    }
    if batch is not None:
        last["step"] = {**batch, "state": "NODE_FAIL", "end_time": now}
    log.add(last)


def leaders(logs: Iterable[JobLog]) -> dict[int, float]:
    """Batch shells that the journal tells of: pid (also the number of its session) -> boot time of its job's coming."""
    found = {}
    for log in logs:
        for event in log.events():
            if event.get("ev") == "started" and event.get("pid"):
                found[int(event["pid"])] = log.began
    return found


def _is_still(pid: int, began: float) -> bool:
    """False when the number now belongs to a process that cannot be the one started then."""
    fields = processes.stat(pid)
    return fields is None or -0.1 <= processes.start_time(fields) - began <= _START_S


def kill_jobs(jobs: Iterable[int], agent_socket: str, sessions: dict[int, float], patience_s: float = 5.0) -> int:
    """SIGKILL every process that carries the token of these jobs and of this node's agent. How many were found.

    A process is known by its environment, its descendants by descent, its session mates by their session (the number
    of a session stays taken while one of its processes lives).
    """
    ids = {str(job_id).encode() for job_id in jobs}
    token = os.fsencode(agent_socket)
    count = 0
    deadline = time.monotonic() + patience_s
    known = {pid for pid, began in sessions.items() if _is_still(pid, began)}
    while time.monotonic() < deadline:
        roots = []
        for pid in processes.all_pids():
            if pid == os.getpid():
                continue
            fields = processes.stat(pid)
            if fields is None or fields.state == "Z":
                continue
            env = processes.environment_of(pid)
            if env.get(b"SLURMSKY_AGENT") == token and env.get(b"SLURM_JOB_ID") in ids:
                known.add(fields.session)
                roots.append(pid)
            elif fields.session in known:
                roots.append(pid)
        if not roots:
            break
        count += processes.send(processes.tree(roots), signal.SIGKILL)
        time.sleep(0.02)
    return count
