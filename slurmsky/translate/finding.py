"""One thing that explain says of a script, and the fates it may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

KEPT, CHANGED, NOTHING, REFUSED, DECISION = "kept", "changed", "no effect", "refused", "decision"
#: only on one machine: the script names it, and it is not here now
MISSING = "not here"
FATES = (KEPT, CHANGED, NOTHING, MISSING, DECISION, REFUSED)
KINDS = ("form", "directive", "module", "command", "step", "variable", "environment", "path")


@dataclass(frozen=True)
class Finding:
    """One thing in the script. ``settle``: lines of the site file that would settle it."""

    line: int
    kind: str  # one of KINDS
    text: str
    fate: str
    reason: str
    settle: str = ""


@dataclass(frozen=True)
class Here:
    """What the submitting machine has: answers that explain asks for where a script would run here.

    ``path``, ``program`` and ``environment`` say whether it is here; ``variable`` gives the caller's value or None.
    """

    path: Callable[[str], bool]
    program: Callable[[str], bool]
    environment: Callable[[str], bool]
    variable: Callable[[str], str | None]
