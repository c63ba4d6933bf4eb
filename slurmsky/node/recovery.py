"""What is left of jobs when their agent was killed: an index on disk, and the end of their processes."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Iterable

from . import processes
from .journal import Journal


class JobIndex:
    """Which jobs (and their spool folders) this node has: an append-only file, one write per round."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._jobs: dict[int, str] = {}
        self._unwritten: list[str] = []

    def add(self, job_id: int, spool: str) -> None:
        """A job has come. ``spool`` "" for a job whose head is another node."""
        self._jobs[job_id] = spool
        self._unwritten.append("+%d %s\n" % (job_id, json.dumps(spool)))

    def remove(self, job_id: int) -> None:
        """A job is gone and told."""
        if self._jobs.pop(job_id, None) is not None:
            self._unwritten.append("-%d\n" % job_id)

    def flush(self) -> None:
        """Write what is new; an empty node has an empty file."""
        if not self._unwritten:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if self._jobs else os.O_TRUNC)
        text = "".join(self._unwritten) if self._jobs else ""
        fd = os.open(self._path, flags, 0o600)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        self._unwritten.clear()

    def read(self) -> dict[int, str]:
        """What an earlier agent left: job id -> spool."""
        try:
            with open(self._path, encoding="utf-8") as file:
                lines = file.read().split("\n")[:-1]
        except FileNotFoundError:
            return {}
        for line in lines:
            try:
                if line.startswith("+"):
                    number, _, spool = line[1:].partition(" ")
                    self._jobs[int(number)] = json.loads(spool)
                elif line.startswith("-"):
                    self._jobs.pop(int(line[1:]), None)
            except ValueError:
                continue  # torn by a full disk
        return dict(self._jobs)

    def rewrite(self) -> None:
        """Write the file anew."""
        temporary = self._path + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            for job_id, spool in self._jobs.items():
                file.write("+%d %s\n" % (job_id, json.dumps(spool)))
        os.replace(temporary, self._path)
        self._unwritten.clear()


class Remains:
    """A job whose agent died: only its journal, and the event that it is over."""

    def __init__(self, job_id: int, spool: str) -> None:
        self.job_id = job_id
        self.spool = spool
        self.journal = Journal.recover(os.path.join(spool, "journal")) if spool else Journal("")
        self.ended = any(event.get("ev") == "ended" for event in self.journal.unacked)

    def close(self, node: str) -> None:
        """Say that the job ended with its node, unless it had ended before."""
        if self.ended or not self.spool:
            return
        now = time.time()
        open_steps = {}
        for event in self.journal.unacked:
            if event.get("ev") == "step":
                step = event["step"]
                if step["state"] == "RUNNING":
                    open_steps[step["step_id"]] = step
                else:
                    open_steps.pop(step["step_id"], None)
        for step in open_steps.values():
            self.journal.add(
                {"ev": "step", "job_id": self.job_id, "step": {**step, "state": "NODE_FAIL", "end_time": now}}
            )
        self.journal.add(
            {
                "ev": "ended",
                "job_id": self.job_id,
                "time": now,
                "state": "NODE_FAIL",
                "exit_code": 0,
                "exit_signal": 0,
                "reason": "NodeDown",
                "node": node,
            }
        )
        self.ended = True
        try:
            self.journal.flush()
        except OSError:
            return  # the folder is gone; the event is still sent


def kill_jobs(jobs: Iterable[int], agent_socket: str, patience_s: float = 5.0) -> int:
    """SIGKILL every process that carries the token of these jobs and of this node's agent. How many were
    found.

    A process is known by its environment, its descendants by descent, its session mates by their session.
    """
    ids = {str(job_id).encode() for job_id in jobs}
    token = os.fsencode(agent_socket)
    count = 0
    deadline = time.monotonic() + patience_s
    sessions: set[int] = set()
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
                sessions.add(fields.session)
                roots.append(pid)
            elif fields.session in sessions:
                roots.append(pid)
        if not roots:
            break
        count += processes.send(processes.tree(roots), signal.SIGKILL)
        time.sleep(0.02)
    return count
