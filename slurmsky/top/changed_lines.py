"""Widget base that redraws only changed lines. This saves bytes on slow connections."""

from __future__ import annotations

from typing import Any

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class ChangedLines(Widget):
    """Comparison of lines with those of the last ``redraw``. A subclass renders lines and calls ``redraw``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._drawn: list[Strip] = []

    def redraw(self) -> None:
        """Refresh the changed part of each line. A change of height refreshes the whole widget."""
        lines = [self.render_line(y) for y in range(self.size.height)]
        before, self._drawn = self._drawn, lines
        if len(before) != len(lines):
            self.refresh()
            return
        changed = [Region(0, y, changed_width(old, new), 1)
                   for y, (old, new) in enumerate(zip(before, lines, strict=True)) if old != new]  # fmt: skip
        if changed:
            self.refresh(*changed)


def changed_width(old: Strip, new: Strip) -> int:
    """Cells of a line up to the last changed one.

    >>> from rich.segment import Segment
    >>> changed_width(Strip([Segment("ab"), Segment("   ")]), Strip([Segment("cd"), Segment("   ")]))
    2
    """
    width = new.cell_length
    if old.cell_length == width:
        for one, other in zip(reversed(list(old)), reversed(list(new)), strict=False):
            if one != other:
                break
            width -= other.cell_length
    return width
