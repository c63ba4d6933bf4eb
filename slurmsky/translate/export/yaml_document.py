"""Writes YAML with comments, field by field. Users edit it. A comment can never become YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..sky_task.yaml_text import blockable, dump, plain_text

_WIDTH = 100


class YamlDocument:
    """Ordered fields, with comments above or beside their keys."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.fields: dict[str, Any] = {}

    def comment(self, text: str) -> None:
        """Add a comment line."""
        self._lines.append(f"# {_plain(text)}".rstrip())

    def blank(self) -> None:
        """Add an empty line."""
        self._lines.append("")

    def add_field(
        self, key: str, value: Any, comments: Sequence[str] = (), inline: Mapping[str, str] | None = None
    ) -> None:
        """Add a field. ``inline``: comments beside keys of a mapping."""
        tall = isinstance(value, Mapping) or (isinstance(value, str) and "\n" in value)
        if self._lines and (tall or not self.fields):
            self._lines.append("")
        self.fields[key] = value
        short = len(comments) == 1 and "\n" not in str(value) and not isinstance(value, Mapping)
        if not short:
            for text in comments:
                self.comment(text)
        if isinstance(value, Mapping) and value:
            self._lines.append(f"{key}:")
            for inner, item in value.items():
                first, *rest = _entry(inner, item)
                beside = (inline or {}).get(inner)
                self._lines.append(f"  {first}" + (f"  # {_plain(beside)}" if beside else ""))
                self._lines += [f"  {line}" if line else "" for line in rest]
            return
        first, *rest = [f"{key}: ."] if value == "." else _block(key, value) or dump({key: value}).splitlines()
        self._lines.append(first + (f"  # {_plain(comments[0])}" if short else ""))
        self._lines += rest

    def text(self) -> str:
        """Return the YAML."""
        return "\n".join(self._lines) + "\n"


def _entry(key: str, item: Any) -> list[str]:
    """Lines of a key with its value. PyYAML writes long keys as ``? KEY``, which is hard to read."""
    first, *rest = dump({key: item}).splitlines()
    if not first.startswith("? "):
        return [first, *rest]
    short = dump({"k": item}).splitlines()
    return [first[2:] + short[0][1:], *short[1:]]


def _block(key: str, value: Any) -> list[str]:
    """Lines of a text as a ``|`` block; [] for other values.

    This works also if PyYAML writes none (spaces at a line's end).
    """
    if not isinstance(value, str) or not value.endswith("\n") or not blockable(value := plain_text(value)):
        return []
    return [f"{key}: |", *(f"  {line}" if line else "" for line in value[:-1].split("\n"))]


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
