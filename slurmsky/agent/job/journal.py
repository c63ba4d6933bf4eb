"""Append-only journal of an agent's jobs and events.

The journal (``<home>/nodes/<node>/journal``) lets the next agent of a node clean up and report after an agent's death.
It has three types of lines, all JSON: ``{"come":[job, run],...}`` before a job's first process is started, each event
of a job before it is sent, and ``{"gone":[job, run]}`` after the controller has committed the job's last event. The
agent has one file, with one write per iteration of its event loop, because a file per job costs more than the start of
a short job. ``run`` counts the restarts of a job: a requeued job is another run, and events of one run do not affect
another run.
"""

from __future__ import annotations

import json
import os
from typing import Any, Optional

from ... import paths
from ...protocol.messages import Ended, Event, JobEvent

Key = tuple[int, int]  # job id, run

#: a longer journal is rewritten without the lines of removed jobs
COMPACT_BYTES = 4 << 20

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class JobLog:
    """Events of one run of a job, numbered from 1. They are kept until the controller has committed them."""

    def __init__(self, journal: Journal, job_id: int, run: int, head: bool, began: float) -> None:
        self.key = (job_id, run)
        self.head = head
        #: seconds since boot at the job's launch: no process of the job is older
        self.began = began
        self.seq = 0
        self.ended = False
        #: lines not sent yet; ``unacked``: lines not acknowledged yet, as (number, line)
        self.unsent: list[bytes] = []
        self.unacked: list[tuple[int, bytes]] = []
        self._journal = journal

    def add(self, event: JobEvent) -> None:
        """Number and store an event. The journal's next ``flush`` writes it, then ``take_unsent`` returns it."""
        self.seq += 1
        body = event.encode()
        body["job_id"], body["run"] = self.key
        body["seq"] = self.seq
        self.ended = self.ended or isinstance(event, Ended)
        line = _encode(body).encode()
        self.unacked.append((self.seq, line))
        self.unsent.append(line)
        self._journal.append(line)

    def take_unsent(self) -> list[bytes]:
        """Return the unsent lines, and mark them as sent."""
        lines, self.unsent = self.unsent, []
        return lines

    def ack(self, seq: int) -> bool:
        """Forget events up to a number. Return True if the job has ended and all its events are acknowledged."""
        events = self.unacked
        if events and events[-1][0] <= seq:
            events.clear()
        else:
            self.unacked = [pair for pair in events if pair[0] > seq]
        return self.ended and not self.unacked

    def events(self) -> list[Event]:
        """The events that are not acknowledged, in order."""
        return [Event.decode(json.loads(line)) for _, line in self.unacked]

    def begin_line(self) -> bytes:
        """The "come" line of this run."""
        return _encode({"come": list(self.key), "head": self.head, "at": round(self.began, 3)}).encode()


class Journal:
    """The journal's file and the logs of its jobs. The file survives the agent's death, but not the machine's."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.logs: dict[Key, JobLog] = {}
        self._new: list[bytes] = []
        self._fd = -1
        self._size = 0
        self._torn = False

    # --- changes
    def add_run(self, job_id: int, run: int, began: float, head: bool = True) -> JobLog:
        """Add a job to the journal. Call ``flush`` before the job's first process starts."""
        key = (job_id, run)
        log = self.logs.get(key)
        if log is None:
            log = self.logs[key] = JobLog(self, job_id, run, head, began)
            self.append(log.begin_line())
        return log

    def remove_run(self, log: JobLog) -> None:
        """Remove a run from the journal."""
        if self.logs.pop(log.key, None) is not None:
            self.append(_encode({"gone": list(log.key)}).encode())

    def append(self, line: bytes) -> None:
        """Queue a line for the next ``flush``."""
        self._new.append(line)

    def flush(self) -> None:
        """Write the queued lines in one write. Truncates a journal without jobs. Raises OSError (a full disk)."""
        if not self._new:
            return
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | paths.OPEN_FLAGS, 0o600)
            self._size = os.fstat(self._fd).st_size
        if not self.logs:
            if self._size:
                os.ftruncate(self._fd, 0)
            self._size, self._torn = 0, False
            self._new.clear()
            return
        if self._size > COMPACT_BYTES:
            self._compact()
            return
        self._new.append(b"")
        data = b"\n".join(self._new)
        self._new.pop()
        if self._torn:
            data = b"\n" + data  # after a line that a full disk cut off
        count = os.write(self._fd, data)
        self._size += count
        while count < len(data):
            self._torn = True
            written = os.write(self._fd, data[count:])
            count += written
            self._size += written
        self._torn = False
        self._new.clear()

    def _compact(self) -> None:
        lines = []
        for log in self.logs.values():
            lines.append(log.begin_line())
            lines += [line for _, line in log.unacked]
        data = b"\n".join([*lines, b""])
        temporary = self.path + ".new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | paths.OPEN_FLAGS, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.replace(temporary, self.path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd
        # The rewritten file holds only current jobs: rewrite again only after enough new lines.
        self._size = 0 if len(data) > COMPACT_BYTES // 2 else len(data)
        self._torn = False
        self._new.clear()

    # --- after a death
    def recover(self) -> list[JobLog]:
        """Read an earlier agent's journal: logs with unacknowledged events. Jobs that are gone are omitted."""
        try:
            with open(self.path, "rb") as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return []
        for line in lines:
            record = _record(line)
            if record is None:
                continue
            if "come" in record:
                key = (int(record["come"][0]), int(record["come"][1]))
                self.logs[key] = JobLog(self, *key, bool(record["head"]), float(record["at"]))
            elif "gone" in record:
                self.logs.pop((int(record["gone"][0]), int(record["gone"][1])), None)
            elif "ev" in record:
                log = self.logs.get((int(record["job_id"]), int(record["run"])))
                if log is not None:
                    log.seq = int(record["seq"])
                    log.unacked.append((log.seq, line))
                    log.ended = log.ended or record["ev"] == Ended.kind
        self._torn = bool(lines[-1])
        return list(self.logs.values())


def _record(line: bytes) -> Optional[dict[str, Any]]:
    """Return a line's object; None for a line that a crash or a full disk cut off."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
