"""That a job's script begins once on a node, however often SkyPilot gives the same run to the same nodes.

SkyPilot's controller of managed jobs launches again when it did not hear how a launch went (StrategyExecutor._launch
of sky/jobs/recovery_strategy.py), and when it was restarted itself. Nodes that are there are taken again: the cluster
gets a second job with the same shipment while the first one runs, or after it. Nothing in the environment tells that
from a recovery on a pool's worker; what does is what this node remembers.

A run is known by its shipment's name, which a requeue of ours changes, and by the restart count in it, which a recovery
changes that our controller has seen. Beside a node's private folder, and outliving it, lies one with three files:
``lock``, held by the process that has the node; ``record``, how far it came; ``frames``, what it wrote to its log. Who
comes later hands these frames out as its own log, which the reader puts together with what came before.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import signal
import stat
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any, Callable, Optional

from ...protocol.log_frames import EVENT, Decoder, Event
from ..job.journal import Journal
from ..job.recovery import kill_jobs, leaders
from ..process import processes

MOST_KEPT = 256 << 20  # bytes of frames; what a job writes beyond is in SkyPilot's log of it alone
FORGET_S = 86400.0  # what is kept of a run that is over goes when a later job comes to the node
LEAVE_S = 40.0  # how long one that must give the node up may take: the longest KillWait at a teardown, and some more
LOOK_S = 0.2


class Verdict(Enum):
    """What becomes of a run that SkyPilot asks for."""

    RUN = "it runs"
    REPEAT = "it ran here to its end, which is told again"
    REFUSE = "it was cut off here, and must not run again"


@dataclass(frozen=True)
class Earlier:
    """How far a run of the shipment came on this node. Processes are (number, start in clock ticks)."""

    restart: int
    holder: tuple[int, int]
    agent: tuple[int, int] = (0, 0)
    begun: bool = False  # the script may have been started
    code: int = -1  # the exit code; -1: it did not end
    by_signal: bool = False  # SkyPilot took the node from it
    cut: bool = False  # not all of its frames were kept


def judge(earlier: Optional[Earlier], over: bool, shipped: int, requeue: bool) -> tuple[Verdict, int]:
    """What becomes of a run with the restart count ``shipped`` after an earlier one that is no longer alive, and its
    restart count. ``over``: that one told the end of all its jobs; ``requeue``: they may run again.
    """
    if earlier is None or not earlier.begun:
        return Verdict.RUN, shipped
    if over:
        return Verdict.REPEAT, earlier.restart
    if shipped > earlier.restart:
        return Verdict.RUN, shipped  # a recovery that our controller has counted
    if earlier.code >= 0 and not earlier.by_signal:
        return Verdict.REPEAT, earlier.restart
    return (Verdict.RUN, earlier.restart + 1) if requeue else (Verdict.REFUSE, earlier.restart)


@dataclass
class Replay:
    """What frames say: the last session of the first node and its next event's number, and the ends of jobs that are
    no work of SkyPilot's.
    """

    session: int = -1
    seq: int = 0
    ends: dict[int, dict[str, Any]] = field(default_factory=dict)

    def code(self, jobs: Iterable[int]) -> int:
        """The exit code when these have ended, -1 while one has not."""
        ids = list(jobs)
        if not all(job_id in self.ends for job_id in ids):
            return -1
        return 0 if len(ids) > 1 else exit_code(self.ends[ids[0]])


def exit_code(end: dict[str, Any]) -> int:
    """A job's end as a process's exit code."""
    number, code = int(end.get("exit_signal", 0)), int(end.get("exit_code", 0))
    return 128 + number if number else code or int(end.get("state") != "COMPLETED")


class RunGuard:
    """What this node remembers of a shipment. ``home``: the node's private folder; ``key``: of the job's log."""

    def __init__(self, home: str, key: bytes) -> None:
        self.key = key
        self.home = home
        self.folder = home + ".kept"
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        facts = os.lstat(self.folder)
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
            raise OSError("%s is not ours alone" % self.folder)
        self._lock = -1
        self._frames = -1  # where the holder keeps its frames
        self._kept = 0
        self._poured = 0
        self._mine: Optional[Earlier] = None

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._path(name), flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    # --- who has the node
    def take(self) -> bool:
        """Have the node until this process ends; False while another one has it."""
        if self._lock < 0:
            self._lock = self._open("lock", os.O_RDWR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def displace(self) -> None:
        """Have the node, which another one must leave."""
        self.signal_holder(signal.SIGTERM)
        deadline = time.monotonic() + LEAVE_S
        while not self.take():
            if time.monotonic() > deadline:
                self.signal_holder(signal.SIGKILL)
            time.sleep(LOOK_S)

    def signal_holder(self, number: int) -> None:
        """To the process that has the node."""
        earlier = self.earlier()
        if earlier is not None:
            _signal(earlier.holder, number)

    # --- the record
    def earlier(self) -> Optional[Earlier]:
        """How far the last one came; None: nobody was here, or it did not get as far as to say so."""
        try:
            with open(self._path("record")) as file:
                data = json.load(file)
        except (OSError, ValueError):
            return None
        return Earlier(**{**data, "holder": tuple(data["holder"]), "agent": tuple(data["agent"])})

    def begin(self, restart: int) -> None:
        """We have the node, and keep what we write from now on."""
        self.forget_others()
        earlier = self.earlier()
        if earlier is None or not earlier.begun:
            self._remove("frames")
        self._frames = self._open("frames", os.O_WRONLY | os.O_APPEND)
        self._kept = self._whole()
        os.ftruncate(self._frames, self._kept)  # the last line may have been cut with its writer
        self._mine = Earlier(restart, _identity(os.getpid()))
        self._write()

    def note(self, **facts: Any) -> None:
        """Something of our record is new."""
        if self._mine is not None:
            self._mine = replace(self._mine, **facts)
            self._write()

    def note_start(self, agent: int) -> None:
        """The script is about to be started by an agent."""
        self.note(begun=True, agent=_identity(agent))

    def _write(self) -> None:
        assert self._mine is not None
        partial = self._open("record.part", os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(partial, "w") as file:
            json.dump(asdict(self._mine), file)
        os.replace(self._path("record.part"), self._path("record"))

    def _remove(self, name: str) -> None:
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            pass  # that is what was wanted

    # --- frames
    def keep(self, data: bytes) -> None:
        """What goes to the log, before it does. Events are kept in any case."""
        if self._mine is None:
            return
        try:
            if not data.startswith(EVENT):
                if self._mine.cut:
                    return
                if self._kept + len(data) > MOST_KEPT:
                    self.note(cut=True)
                    return
            os.write(self._frames, data)
            self._kept += len(data)
        except OSError:  # a full disk: the job is worth more than the memory of it
            self._mine = replace(self._mine, cut=True)

    def _whole(self) -> int:
        """The length of the frames up to the last whole line."""
        try:
            with open(self._path("frames"), "rb") as file:
                end = file.seek(0, os.SEEK_END)
                while end:
                    start = max(end - (1 << 16), 0)
                    file.seek(start)
                    found = file.read(end - start).rfind(b"\n")
                    if found >= 0:
                        return start + found + 1
                    end = start
        except FileNotFoundError:
            pass  # nothing was written
        return 0

    def pour(self, out: Callable[[bytes], None]) -> None:
        """Hand out the kept frames that were not, as far as their lines are whole."""
        end = self._whole()
        if end > self._poured:
            with open(self._path("frames"), "rb") as file:
                file.seek(self._poured)
                while self._poured < end:
                    data = file.read(min(1 << 16, end - self._poured))
                    self._poured += len(data)
                    out(data)

    def told(self) -> Replay:
        """What the frames say."""
        found, decoder = Replay(), Decoder(self.key)
        try:
            with open(self._path("frames"), "rb") as file:
                while chunk := file.read(1 << 20):
                    for item in decoder.feed(chunk):
                        if isinstance(item, Event):
                            _take(found, item)
        except FileNotFoundError:
            pass  # it told nothing
        return found

    # --- what is left
    def clear(self) -> None:
        """Kill what an earlier one has left running here."""
        earlier = self.earlier()
        if earlier is not None:
            _signal(earlier.agent, signal.SIGKILL)
        for path in glob.glob(os.path.join(glob.escape(self.home), "nodes", "*", "journal")):
            logs = Journal(path).recover()
            kill_jobs({log.key[0] for log in logs}, os.path.join(self.home, "agent.sock"), leaders(logs))

    def forget_others(self) -> None:
        """Remove what is kept of other runs that were over long ago."""
        others = os.path.join(glob.escape(os.path.dirname(self.home)), "slurmsky-%d-*.kept" % os.geteuid())
        for folder in glob.glob(others):
            try:
                if folder != self.folder and time.time() - os.stat(folder).st_mtime > FORGET_S:
                    other = RunGuard(folder[: -len(".kept")], self.key)
                    if other.take():
                        shutil.rmtree(folder, ignore_errors=True)
                    os.close(other._lock)
            except OSError:
                continue  # it went by itself, or is not ours


def _take(found: Replay, item: Event) -> None:
    body = item.body
    if body.get("ev") == "session":
        found.session = item.session
    elif body.get("ev") == "ended" and not body.get("by_signal"):
        found.ends[int(body["job_id"])] = body
    if item.session == found.session and item.rank == 0:
        found.seq = item.seq + 1


def _identity(pid: int) -> tuple[int, int]:
    fields = processes.stat(pid)
    return pid, fields.start_ticks if fields is not None else 0


def _signal(process: tuple[int, int], number: int) -> None:
    """To that very process, not to a later one of its number."""
    if process[1] and _identity(process[0]) == process:
        processes.send([process[0]], number)
