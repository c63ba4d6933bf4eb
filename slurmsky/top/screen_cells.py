"""The terminal's cells as drawn: a frame sends only changed cells.

Textual draws whole lines with their blanks, and sets and resets the style of each segment. A slow connection carries
each of these bytes; compared with curses, the first screen has four times as many.
"""

from __future__ import annotations

import re
from typing import Any, Final

from rich.cells import get_character_cell_size
from textual.drivers.linux_driver import LinuxDriver

#: a cursor position, a style, another control sequence, an operating system command, an end of line, or text
_PARTS: Final = re.compile(
    r"\x1b\[(?P<place>\d*(?:;\d*)?)H|\x1b\[(?P<style>[\d;]*)m|"
    r"(?P<control>\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]|[\x00-\x08\x0b\x0c\x0e-\x1f])|"
    r"(?P<end>\r?\n)|(?P<text>[^\x00-\x1f]+)"
)
_ENTERS, _LEAVES = "\x1b[?1049h", "\x1b[?1049l"  # sequences that open and close the alternate screen
#: style parameters that a blank shows: underline, reverse, strike and backgrounds; a colour's index reads as one, too
_SEEN: Final = re.compile(r"(?:^|;)(?:[479]|21|4[0-8]|10[0-7])(?:;|$)|38;")
_DEFAULT_COLOURS: Final = re.compile(r"(?:(?<=;)|^)[34]9(?:;|$)")
_BLANK: Final = (" ", "")


class ScreenCells:
    """Reduces drawn text to the shortest text with the same effect."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._entered = False  # whether the alternate screen is active; text before and after is passed on
        self._cells: list[list[tuple[str, str]]] = []
        self._out: list[str] = []
        self._x = self._y = 0  # position of the next text
        self._style = ""
        self._cursor: tuple[int, int] | None = None  # cursor of the terminal; None: unknown
        self._set_style = ""  # style that the terminal has set

    def forget(self) -> None:
        """Make the next frame clear the terminal and send all cells."""
        self._size = (0, 0)

    def clear(self, columns: int, rows: int) -> str:
        """Make all cells blank; return the terminal's sequence for it."""
        self._size, self._cursor = (columns, rows), None
        self._cells = [[_BLANK] * columns for _ in range(rows)]
        return "\x1b[m\x1b[2J"

    def reduce(self, text: str, size: tuple[int, int]) -> str:
        """Reduce a frame to the changes on a terminal of this size."""
        self._out = [self.clear(*size)] if self._entered and size != self._size else []
        self._style = ""
        for part in _PARTS.finditer(text):
            kind = part.lastgroup
            if not self._entered or kind == "control":
                self._out.append(part[0])
                if part[0] in (_ENTERS, _LEAVES):
                    self._entered = part[0] == _ENTERS
                    self._out += [self.clear(*size)] if self._entered else []
            elif kind == "place":
                y, _, x = part["place"].partition(";")
                self._y, self._x = int(y or 1) - 1, int(x or 1) - 1
            elif kind == "end":
                self._y, self._x = self._y + 1, 0
            elif kind == "style":
                self._restyle(part["style"])
            else:
                self._draw(part[0])
        self._set("")
        return "".join(self._out)

    def _restyle(self, parameters: str) -> None:
        if parameters in ("", "0"):
            self._style = ""
            return
        self._style = _DEFAULT_COLOURS.sub("", f"{self._style};{parameters}".lstrip(";")).rstrip(";")

    def _draw(self, text: str) -> None:
        columns, rows = self._size
        if not 0 <= self._y < rows:
            return
        line, plain = self._cells[self._y], not _SEEN.search(self._style)
        body = text.rstrip(" ") if plain and self._x + len(text) == columns and text.isascii() else text
        for char in body:
            width = 1 if char < "\x7f" else get_character_cell_size(char)
            if not width and 0 < self._x <= columns:  # a combining mark on the letter before
                self._write(self._x - 1, line[self._x - 1][0] + char, line[self._x - 1][1])
            elif width and self._x + width <= columns:
                cell = _BLANK if plain and char == " " else (char, self._style)
                if line[self._x] != cell or (width == 2 and line[self._x + 1][0]):
                    self._write(self._x, *cell)
                    line[self._x + 1 : self._x + width] = [("", self._style)] * (width - 1)
            self._x += width
        if body != text and line[self._x :] != [_BLANK] * (columns - self._x):
            self._move(self._x)
            self._set("")
            self._out.append("\x1b[K")
            line[self._x :] = [_BLANK] * (columns - self._x)

    def _write(self, x: int, char: str, style: str) -> None:
        """Send one cell. Terminals disagree on the width of characters beyond ASCII, so the next cell is positioned."""
        self._cells[self._y][x] = (char, style)
        self._move(x)
        self._set(style)
        self._out.append(char)
        certain = (char.isascii() or "\u2500" <= char <= "\u257f") and x + 1 < self._size[0]
        self._cursor = (self._y, x + 1) if certain else None

    def _move(self, x: int) -> None:
        if self._cursor == (self._y, x):
            return
        start = self._cursor[1] if self._cursor is not None and self._cursor[0] == self._y else x
        between = self._cells[self._y][start:x]
        if 0 < len(between) < 5 and {*between} == {_BLANK} and not _SEEN.search(self._set_style):
            self._out.append(" " * len(between))
        else:
            self._out.append(f"\x1b[{len(between)}C" if between else f"\x1b[{self._y + 1};{x + 1}H")
        self._cursor = (self._y, x)

    def _set(self, style: str) -> None:
        if style != self._set_style:
            self._out.append("\x1b[m" if not style else f"\x1b[0;{style}m" if self._set_style else f"\x1b[{style}m")
            self._set_style = style


class CellDriver(LinuxDriver):
    """Textual's terminal driver, which sends only the cells that change."""

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.screen_cells = ScreenCells()

    def write(self, data: str) -> None:
        """Send the changed cells of a frame."""
        super().write(self.screen_cells.reduce(data, self._get_terminal_size()))
