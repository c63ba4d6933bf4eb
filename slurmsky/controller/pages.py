"""What was printed of jobs that are over is kept: the past does not change.

A page is what a query said of some runs of neighbouring ids (``Store.page_of``). It is found again by the words of the
query, the runs, and the edition of their ids, which rises with whatever is committed of one of them. Pages are packed
and of bounded size in all; the one that was not asked for the longest goes first.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

#: bytes of packed pages that are kept: a hundred thousand lines of ``sacct -l``, and a million of ``sacct``
ROOM = 8 << 20


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


class Pages:
    """The pages that are kept."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._pages: OrderedDict[Hashable, Page] = OrderedDict()

    def get(self, key: Hashable, until: float) -> Page | None:
        """The page of this name, for a window that ends then."""
        page = self._pages.get(key)
        if page is None or page.latest > until:
            return None
        self._pages.move_to_end(key)
        return page

    def put(self, key: Hashable, page: Page) -> None:
        """Keep a page."""
        replaced = self._pages.pop(key, None)
        self._room += _size(replaced) if replaced else 0
        self._pages[key] = page
        self._room -= _size(page)
        while self._room < 0:
            _, oldest = self._pages.popitem(last=False)
            self._room += _size(oldest)

    def __len__(self) -> int:
        return len(self._pages)


def _size(page: Page) -> int:
    return len(page.packed) + 512  # with its name and place
