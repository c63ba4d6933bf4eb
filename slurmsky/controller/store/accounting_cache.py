"""On-disk cache of rendered sacct columns for finished jobs.

A cache page has the cells of some rows (a job, or a step of a job) of all runs of neighbouring job ids
(``cache_pages.page_of``). Each column is compressed separately, so that any choice of columns and of runs is printed
from the page. The key of a page is a digest of all values on which its cells depend, so that the next controller finds
the page, too. The transaction that commits a change of a job deletes the job's page. All pages have a bounded total
size; the oldest are deleted first.

The controller fills pages in its idle time (``commands/accounting/cached_rows.py``) once all of their jobs have ended,
so that a first query is as fast as later queries.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from itertools import accumulate
from pathlib import Path

from ...engines.base import background, cancel_all
from ...report.text.print_fields import SharedCell
from .database import Run, Store
from .database_file import StoreError

log = logging.getLogger("slurmsky.controller")

#: maximum bytes of packed pages: some hundred thousand jobs
MAX_BYTES = 64 << 20
#: above this size no page is computed in idle time
_IDLE_BYTES = MAX_BYTES * 3 // 4
#: pages that may be added before the total size is computed again
_UNCOUNTED = 64
#: bytes that a page needs in addition to its cells
_OVERHEAD = 512

Cell = str | None
_BETWEEN, _NONE = "\x1f", "\x1e"


class CachePage:
    """Cells of the rows of some runs, by column."""

    def __init__(self, runs: Sequence[tuple[int, int]], counts: Sequence[int], columns: Mapping[str, bytes]) -> None:
        self._counts = list(counts)
        self._starts = [0, *accumulate(counts)]
        self._places = {(job_id, restarts): place for place, (job_id, restarts) in enumerate(runs)}
        self._columns = dict(columns)

    @classmethod
    def of(
        cls, runs: Sequence[tuple[int, int]], counts: Sequence[int], cells: Mapping[str, Sequence[Cell]]
    ) -> CachePage:
        """Return the page with these cells. ``counts``: the number of rows of each run."""
        return cls(runs, counts, {name: _packed(column) for name, column in cells.items()})

    @classmethod
    def read(cls, packed: bytes) -> CachePage:
        """Deserialise a page that ``serialised_page`` serialised."""
        (length,) = memoryview(packed)[:8].cast("q")
        runs, counts, sizes = json.loads(zlib.decompress(packed[8 : 8 + length]))
        starts = accumulate(sizes.values(), initial=8 + length)
        return cls(runs, counts, {name: packed[start : start + size]
                                  for (name, size), start in zip(sizes.items(), starts, strict=False)})  # fmt: skip

    def serialised_page(self) -> bytes:
        """Serialise the page."""
        sizes = {name: len(column) for name, column in self._columns.items()}
        head = zlib.compress(json.dumps([list(self._places), self._counts, sizes], separators=(",", ":")).encode(), 1)
        return b"".join((len(head).to_bytes(8, sys.byteorder), head, *self._columns.values()))

    def has(self, names: Iterable[str]) -> bool:
        """True if the page has all of these columns."""
        return self._columns.keys() >= set(names)

    def with_columns(self, cells: Mapping[str, Sequence[Cell]]) -> CachePage:
        """Return the same page with additional columns."""
        more = {name: _packed(column) for name, column in cells.items()}
        return CachePage(list(self._places), self._counts, {**self._columns, **more})

    @property
    def count(self) -> int:
        """Number of rows."""
        return self._starts[-1]

    def rows(self, runs: Sequence[Run]) -> tuple[list[int], list[int] | None]:
        """Return the number of rows of each run, and the rows' indices.

        Indices None: all rows, in the page's order. Runs whose records were damaged when the page was computed are
        missing.
        """
        places = [self._places[run[:2]] for run in runs if run[:2] in self._places]
        counts = [self._counts[place] for place in places]
        if len(places) == len(self._counts) and all(place == number for number, place in enumerate(places)):
            return counts, None
        starts = self._starts
        return counts, [row for place in places for row in range(starts[place], starts[place + 1])]

    def column_cells(self, name: str, rows: Sequence[int] | None) -> Sequence[Cell] | SharedCell:
        """Cells of a column in these rows."""
        column = _unpacked(self._columns[name])
        return column if rows is None or isinstance(column, SharedCell) else [column[row] for row in rows]


def _packed(column: Sequence[Cell]) -> bytes:
    """Pack cells behind a tag. One cell for all, cells with separators, or JSON if a cell contains a separator."""
    first = column[0] if column else None
    if all(cell == first for cell in column):
        return b"-" if first is None else b"=" + first.encode("utf-8", "surrogatepass")
    text = _BETWEEN.join([_NONE if cell is None else cell for cell in column])
    plain = text.count(_BETWEEN) == len(column) - 1 and text.count(_NONE) == sum(cell is None for cell in column)
    if not plain:
        return b"[" + zlib.compress(json.dumps(column).encode(), 1)
    return b"|" + zlib.compress(text.encode("utf-8", "surrogatepass"), 1)


def _unpacked(packed: bytes) -> Sequence[Cell] | SharedCell:
    kind, rest = packed[:1], packed[1:]
    if kind == b"-":
        return SharedCell(None)
    if kind == b"=":
        return SharedCell(rest.decode("utf-8", "surrogatepass"))
    if kind == b"[":
        column: list[Cell] = json.loads(zlib.decompress(rest))
        return column
    text = zlib.decompress(rest).decode("utf-8", "surrogatepass")
    cells = text.split(_BETWEEN)
    return [None if cell == _NONE else cell for cell in cells] if _NONE in text else cells


class AccountingCache:
    """Reads and writes cache pages in the store. A page that cannot be written is dropped; no query fails for it."""

    def __init__(self, store: Store, cluster: object, room: int = MAX_BYTES) -> None:
        self._store = store
        self._cluster = repr(cluster)
        self._room = room
        self._uncounted = _UNCOUNTED

    def page_key(self, *requested: object) -> bytes:
        """Key of pages whose cells depend on these values. It includes the cluster, the time zone and this program."""
        return digest((requested, self._cluster, time.tzname, time.timezone, program()))

    def get(self, number: int, words: bytes) -> CachePage | None:
        """Return the page with this key, or None."""
        found = self._store.pages.get(number, words)
        return None if found is None else CachePage.read(found)

    def store_page(self, number: int, words: bytes, page: CachePage) -> None:
        """Store a page."""
        try:
            self._store.pages.store_page(number, words, page.serialised_page())
            self._uncounted += 1
            if self._uncounted >= _UNCOUNTED:
                self._uncounted = 0
                self._store.pages.trim(self._room, _OVERHEAD)
        except StoreError as error:
            log.warning("%s", error)

    @property
    def full(self) -> bool:
        """True if a page computed in idle time would displace others."""
        return self._store.pages.size(_OVERHEAD) >= min(_IDLE_BYTES, self._room)


def digest(value: object) -> bytes:
    """Return a short key for a value, from its repr."""
    return hashlib.blake2b(repr(value).encode("utf-8", "backslashreplace"), digest_size=16).digest()


@cache
def program() -> tuple[tuple[str, int, int], ...]:
    """Files of this program, with sizes and times. Another version may print the same jobs differently."""
    root = Path(__file__).resolve().parents[2]
    files: Iterable[Path] = (
        path
        for folder in ("commands", "language", "model", "options", "report")
        for path in (root / folder).rglob("*")
        if path.suffix in (".py", ".csv", ".lark")
    )
    return tuple(sorted((str(path), info.st_size, info.st_mtime_ns) for path in files for info in (path.stat(),)))


#: creates an iterator over small pieces of background work
Work = Callable[[], AsyncGenerator[None, None]]
#: seconds without a commit before the work begins
_REST_S = 3.0
#: in a queue with constant commits, work begins after this number of waits
_PATIENCE = 20
#: length of the pause after a piece of work, as a multiple of its length
_PAUSE = 4


class IdleTime:
    """Runs background work in small pieces between commits. The work takes at most a fifth of the time."""

    def __init__(self, store: Store, rest_s: float = _REST_S) -> None:
        self.work: Work | None = None
        self._store = store
        self._rest_s = rest_s
        #: the number of commits at the last run of the work; jobs of an earlier controller count as new
        self._done = store.commits if store.empty else -1
        self._task: asyncio.Task[None] | None = None

    def start_if_due(self) -> None:
        """Start the work if a change was committed since its last run."""
        if self.work is not None and self._task is None and self._store.commits != self._done:
            self._task = background(self._run(self.work))

    async def _run(self, work: Work) -> None:
        try:
            for _ in range(_PATIENCE):
                seen = self._store.commits
                await asyncio.sleep(self._rest_s)
                if seen == self._store.commits:
                    break
            self._done = self._store.commits
            began = time.perf_counter()
            async with aclosing(work()) as pieces:
                async for _ in pieces:
                    await asyncio.sleep((time.perf_counter() - began) * _PAUSE)
                    began = time.perf_counter()
        except Exception:
            log.exception("in idle time")
        finally:
            self._task = None
            self.start_if_due()

    async def close(self) -> None:
        """Cancel the work."""
        self.work = None
        if self._task is not None:
            await cancel_all([self._task])
