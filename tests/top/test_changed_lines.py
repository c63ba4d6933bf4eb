"""Output of a pane of ``slurmsky top`` to the terminal after a change."""

from __future__ import annotations

import pytest
from textual.geometry import Region, Size

from slurmsky.top.scroll_text import TextLines


class Pane(TextLines):
    """A pane without a screen, which records its refreshes."""

    size = Size(20, 3)  # type: ignore[assignment]

    def refresh(self, *regions: Region, **_: bool) -> Pane:  # type: ignore[override]
        self.sent = regions or ("all",)
        return self


@pytest.fixture
def pane() -> Pane:
    made = Pane()
    made.show(["one", "two", "three"], at_end=False, fresh=True)
    assert made.sent == ("all",)
    made.sent = ()
    return made


def test_the_same_lines_send_nothing(pane: Pane) -> None:
    pane.show(["one", "two", "three"], at_end=False)
    assert pane.sent == ()


def test_a_changed_line_is_sent_up_to_its_last_changed_cell(pane: Pane) -> None:
    pane.show(["one", "TWO", "three"], at_end=False)
    assert pane.sent == (Region(0, 1, 3, 1),)


def test_a_shorter_line_erases_the_rest(pane: Pane) -> None:
    pane.show(["one", "two", "t"], at_end=False)
    assert pane.sent == (Region(0, 2, 20, 1),)


def test_another_height_sends_all(pane: Pane) -> None:
    pane.size = Size(20, 2)  # type: ignore[assignment]
    pane.show(["one", "two"], at_end=False)
    assert pane.sent == ("all",)
