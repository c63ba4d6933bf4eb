"""A store whose records stay in memory, for tests of the controller."""

from __future__ import annotations

from pathlib import Path

from slurmsky.controller.store.database import Store
from slurmsky.controller.store.id_reserve import IdReserve


class MemoryStore(Store):
    """SQLite without a file: the same statements as on disk; the records end with the process."""

    def __init__(self) -> None:
        super().__init__(Path(":memory:"), _NoReserve())

    def _open(self) -> None:
        self._connect(":memory:")

    def _keep_file(self) -> None:
        """Do nothing: there is no file."""


class _NoReserve(IdReserve):
    """The reserve of a store without a file: ids start at 1."""

    def __init__(self) -> None:
        self.bound = 0

    def first_of_new(self) -> int:
        """1."""
        return 1

    def reserve(self, next_id: int) -> bool:
        """False: no file has to be written."""
        return False
