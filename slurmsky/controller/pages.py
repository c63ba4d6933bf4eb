"""What was printed of jobs that are over is kept: the past does not change.

A page is what a query said of some runs of neighbouring ids (``Store.page_of``), packed. The store keeps it: it is
found again by the words of the query and the runs, also by the next controller, and it goes in the transaction that
commits a change of any job with one of its ids. All pages together are of bounded size; those made first go first.

The pages that most people ask for are made in the controller's idle time (``sacct.prepare``), when all of their jobs
are over: a first question costs what the next ones cost.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .store import Store, StoreError

log = logging.getLogger("slurmsky.controller")

#: bytes of packed pages that are kept: some hundred thousand lines of ``sacct -l``, and ten times as many of ``sacct``
ROOM = 64 << 20
#: no more is made in idle time when so much is there
_ENOUGH = ROOM * 3 // 4
#: pages that may be put before the size of all is looked at again
_UNCOUNTED = 64
#: what a page needs beside its lines
_OVERHEAD = 512


@dataclass(frozen=True)
class Page:
    """Lines, packed. ``latest``: when the last of its jobs could have run; a window that ends before is another."""

    packed: bytes
    latest: float

    @classmethod
    def of(cls, text: str, latest: float) -> Page:
        """The page with this text."""
        return cls(zlib.compress(text.encode("utf-8", "surrogateescape"), 1), latest)

    def text(self) -> bytes:
        """Its text, as bytes of UTF-8."""
        return zlib.decompress(self.packed)


@dataclass(frozen=True)
class Key:
    """The name of a page."""

    number: int
    words: bytes
    runs: bytes


class Pages:
    """The pages that the store keeps. What cannot be written is not kept: no query fails for it."""

    def __init__(self, store: Store, cluster: object, room: int = ROOM) -> None:
        self._store = store
        self._cluster = repr(cluster)
        self._room = room
        self._uncounted = _UNCOUNTED

    def words(self, asked: object) -> bytes:
        """A query's part of its pages' names: another program or another cluster says other things."""
        return digest((asked, self._cluster, time.tzname, time.timezone, program()))

    def get(self, key: Key, until: float) -> Page | None:
        """The page of this name, for a window that ends then."""
        found = self._store.page(key.number, key.words, key.runs)
        page = None if found is None else Page(found[1], found[0])
        return None if page is None or page.latest > until else page

    def put(self, key: Key, page: Page) -> None:
        """Keep a page."""
        try:
            self._store.put_page(key.number, key.words, key.runs, page.latest, page.packed)
            self._uncounted += 1
            if self._uncounted >= _UNCOUNTED:
                self._uncounted = 0
                self._store.trim_pages(self._room, _OVERHEAD)
        except StoreError as error:
            log.warning("%s", error)

    @property
    def full(self) -> bool:
        """Whether others would have to go for a page that nobody has asked for."""
        return self._store.size_of_pages(_OVERHEAD) >= min(_ENOUGH, self._room)


def digest(value: object) -> bytes:
    """A short name for a thing that has a text of its own."""
    return hashlib.blake2b(repr(value).encode("utf-8", "backslashreplace"), digest_size=16).digest()


@cache
def program() -> tuple[tuple[str, int, int], ...]:
    """This program as it is installed: a newer one may print the same jobs otherwise."""
    root = Path(__file__).resolve().parent.parent
    files: Iterable[Path] = (path for folder in ("commands", "language", "model", "options", "report")
                             for path in (root / folder).rglob("*") if path.suffix in (".py", ".csv", ".lark"))
    return tuple(sorted((str(path), info.st_size, info.st_mtime_ns) for path in files for info in (path.stat(),)))


#: pieces of work, one each time it is asked
Work = Callable[[], AsyncGenerator[None, None]]
#: begun when the queue was left alone for so long
_REST_S = 3.0
#: where it never is: after so many times
_PATIENCE = 20
#: a piece of work is followed by a pause of so many times its length
_PAUSE = 4


class IdleTime:
    """Does work in small pieces once nothing is committed any more, at most a fifth of the time."""

    def __init__(self, store: Store, rest_s: float = _REST_S) -> None:
        self.work: Work | None = None
        self._store = store
        self._rest_s = rest_s
        self._done = -1  # commits that the work has seen
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Something may have been committed."""
        if self.work is not None and self._task is None and self._store.commits != self._done:
            self._task = asyncio.ensure_future(self._run(self.work))

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
            self.look()

    async def close(self) -> None:
        """Leave what is not done."""
        self.work = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
