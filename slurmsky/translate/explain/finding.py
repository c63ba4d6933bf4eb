"""A finding of explain, and the possible effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

KEPT, CHANGED, NOTHING, REFUSED, DECISION = "kept", "changed", "no effect", "refused", "decision"
#: only for scripts that run on this machine, if it lacks what the script names
MISSING = "not here"
EFFECTS = (KEPT, CHANGED, NOTHING, MISSING, DECISION, REFUSED)
KINDS = ("form", "directive", "module", "command", "step", "variable", "environment", "path")


@dataclass(frozen=True)
class Finding:
    """Finding about one part of the script. ``suggestion``: suggested lines for the site file."""

    line: int
    kind: str  # one of KINDS
    text: str
    effect: str
    reason: str
    suggestion: str = ""


@dataclass(frozen=True)
class LocalLookup:
    """Queries about the submitting machine.

    Only scripts that would run there need them. ``path``, ``program`` and ``environment`` return whether it exists;
    ``variable`` returns the caller's value or None; ``built`` returns whether the project has a program's source.
    """

    path: Callable[[str], bool]
    program: Callable[[str], bool]
    environment: Callable[[str], bool]
    variable: Callable[[str], str | None]
    built: Callable[[str], bool] = lambda _: False
