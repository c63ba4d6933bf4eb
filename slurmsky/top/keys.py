"""Table of keys, for actions, bottom line and help page."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len


class KeyBinding(NamedTuple):
    """One action. ``keys``: Textual's names; ``hint``: the word in the bottom line, "" for none."""

    keys: str
    shown: str
    action: str  # the view's method do_ACTION; text after a colon is its argument
    hint: str
    help: str


KEYS = (
    KeyBinding("c", "c", "job:cancel", "Cancel", "cancel the job; asks first"),
    KeyBinding("h", "h", "job:hold", "Hold", "keep a waiting job from starting"),
    KeyBinding("u", "u", "job:release", "Release", "let a held job start"),
    KeyBinding("r", "r", "job:requeue", "Requeue", "stop the job and put it back into the queue; asks first"),
    KeyBinding("slash", "/", "filter", "Filter", "show rows with all given words; an empty line shows all"),
    KeyBinding("s", "s", "sort", "Sort", "sort by the next column; after the last as squeue does"),
    KeyBinding("S", "S", "turn", "", "sort the other way round"),
    KeyBinding("a", "a", "ended", "", "show or hide jobs that ended lately"),
    KeyBinding("1", "1", "view:queue", "", "the queue"),
    KeyBinding("2", "2", "view:nodes", "", "the nodes"),
    KeyBinding("o", "o", "tab:output", "", "the job's output, live"),
    KeyBinding("E", "E", "errors", "", "its standard error, or its output again"),
    KeyBinding("w", "w", "tab:why", "Why", "why it waits, or how it ended, and what to do"),
    KeyBinding("d", "d", "tab:details", "", "its details"),
    KeyBinding("e", "e", "tab:efficiency", "", "its efficiency"),
    KeyBinding("tab", "Tab", "pane", "Pane", "go to the next pane; arrows and PgUp, PgDn, Home, End scroll there"),
    KeyBinding("enter z", "Enter", "zoom", "Zoom", "the lower pane alone; again, or Esc: both"),
    KeyBinding("ctrl+l f5", "Ctrl-L", "again", "", "redraw with new data; starts a controller if none runs"),
    KeyBinding("question_mark f1", "?", "help", "Help", "this page"),
    KeyBinding("q ctrl+c ctrl+q", "q", "quit", "Quit", "quit; jobs continue"),
    KeyBinding("ctrl+z", "Ctrl-Z", "suspend", "", "back to the shell; fg returns"),
    KeyBinding("escape", "Esc", "leave", "", "out of the lower pane, out of a filter"),
)

#: key of the keyboard -> action
ACTIONS = {name: key.action for key in KEYS for name in key.keys.split()}


def hints(width: int) -> list[tuple[str, str]]:
    """Keys and words that fit into the bottom line. Help and quit are always included."""
    wanted = [(key.shown, key.hint) for key in KEYS if key.hint]
    while len(wanted) > 2 and sum(cell_len(f"{key} {word}  ") for key, word in wanted) > width:
        del wanted[-3]
    return wanted


def help_text() -> str:
    """The help page, which fits 80x24."""
    return "\n".join(f"{key.shown:>6}  {key.help}" for key in KEYS)
