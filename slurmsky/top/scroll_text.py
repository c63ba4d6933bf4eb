"""Text that scrolls both ways; at its end it follows what is added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from .job_details import Line


class Lines(Widget):
    """The widget. Lines are plain already: strings, or pieces with a style each."""

    DEFAULT_CSS = "Lines { height: 1fr; }"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lines: Sequence[str | Line] = ()
        self._top = 0
        self._left = 0
        self._at_end = False
        #: whether keys come here
        self.active = False

    def show(self, lines: Sequence[str | Line], at_end: bool, fresh: bool = False) -> None:
        """Other lines. ``fresh``: of something else, so seen from its beginning, with ``at_end`` from its end."""
        self._lines = lines
        if fresh:
            self._top = self._left = 0
            self._at_end = at_end
        self._settle()
        self.refresh()

    @property
    def _last_top(self) -> int:
        return max(0, len(self._lines) - self.size.height)

    def _settle(self) -> None:
        self._top = self._last_top if self._at_end else min(self._top, self._last_top)

    def on_resize(self) -> None:
        self._settle()

    def press(self, key: str) -> bool:
        """Scrolling; False: some other key."""
        page = max(1, self.size.height - 1)
        down = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -page, "pagedown": page,
                "home": -len(self._lines), "end": len(self._lines)}  # fmt: skip
        right = {"left": -10, "right": 10}
        if key in down:
            self._top = max(0, min(self._top + down[key], self._last_top))
            # Whoever scrolls to the end wants to see what comes; whoever leaves it wants to read.
            self._at_end = self._top == self._last_top and down[key] > 0
        elif key in right:
            self._left = max(0, self._left + right[key])
        else:
            return False
        self.refresh()
        return True

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width, place = self.size.width, self._top + y
        if place >= len(self._lines):
            return Strip.blank(width)
        line = self._lines[place]
        if isinstance(line, str):
            segments = [Segment(line, Style())]
        else:
            segments = [Segment(text, Style.parse(style)) for text, style in line]
        strip = Strip(segments)
        if strip.cell_length > self._left + width:
            cut = strip.crop(self._left, self._left + width - 1)
            return Strip([*cut, Segment(">", Style(dim=True))]).adjust_cell_length(width)
        return strip.crop(self._left, self._left + width).adjust_cell_length(width)
