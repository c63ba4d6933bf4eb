"""Table of cache pages: rendered sacct columns of ended jobs. Contents: ``accounting_cache.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from . import accounting_index
from .database_file import DatabaseFile

#: bits of a job id within one cache page
_PAGE_BITS = 8


def page_of(job_id: int) -> int:
    """Number of a job id's cache page."""
    return job_id >> _PAGE_BITS


def ids_of(page: int) -> accounting_index.Where:
    """Condition that selects the runs of a page."""
    return accounting_index.Where(("job_id BETWEEN ? AND ?",), (page << _PAGE_BITS, ((page + 1) << _PAGE_BITS) - 1))


class CachePages:
    """Stores each page until a job of the page is committed."""

    def __init__(self, file: DatabaseFile) -> None:
        self._file = file
        self._editions: Counter[int] = Counter()

    def begin_edition(self, job_ids: Iterable[int]) -> tuple[str, list[tuple[int]]]:
        """Begin a new edition of these jobs' pages. Return the statement and rows that delete the stored pages."""
        numbers = {page_of(job_id) for job_id in job_ids}
        self._editions.update(numbers)
        return "DELETE FROM pages WHERE number=?", [(number,) for number in numbers]

    def edition(self, number: int) -> int:
        """Number that changes with each commit of the page's jobs."""
        return self._editions[number]

    def get(self, number: int, words: bytes) -> bytes | None:
        """Return the packed page stored under this key, or None."""
        query = "SELECT packed FROM pages WHERE number=? AND words=?"
        found = self._file.execute(query, (number, words)).fetchone()
        return None if found is None else bytes(found[0])

    def store_page(self, number: int, words: bytes, packed: bytes) -> None:
        """Store a page. Raises StoreError."""
        self._file.commit(("INSERT OR REPLACE INTO pages VALUES (?,?,?)", [(number, words, packed)]))

    def size(self, overhead: int) -> int:
        """Total size of all pages in bytes."""
        (size,) = self._file.execute("SELECT total(length(packed)+?) FROM pages", (overhead,)).fetchone()
        return int(size)

    def trim(self, room: int, overhead: int) -> None:
        """Delete the oldest pages beyond a total size in bytes. Raises StoreError."""
        kept = ("SELECT rowid FROM (SELECT rowid, sum(length(packed)+?) OVER (ORDER BY rowid DESC) AS size FROM pages)"
                " WHERE size>?")  # fmt: skip
        if self.size(overhead) > room:
            self._file.commit((f"DELETE FROM pages WHERE rowid IN ({kept})", [(overhead, room)]))

    def complete(self, number: int) -> bool:
        """True if all runs of a page have ended and none can follow."""
        (last,) = self._file.execute("SELECT max(job_id) FROM facts").fetchone()
        if last is None or number >= page_of(last):
            return False
        here = ids_of(number)
        query = f"SELECT min(superseded OR finish>0) FROM facts WHERE {here.text}"
        (over,) = self._file.execute(query, here.values).fetchone()
        return bool(over)

    def stored(self, words: bytes) -> set[int]:
        """Numbers of the pages that are stored under this key."""
        return {number for (number,) in self._file.execute("SELECT number FROM pages WHERE words=?", (words,))}
