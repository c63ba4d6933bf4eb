"""Events of a job: numbered, written before they are sent, kept until the controller has committed them."""

from __future__ import annotations

import json
import os
from typing import Any

Event = dict[str, Any]


def encode(event: Event) -> bytes:
    """One line of a journal."""
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


class Journal:
    """The journal of one job: ``<spool>/journal``, JSON lines. Survives the agent's death, not the
    machine's."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seq = 0
        self._unacked: list[Event] = []
        self._unwritten: list[bytes] = []

    @classmethod
    def recover(cls, path: str) -> Journal:
        """What an earlier agent wrote, less an unfinished last line."""
        journal = cls(path)
        try:
            with open(path, "rb") as file:
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return journal
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a line torn by a full disk; the numbers show the gap
            journal._unacked.append(event)
            journal.seq = max(journal.seq, int(event.get("seq", 0)))
        return journal

    def add(self, event: Event) -> Event:
        """Number the event and keep it; ``flush`` writes it."""
        self.seq += 1
        event["seq"] = self.seq
        self._unacked.append(event)
        self._unwritten.append(encode(event))
        return event

    def flush(self) -> None:
        """Write what is new, in one write. Raises OSError (a full disk)."""
        if not self._unwritten:
            return
        data = b"".join(self._unwritten)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        self._unwritten.clear()

    def ack(self, seq: int) -> None:
        """Forget events up to that number."""
        events = self._unacked
        if events and events[-1]["seq"] <= seq:
            events.clear()
        else:
            self._unacked = [event for event in events if event["seq"] > seq]

    @property
    def unwritten(self) -> list[bytes]:
        """Lines that ``flush`` will write."""
        return list(self._unwritten)

    @property
    def unacked(self) -> list[Event]:
        """What the controller may not know yet, in order."""
        return list(self._unacked)

    def remove(self) -> None:
        """Delete the file."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
