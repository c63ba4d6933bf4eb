"""Kills the processes around warm nodes at random moments: controller, agents, tunnels, proxy of the server."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from local_engine import LocalEngine

#: a line when a run begins, where all nodes of the rig see it, and the run's output in parts
SCRIPT = """#!/bin/bash
echo "$SLURM_JOB_ID ${{SLURM_RESTART_COUNT:-0}}" >>{begun}
for part in $(seq {parts}); do echo "$SLURM_JOB_ID part $part"; sleep $((RANDOM % 2)).$((RANDOM % 10)); done
"""


class Proxy(threading.Thread):
    """A proxy before the API server, which can be stopped for a while."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        url = urlsplit(endpoint)
        self._server = (url.hostname or "127.0.0.1", url.port or 80)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._away = False
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            caller, _ = self._socket.accept()
            if self._away:
                caller.close()
                continue
            try:
                there = socket.create_connection(self._server)
            except OSError:
                caller.close()
                continue
            self._open |= {caller, there}
            for source, target in ((caller, there), (there, caller)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            self._open.discard(end)
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def kill(self, seconds: float) -> None:
        """Break all connections, and accept none for that many seconds."""
        self._away = True
        for end in tuple(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        time.sleep(seconds)
        self._away = False


@dataclass
class Kills:
    """Kill processes that many times while that many jobs are submitted and run. ``work`` is the submit folder."""

    engine: LocalEngine
    proxy: Proxy
    work: Path
    begun: Path
    kills: int
    jobs: int
    parts: int = 5  # of each job's output: seconds that it runs
    dice: random.Random = field(default_factory=lambda: random.Random(7))
    ids: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)  # kills by kind

    def _controller(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # no command has started the next one yet
            os.kill(int((self.engine.home / "controller.pid").read_text()), signal.SIGKILL)

    def _agents(self) -> None:
        found = agents(path.parent.name for path in (self.engine.home / "kept").glob("*/order.json"))
        _end(self.dice.sample(found, min(1, len(found))))

    def _tunnels(self) -> None:
        home = str(self.engine.home)
        _end(_processes(lambda words: words[0].endswith("ssh") and any(home in word for word in words)))

    def _kill(self) -> None:
        kind = self.dice.choice(["controller", "controller", "agents", "proxy", "tunnels"])
        if kind == "controller":
            self._controller()
        elif kind == "agents" and self.dice.random() < 0.5:  # the jobs of its node end
            self._agents()
        elif kind == "tunnels":
            self._tunnels()
        elif kind == "proxy":
            self.proxy.kill(self.dice.random())
        else:
            return
        self.done[kind] = self.done.get(kind, 0) + 1

    def run(self, patience_s: float) -> None:
        """Submit and kill, then wait until all jobs have ended."""
        (self.work / "job.sh").write_text(SCRIPT.format(begun=self.begun, parts=self.parts))
        command = ["sbatch", "--parsable", "-o", "%j.out"]
        while (killed := sum(self.done.values())) < self.kills or len(self.ids) < self.jobs:
            # Eight jobs at a time, as long as there are kills.
            while len(self.ids) < self.jobs and len(self.ids) // 8 * 8 * self.kills <= killed * self.jobs:
                ends = ["--no-requeue"] if len(self.ids) % 5 == 4 else []  # with its node; the others run again
                done = self.engine.run([*command, *ends, "job.sh"], cwd=self.work)
                if done.returncode == 0:
                    self.ids.append(done.stdout.strip())
            if killed < self.kills:
                self._kill()
            time.sleep(self.dice.random() * 0.3)
        deadline = time.monotonic() + patience_s
        queue = ["squeue", "-h", "-j", ",".join(self.ids), "-o", "%i %T %r %N"]  # other tests' jobs may be there
        while (left := self.engine.run(queue)).stdout or left.returncode:
            assert time.monotonic() < deadline, (left, self.engine.run(["sinfo", "-N"]).stdout, self._log())
            time.sleep(1)

    def verdict(self) -> dict[str, int]:
        """Jobs by state. Raises AssertionError if a job is lost, a run began twice, or output lacks a byte."""
        rows = self.engine.run(["sacct", "-nXP", "-o", "JobID,State", "-j", ",".join(self.ids)]).stdout.splitlines()
        states = dict(row.split("|") for row in rows)
        runs = self.begun.read_text().splitlines()
        assert sorted(states) == sorted(self.ids)
        assert [run for run in runs if runs.count(run) > 1] == []
        counts: dict[str, int] = {}
        for job, state in states.items():
            path = self.work / f"{job}.out"
            text = path.read_text() if path.exists() else ""
            whole = "".join(f"{job} part {part}\n" for part in range(1, self.parts + 1))
            requeues = self.ids.index(job) % 5 != 4
            assert state == "COMPLETED" or (state == "NODE_FAIL" and not requeues), (job, state)
            part = re.split("slurmstepd|srun", text)[0]
            assert text == whole if state == "COMPLETED" else whole.startswith(part), (job, state, text)
            counts[state] = counts.get(state, 0) + 1
        return counts

    def _log(self) -> str:
        return (self.engine.home / "controller.log").read_text()[-3000:]


def agents(orders: Iterable[str]) -> list[int]:
    """The agents of the nodes of these orders."""
    names = tuple(orders)
    return _processes(lambda words: "slurmsky.agent" in words and "--warm" in words
                      and any(order in word for word in words for order in names))  # fmt: skip


def _processes(chosen: Callable[[list[str]], bool]) -> list[int]:
    """The processes whose command line the function selects."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if chosen(path.read_bytes().decode(errors="replace").split("\0")):
                found.append(int(path.parent.name))
    return found


def _end(processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
