"""Ends the processes of jobs whose agent died. The journal gets the ends of these jobs."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from typing import Iterable, Sequence

from ... import paths
from ...model.states import JobState
from ...model.step import Step
from ...protocol.messages import Ended, Started, StepChanged
from ..process import process_tree
from .journal import JobLog, Journal

#: longest time in seconds from a job's launch to the start of its batch shell
_START_S = 60.0


def end_lost(journal: Journal, lost: Sequence[JobLog], node: str, agent_socket: str) -> None:
    """Kill the jobs of a dead agent, and journal their ends."""
    kill_jobs({log.key[0] for log in lost}, agent_socket, leaders(lost))
    for log in lost:
        if log.head:
            _close(log, node)
            log.take_unsent()  # sent with all unacknowledged events when the controller connects
        else:
            journal.remove_run(log)


def _close(log: JobLog, node: str) -> None:
    """Add the events of a node failure to a job's log."""
    now = time.time()
    open_steps: dict[tuple[int, str], Step] = {}  # a het step has one entry for each component
    for event in log.events():
        step = event.step if isinstance(event, (Started, StepChanged, Ended)) else None
        if step is not None:
            key = (step.job_id, step.step_id)
            if step.state is JobState.RUNNING:
                open_steps[key] = step
            else:
                open_steps.pop(key, None)
    batch = open_steps.pop((log.key[0], "batch"), None)
    for step in open_steps.values():
        log.add(StepChanged(step=_lost(step, now)))
    ended = Ended(time=now, state="NODE_FAIL", reason="NodeDown", node=node)
    log.add(ended if batch is None else ended.evolve(step=_lost(batch, now)))


def _lost(step: Step, now: float) -> Step:
    return dataclasses.replace(step, state=JobState.NODE_FAIL, end_time=now)


def leaders(logs: Iterable[JobLog]) -> dict[int, float]:
    """Batch shells in the journal: pid -> boot time of the launch. The pid is also the session id."""
    found = {}
    for log in logs:
        for event in log.events():
            if isinstance(event, Started) and event.pid:
                found[event.pid] = log.began
    return found


def _is_same_process(pid: int, began: float) -> bool:
    """True unless the pid was reused by a later process."""
    fields = process_tree.stat(pid)
    return fields is None or -0.1 <= process_tree.start_time(fields) - began <= _START_S


#: seconds in which processes that appear meanwhile are killed, too
_KILL_S = 5.0


def kill_jobs(jobs: Iterable[int], agent_socket: str, sessions: dict[int, float]) -> int:
    """Send SIGKILL to every process of these jobs; return their number.

    A process of a job is known by its environment, which names the job, this node's agent, and as a process on a node
    the node's name: salloc's command, in a user's terminal, lacks it and continues. Its descendants are known by their
    parents, and other processes by their session (the kernel does not reuse a session id while a process of the session
    exists), unless the session's leader is another program.
    """
    ids = {str(job_id).encode() for job_id in jobs}
    token = os.fsencode(agent_socket)

    def is_of_job(env: dict[bytes, bytes]) -> bool:
        on_node = env.get(paths.AGENT.encode()) == token and b"SLURMD_NODENAME" in env
        return on_node and env.get(b"SLURM_JOB_ID") in ids

    count = 0
    deadline = time.monotonic() + _KILL_S
    known = {pid for pid, began in sessions.items() if _is_same_process(pid, began)}
    while time.monotonic() < deadline:
        roots = []
        for pid in process_tree.all_pids():
            if pid == os.getpid():
                continue
            fields = process_tree.stat(pid)
            if fields is None or fields.state == "Z":
                continue
            env = process_tree.environment_of(pid)
            if is_of_job(env):
                leader = fields.session
                if process_tree.stat(leader) is None or is_of_job(process_tree.environment_of(leader)):
                    known.add(leader)
                roots.append(pid)
            elif fields.session in known:
                roots.append(pid)
        if not roots:
            break
        count += process_tree.send(process_tree.tree(roots), signal.SIGKILL)
        time.sleep(0.02)
    return count
