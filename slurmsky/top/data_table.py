"""A table widget: rows under a header, with a cursor.

Only rows on the screen are rendered, so 10,000 rows cost as much as 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.message import Message
from textual.strip import Strip

from .changed_lines import ChangedLines
from .plain_text import plain
from .rows import matches


class Keyed(Protocol):
    """A row of a table, identified by its key."""

    @property
    def key(self) -> str: ...


Row = TypeVar("Row", bound=Keyed)


@dataclass(frozen=True)
class ViewColumn(Generic[Row]):
    """The text, width and sort key of a column."""

    title: str
    text: Callable[[Row], str]
    most: int  # maximum of characters
    order: Callable[[Row], Any]
    right: bool = False
    style: Callable[[Row], str] | None = None
    grows: bool = False  # gets a share of the line's free space, in the order of text length
    least: int = 2


class Table(ChangedLines, Generic[Row]):
    """Table widget, which filters and sorts its rows. ``show`` gives the rows in their default order."""

    DEFAULT_CSS = "Table { height: 1fr; }"
    # Column widths are measured on the first rows only.
    _MEASURED = 500

    class Moved(Message):
        """The cursor has moved to another row."""

        def __init__(self, table: Table[Any]) -> None:
            super().__init__()
            self.table = table

    def __init__(self, columns: Sequence[ViewColumn[Row]], empty: str, **options: Any) -> None:
        super().__init__(**options)
        self._columns = columns
        self._empty = empty
        self._all: Sequence[Row] = ()
        self._rows: list[Row] = []
        self._words: list[str] = []
        self._widths = [len(column.title) for column in columns]
        self._measured_for = 0  # the screen width for which column widths were computed
        self._cursor = 0
        self._top = 0
        self._sorted_by = -1  # index of a column; -1: default order
        self.reverse = False
        #: whether this pane receives the keys
        self.active = True

    # --- rows

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._rows else None

    @property
    def all_rows(self) -> Sequence[Row]:
        """All rows, ignoring the filter."""
        return self._all

    @property
    def num_shown(self) -> int:
        return len(self._rows)

    @property
    def num_rows(self) -> int:
        return len(self._all)

    @property
    def filter(self) -> str:
        return " ".join(self._words)

    @filter.setter
    def filter(self, text: str) -> None:
        self._words = text.casefold().split()
        self._arrange()

    def show(self, rows: Sequence[Row]) -> None:
        """Replace the rows; keep the cursor's row or position."""
        self._all = rows
        self._arrange()

    def set_empty_text(self, empty: str) -> None:
        """Set the text for an empty table."""
        self._empty = empty
        self.redraw()

    @property
    def order(self) -> str:
        """Name of the sort column; "" for the default order."""
        return self._columns[self._sorted_by].title if self._sorted_by >= 0 else ""

    def next_order(self) -> None:
        """Sort by the next column, after the last by default order."""
        self._sorted_by = self._sorted_by + 1 if self._sorted_by + 1 < len(self._columns) else -1
        self._arrange()

    def reverse_order(self) -> None:
        """Reverse the order."""
        self.reverse = not self.reverse
        self._arrange()

    def _arrange(self) -> None:
        before = self.current
        rows: list[Row] = list(self._all)
        if self._words:
            columns = self._columns
            rows = [row for row in rows if matches(self._words, [column.text(row) for column in columns])]
        if self._sorted_by >= 0:
            rows.sort(key=self._columns[self._sorted_by].order, reverse=self.reverse)
        elif self.reverse:
            rows.reverse()
        self._rows = rows
        if before is not None:
            key = before.key
            self._cursor = next((place for place, row in enumerate(rows) if row.key == key), self._cursor)
        self._cursor = max(0, min(self._cursor, len(rows) - 1))
        self._measure()
        self._follow()
        self.redraw()
        if (before.key if before else None) != (self.current.key if self.current else None):
            self.post_message(self.Moved(self))

    def _measure(self) -> None:
        """Compute column widths. They are the texts' widths, plus the free space for columns that grow."""
        sample = self._rows[self._top : self._top + self._MEASURED] or self._rows[: self._MEASURED]
        needed = [max([len(column.title), column.least, *(cell_len(plain(column.text(row))) for row in sample)])
                  for column in self._columns]  # fmt: skip
        widths = [0 if column.grows else min(column.most, need)
                  for column, need in zip(self._columns, needed, strict=True)]  # fmt: skip
        left = self.size.width - sum(widths) - len(widths) + 1
        growing = [place for place, column in enumerate(self._columns) if column.grows]
        for count, place in enumerate(growing):
            share = left // (len(growing) - count)
            last = count == len(growing) - 1
            rest = sum(min(needed[other], self._columns[other].most) for other in growing[count + 1 :])
            widths[place] = left if last else max(self._columns[place].least, min(
                self._columns[place].most, needed[place], max(share, left - rest)))  # fmt: skip
            left -= widths[place]
        self._widths = widths
        self._measured_for = self.size.width

    # --- the cursor

    @property
    def _page(self) -> int:
        return max(1, self.size.height - 1)

    def move(self, by: int) -> None:
        """Move the cursor."""
        if self._rows:
            self._go(self._cursor + by)

    def _go(self, place: int) -> None:
        place = max(0, min(place, len(self._rows) - 1))
        if place != self._cursor:
            self._cursor = place
            self._follow()
            self.redraw()
            self.post_message(self.Moved(self))

    def _follow(self) -> None:
        """Scroll to show the cursor and to fill the screen."""
        self._top = min(self._top, self._cursor, max(0, len(self._rows) - self._page))
        self._top = max(self._top, self._cursor - self._page + 1, 0)

    def press(self, key: str) -> bool:
        """Move the cursor by a key; False for other keys."""
        ways = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self._page, "pagedown": self._page,
                "home": -len(self._rows), "end": len(self._rows)}  # fmt: skip
        if key in ways:
            self.move(ways[key])
        return key in ways

    def on_resize(self) -> None:
        self._follow()

    # --- rendering

    def render_line(self, y: int) -> Strip:
        """Render one line of the widget."""
        width = self.size.width
        if width != self._measured_for:
            self._measure()
        if y == 0:
            titles = [self._title(place) for place in range(len(self._columns))]
            return self._line(titles, None, Style(bold=True, underline=True))
        place = self._top + y - 1
        if not self._rows and y == 2:
            text = self._empty if not self._words else f"nothing matches {self.filter!r}"
            return Strip([Segment(set_cell_size("  " + plain(text), width), Style(dim=True))], width)
        if place >= len(self._rows):
            return Strip.blank(width)
        row = self._rows[place]
        here = place == self._cursor
        style = Style(reverse=here and self.active, bold=here)
        return self._line([plain(column.text(row)) for column in self._columns], row, style, here)

    def _title(self, place: int) -> str:
        title = self._columns[place].title
        return title + ("v" if self.reverse else "^") if place == self._sorted_by else title

    def _line(self, texts: Sequence[str], row: Row | None, style: Style, here: bool = False) -> Strip:
        segments = []
        for place, (column, text, width) in enumerate(zip(self._columns, texts, self._widths, strict=True)):
            if place:
                segments.append(Segment(" ", style))
            own = style
            if row is not None and column.style is not None and not here:
                own = style + Style.parse(column.style(row))
            if column.right:
                text = text.rjust(width)
            segments.append(Segment(set_cell_size(text, max(0, width)), own))
        return Strip(segments).adjust_cell_length(self.size.width, style)
