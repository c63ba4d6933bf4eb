"""Slurm's commands: one module each, with ``main(ctx)``. ``main`` returns an exit code, or a coroutine of one."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

NAMES = frozenset(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")) | {"scontrol", "slurmsky"}


def find(name: str) -> Callable[[Any], Any] | None:
    """Import the main function of a command; None if unknown."""
    if name not in NAMES:
        return None
    main: Callable[[Any], Any] = importlib.import_module(f".{name}", __name__).main
    return main


def in_idle_time(controller: Any) -> AsyncGenerator[None, None]:
    """Return the controller's background work as a generator of small pieces."""
    pieces: AsyncGenerator[None, None] = importlib.import_module(".accounting.cached_rows", __name__).prepare(
        controller
    )
    return pieces
