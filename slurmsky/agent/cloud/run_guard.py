"""Run-once guard against duplicate SkyPilot launches.

SkyPilot's managed jobs controller repeats a launch when it misses the result of the first (StrategyExecutor._launch of
sky/jobs/recovery_strategy.py), and when it was restarted itself. It reuses existing nodes: the cluster gets a second
job with the same shipment while the first job runs, or after it. No environment variable distinguishes a duplicate from
a recovery on a pool's worker; only the state stored on the node does.

A run is identified by its shipment's name and by the restart count in the shipment. A requeue by slurmsky changes the
name; a recovery that our controller has seen changes the count. A second folder next to the node's private folder
outlasts it and holds three files: ``lock``, locked by the process that owns the node; ``record``, that process's
progress; ``frames``, its log output. A duplicate launch writes these frames to its own log, and the reader merges both
logs.
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

from ... import paths
from ...protocol.log_frames import EVENT, Decoder, LogEvent
from ...protocol.messages import Ended, Event, SessionBegun
from ..job.journal import Journal
from ..job.recovery import kill_jobs, leaders
from ..process import process_tree

MOST_KEPT = 256 << 20  # bytes of frames; output beyond this limit is only in SkyPilot's log of that launch
FORGET_S = 86400.0  # seconds after which a later job on the node removes the folder of an ended run
LEAVE_S = 40.0  # seconds for a replaced process to exit: the longest KillWait at a teardown, plus a margin
POLL_S = 0.2


class RunDecision(Enum):
    """Decision on a run that SkyPilot launches."""

    RUN = "it runs"
    REPEAT = "it ran here to its end, which is reported again"
    REFUSE = "it was cut off here, and must not run again"


@dataclass(frozen=True)
class Earlier:
    """Progress of an earlier run of the shipment on this node. Processes are (pid, start time in clock ticks)."""

    restart: int
    holder: tuple[int, int]
    agent: tuple[int, int] = (0, 0)
    begun: bool = False  # the script may have been started
    code: int = -1  # the exit code; -1: the run did not end
    by_signal: bool = False  # SkyPilot terminated the run to take its nodes down
    cut: bool = False  # some of its output frames were not stored


def decide(earlier: Optional[Earlier], over: bool, shipped: int, requeue: bool) -> tuple[RunDecision, int]:
    """Decide if a launch runs, repeats an earlier result, or is refused.

    ``earlier``: the earlier run, whose process is dead; ``over``: True if the earlier run logged the end of all its
    jobs; ``shipped``: the restart count of this launch; ``requeue``: True if the jobs may run again. Return the
    decision and the restart count.
    """
    if earlier is None or not earlier.begun:
        return RunDecision.RUN, shipped
    if over:
        return RunDecision.REPEAT, earlier.restart
    if shipped > earlier.restart:
        return RunDecision.RUN, shipped  # a recovery that our controller has counted
    if earlier.code >= 0 and not earlier.by_signal:
        return RunDecision.REPEAT, earlier.restart
    return (RunDecision.RUN, earlier.restart + 1) if requeue else (RunDecision.REFUSE, earlier.restart)


@dataclass
class Replay:
    """State recovered from stored frames of the first node.

    ``session``: its last session; ``seq``: the number of its next event; ``ends``: the end events of jobs that SkyPilot
    did not terminate, by job id.
    """

    session: int = -1
    seq: int = 0
    ends: dict[int, Ended] = field(default_factory=dict)

    def code(self, jobs: Iterable[int]) -> int:
        """Return the run's exit code; -1: some of ``jobs`` have not ended."""
        ids = list(jobs)
        if not all(job_id in self.ends for job_id in ids):
            return -1
        return 0 if len(ids) > 1 else self.ends[ids[0]].process_exit_code


class RunGuard:
    """Persistent run state of a shipment on this node. ``home``: the node's private folder; ``key``: the log's key."""

    def __init__(self, home: str, key: bytes) -> None:
        self.key = key
        self.home = home
        self.folder = home + ".kept"
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        metadata = os.lstat(self.folder)
        if not stat.S_ISDIR(metadata.st_mode) or metadata.st_uid != os.geteuid() or metadata.st_mode & 0o077:
            raise OSError("%s is not ours alone" % self.folder)
        self._lock = -1
        self._frames = -1  # file descriptor of the ``frames`` file
        self._kept = 0
        self._replayed_to = 0
        self._mine: Optional[Earlier] = None

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._path(name), flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    # --- ownership of the node
    def lock_node(self) -> bool:
        """Lock the node until this process ends. Return False while another process holds the lock."""
        if self._lock < 0:
            self._lock = self._open("lock", os.O_RDWR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take_over(self) -> None:
        """Terminate the process that holds the node, then lock the node."""
        self.signal_holder(signal.SIGTERM)
        deadline = time.monotonic() + LEAVE_S
        while not self.lock_node():
            if time.monotonic() > deadline:
                self.signal_holder(signal.SIGKILL)
            time.sleep(POLL_S)

    def signal_holder(self, number: int) -> None:
        """Send signal ``number`` to the process that holds the node."""
        earlier = self.earlier()
        if earlier is not None:
            _signal(earlier.holder, number)

    # --- the record
    def earlier(self) -> Optional[Earlier]:
        """Return the recorded progress of the last run, or None."""
        try:
            with open(self._path("record")) as file:
                data = json.load(file)
        except (OSError, ValueError):
            return None
        return Earlier(**{**data, "holder": tuple(data["holder"]), "agent": tuple(data["agent"])})

    def begin(self, restart: int) -> None:
        """Start this process's record and the storage of its frames."""
        self.forget_others()
        earlier = self.earlier()
        if earlier is None or not earlier.begun:
            self._remove("frames")
        self._frames = self._open("frames", os.O_WRONLY | os.O_APPEND)
        self._kept = self._whole()
        os.ftruncate(self._frames, self._kept)  # the last line is partial if its writer was killed
        self._mine = Earlier(restart, _identity(os.getpid()))
        self._write()

    def update_record(self, **metadata: Any) -> None:
        """Update fields of our record."""
        if self._mine is not None:
            self._mine = replace(self._mine, **metadata)
            self._write()

    def note_start(self, agent: int) -> None:
        """Record that the agent is about to start the script."""
        self.update_record(begun=True, agent=_identity(agent))

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
            pass  # already absent

    # --- frames
    def store_frames(self, data: bytes) -> None:
        """Store log data before it is written to the log. Events are stored beyond the limit, too."""
        if self._mine is None:
            return
        try:
            if not data.startswith(EVENT):
                if self._mine.cut:
                    return
                if self._kept + len(data) > MOST_KEPT:
                    self.update_record(cut=True)
                    return
            os.write(self._frames, data)
            self._kept += len(data)
        except OSError:  # a full disk: the job continues without stored frames
            self._mine = replace(self._mine, cut=True)

    def _whole(self) -> int:
        """Length of the frames up to the last whole line."""
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

    def write_new(self, out: Callable[[bytes], None]) -> None:
        """Pass the new stored frames to ``out``, in whole lines."""
        end = self._whole()
        if end > self._replayed_to:
            with open(self._path("frames"), "rb") as file:
                file.seek(self._replayed_to)
                while self._replayed_to < end:
                    data = file.read(min(1 << 16, end - self._replayed_to))
                    self._replayed_to += len(data)
                    out(data)

    def replay(self) -> Replay:
        """Decode the stored frames."""
        found, decoder = Replay(), Decoder(self.key)
        try:
            with open(self._path("frames"), "rb") as file:
                while chunk := file.read(1 << 20):
                    for item in decoder.feed(chunk):
                        if isinstance(item, LogEvent):
                            _apply_event(found, item)
        except FileNotFoundError:
            pass  # the run wrote no frames
        return found

    # --- cleanup
    def clear(self) -> None:
        """Kill the agent and the job processes of an earlier run."""
        earlier = self.earlier()
        if earlier is not None:
            _signal(earlier.agent, signal.SIGKILL)
        for path in glob.glob(os.path.join(glob.escape(self.home), "nodes", "*", "journal")):
            logs = Journal(path).recover()
            kill_jobs({log.key[0] for log in logs}, os.path.join(self.home, paths.AGENT_SOCKET), leaders(logs))

    def forget_others(self) -> None:
        """Remove the folders of other runs, unchanged for FORGET_S."""
        others = os.path.join(glob.escape(os.path.dirname(self.home)), "slurmsky-%d-*.kept" % os.geteuid())
        for folder in glob.glob(others):
            try:
                if folder != self.folder and time.time() - os.stat(folder).st_mtime > FORGET_S:
                    other = RunGuard(folder[: -len(".kept")], self.key)
                    if other.lock_node():
                        shutil.rmtree(folder, ignore_errors=True)
                    os.close(other._lock)
            except OSError:
                continue  # already removed, or another user's


def _apply_event(found: Replay, item: LogEvent) -> None:
    event = Event.decode(item.body)
    if isinstance(event, SessionBegun):
        found.session = item.session
    elif isinstance(event, Ended) and not event.by_signal:
        found.ends[event.job_id] = event
    if item.session == found.session and item.rank == 0:
        found.seq = item.seq + 1


def _identity(pid: int) -> tuple[int, int]:
    fields = process_tree.stat(pid)
    return pid, fields.start_ticks if fields is not None else 0


def _signal(process: tuple[int, int], number: int) -> None:
    """Send a signal to the process unless its pid was reused."""
    if process[1] and _identity(process[0]) == process:
        process_tree.send([process[0]], number)
