"""Reads small files of a project."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 1 << 19


def read_small(path: Path) -> str | None:
    """Text of a small regular file, else None. The limit is MAX_BYTES."""
    try:
        small = path.is_file() and path.stat().st_size <= MAX_BYTES
        return path.read_text(encoding="utf-8", errors="replace") if small else None
    except OSError:
        return None
