"""Reserves job ids, which stay unique if the database is lost.

A file next to the database holds an upper bound of the assigned ids. It is written before ids are assigned, for a
thousand ids at a time. The database stores the last bound that it read: if the file's bound is higher, another database
(an old copy replaced it, or it was removed) assigned those ids.
"""

from __future__ import annotations

import os
from pathlib import Path

#: ids that each write of the file reserves
_STEP = 1000


class IdReserve:
    """The file ``next_job_id`` next to the database. ``bound``: the first id that was certainly never assigned."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name("next_job_id")
        self._jobs = database.with_name("jobs")
        self.bound = self._read()

    def _read(self) -> int:
        try:
            return int(self._path.read_text("ascii"))
        except (OSError, ValueError):
            return 0

    def first(self, stored: int, known_bound: int) -> int:
        """Return the next id for a database. ``stored``: its next id; ``known_bound``: its last read bound."""
        if self.bound <= known_bound:
            return stored
        return max(stored, self.bound)

    def first_of_new(self) -> int:
        """The next id of a new database."""
        try:
            folders = [int(name) for name in os.listdir(self._jobs) if name.isdecimal()]
        except OSError:
            folders = []
        return max(1, self.bound, *(number + 1 for number in folders))

    def reserve(self, next_id: int) -> bool:
        """Write the file if its bound is too low. Raises OSError.

        ``next_id`` is assigned next. Return True if the file was written.
        """
        if next_id <= self.bound:
            return False
        bound = next_id + _STEP
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{bound}\n".encode())
        finally:
            os.close(fd)
        os.replace(fresh, self._path)
        self.bound = bound
        return True
