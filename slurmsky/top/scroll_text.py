"""Text widget that scrolls both ways and follows added lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from .changed_lines import ChangedLines
from .job_details import Line


class TextLines(ChangedLines):
    """Text widget. Its lines are already safe to show: strings, or pieces with a style each."""

    DEFAULT_CSS = "Lines { height: 1fr; }"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lines: Sequence[str | Line] = ()
        self._top = 0
        self._left = 0
        self._at_end = False
        #: whether this pane receives the keys
        self.active = False

    def show(self, lines: Sequence[str | Line], at_end: bool, fresh: bool = False) -> None:
        """Replace the lines. ``fresh``: a new text, shown from its beginning or, with ``at_end``, its end."""
        self._lines = lines
        if fresh:
            self._top = self._left = 0
            self._at_end = at_end
        self._clamp()
        self.redraw()

    @property
    def _last_top(self) -> int:
        return max(0, len(self._lines) - self.size.height)

    def _clamp(self) -> None:
        self._top = self._last_top if self._at_end else min(self._top, self._last_top)

    def on_resize(self) -> None:
        self._clamp()

    def press(self, key: str) -> bool:
        """Scroll by a key; False for other keys."""
        page = max(1, self.size.height - 1)
        down = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -page, "pagedown": page,
                "home": -len(self._lines), "end": len(self._lines)}  # fmt: skip
        right = {"left": -10, "right": 10}
        if key in down:
            self._top = max(0, min(self._top + down[key], self._last_top))
            # At the end the view follows new lines; scrolling up stops that.
            self._at_end = self._top == self._last_top and down[key] > 0
        elif key in right:
            self._left = max(0, self._left + right[key])
        else:
            return False
        self.redraw()
        return True

    def render_line(self, y: int) -> Strip:
        """Render one line of the widget."""
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
