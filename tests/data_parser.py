"""Validates a document against the types of Slurm 25.11's data parser.

faults(document, "OPENAPI_JOB_INFO_RESP") == []
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "data" / "data_parser_v0.0.44.txt"
_PLAIN = {"text": str, "integer": int, "boolean": bool, "real": float}


@cache
def types() -> dict[str, dict[str, Any]]:
    """The keys of each type, nested as they are written, and the types of these."""
    found: dict[str, dict[str, Any]] = {}
    for name, lines in _sections():
        if name.endswith(" words"):
            continue
        keys: dict[str, Any] = found.setdefault(name, {})
        for line in lines:
            path, _, kind = line.partition(" ")
            *outer, last = path.split("/")
            place = keys
            for part in outer:
                place = place.setdefault(part, {})
            place[last] = kind
    return found


@cache
def words() -> dict[str, frozenset[str]]:
    """The words that a list of flags may have."""
    return {name.removesuffix(" words"): frozenset(" ".join(lines).split()) for name, lines in _sections()
            if name.endswith(" words")}  # fmt: skip


def _sections() -> list[tuple[str, list[str]]]:
    text = "\n".join(line for line in TABLE.read_text().splitlines() if not line.startswith("#"))
    sections = (section.splitlines() for section in text.split("\n["))
    return [(first.strip("[]"), lines) for first, *lines in sections]


def faults(value: Any, kind: str) -> list[str]:
    """Missing, additional and wrong values of a type, each with its path."""
    return sorted(set(_faults(value, kind, "")))


def _faults(value: Any, kind: Any, place: str) -> Iterator[str]:
    if isinstance(kind, str) and kind.endswith("?"):
        if value is not None:
            yield from _faults(value, kind[:-1], place)
    elif isinstance(kind, str) and kind.endswith("[]"):
        inner = kind[:-2]
        if not isinstance(value, list):
            yield f"{place}: {value!r} is no list"
        elif inner in words():
            yield from (f"{place}: {word!r} is no word of {inner}" for word in value if word not in words()[inner])
        else:
            for item in value:
                yield from _faults(item, inner, place + "[]")
    elif kind in _PLAIN if isinstance(kind, str) else False:
        if type(value) is not _PLAIN[kind]:
            yield f"{place}: {value!r} is no {kind}"
    else:
        keys = kind if isinstance(kind, Mapping) else types()[kind]
        if not isinstance(value, Mapping):
            yield f"{place}: {value!r} is no object"
            return
        yield from (f"{place}/{key}: missing" for key in keys.keys() - value.keys())
        yield from (f"{place}/{key}: too much" for key in value.keys() - keys.keys())
        for key in keys.keys() & value.keys():
            yield from _faults(value[key], keys[key], f"{place}/{key}")
