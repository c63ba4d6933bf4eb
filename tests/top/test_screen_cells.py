"""Frames are reduced to the cells that change, and a terminal shows the same."""

from __future__ import annotations

import random

import pyte
import pytest

from slurmsky.top.screen_cells import ScreenCells

COLUMNS, ROWS = 30, 5
ENTER = "\x1b[?1049h"


class Both:
    """Two terminals: one receives whole frames, the other the reduced frames."""

    def __init__(self) -> None:
        self.cells = ScreenCells()
        self.whole, self.reduced = pyte.Screen(COLUMNS, ROWS), pyte.Screen(COLUMNS, ROWS)
        self.draw(ENTER)

    def draw(self, text: str) -> str:
        sent = self.cells.reduce(text, (COLUMNS, ROWS))
        pyte.Stream(self.whole).feed(text)
        pyte.Stream(self.reduced).feed(sent)
        return sent

    def same_screen(self) -> bool:
        return [seen(self.whole, y) for y in range(ROWS)] == [seen(self.reduced, y) for y in range(ROWS)]


def seen(screen: pyte.Screen, y: int) -> list[tuple[object, ...]]:
    """The cells of a line; a blank without a visible style has none."""
    cells = [screen.buffer[y][x] for x in range(COLUMNS)]
    return [
        (cell.data, cell.bg, cell.reverse, cell.underscore,
         cell.data.strip() and (cell.fg, cell.bold, cell.italics))
        for cell in cells
    ]  # fmt: skip


@pytest.fixture
def both() -> Both:
    return Both()


def test_a_blank_screen_sends_nothing(both: Both) -> None:
    assert both.draw("\x1b[1;1H" + f"\x1b[39;49m{' ' * COLUMNS}\x1b[0m\r\n" * ROWS) == ""


def test_the_same_frame_again_sends_nothing(both: Both) -> None:
    frame = "\x1b[1;1H\x1b[1;7;39;49m head \x1b[0m\r\n\x1b[32mR\x1b[0m   0:01"
    assert both.draw(frame) == "\x1b[1;1H\x1b[1;7m head \x1b[2;1H\x1b[0;32mR   \x1b[m0:01"
    assert both.draw(frame) == ""


def test_one_style_is_set_once(both: Both) -> None:
    assert both.draw("\x1b[1;1H\x1b[1;4mJOBID\x1b[0m\x1b[1;4m \x1b[0m\x1b[1;4mUSER\x1b[0m") == (
        "\x1b[1;1H\x1b[1;4mJOBID USER\x1b[m"
    )


def test_the_rest_of_a_line_is_erased(both: Both) -> None:
    both.draw(f"\x1b[1;1H{'x' * COLUMNS}")
    assert both.draw(f"\x1b[1;1Hxx{' ' * (COLUMNS - 2)}") == "\x1b[1;3H\x1b[K"
    assert both.same_screen()


def test_another_size_clears_the_terminal() -> None:
    cells = ScreenCells()
    cells.reduce(ENTER, (10, 2))
    assert cells.reduce("\x1b[1;1Hab", (10, 2)) == "\x1b[1;1Hab"
    assert cells.reduce("\x1b[1;1Hab", (12, 3)) == "\x1b[m\x1b[2J\x1b[1;1Hab"
    cells.forget()
    assert cells.reduce("\x1b[1;1Hab", (12, 3)) == "\x1b[m\x1b[2J\x1b[1;1Hab"


def test_text_outside_the_alternate_screen_is_passed_on() -> None:
    cells = ScreenCells()
    assert cells.reduce("\x1b[1mbefore\n", (10, 2)) == "\x1b[1mbefore\n"
    assert cells.reduce(f"{ENTER}\x1b[?1049lafter", (10, 2)).endswith("\x1b[?1049lafter")


def test_wide_characters_and_marks(both: Both) -> None:
    for text in ("a日本b", "ab日本", "e\u0301日c", "日日日日", "abcdefgh"):
        both.draw(f"\x1b[2;1H{text}")
        assert both.whole.display == both.reduced.display


def test_incremental_frames_equal_full_frames(both: Both) -> None:
    chance = random.Random(7)
    styles = ("39;49", "1;7;39;49", "32", "2", "4;36", "41", "0")
    for _ in range(300):
        frame = ""
        for _ in range(chance.randrange(1, 4)):
            x = chance.randrange(COLUMNS)
            left = COLUMNS - x
            frame += f"\x1b[{chance.randrange(ROWS) + 1};{x + 1}H"
            while left:
                count = chance.randrange(1, left + 1)
                text = "".join(chance.choices("ab ─", (2, 1, 9, 1), k=count))
                frame += f"\x1b[{chance.choice(styles)}m{text}\x1b[0m"
                left -= count
        sent = both.draw(frame)
        assert both.same_screen(), (frame, sent)
