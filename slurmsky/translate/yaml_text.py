"""Converts plain values to readable YAML. (SkyPilot itself receives JSON, which is YAML, too.)"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_WORD = re.compile(r"[A-Za-z_./][\w./+:@*-]*(?<!:)")
_RESERVED = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "."}


def dump(value: Mapping[str, Any]) -> str:
    """Block-style YAML; long text as ``|`` blocks; keys in the given order."""
    return "".join(f"{line}\n" for line in _mapping(value, ""))


def _mapping(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{indent}{_scalar(str(key))}:", item, indent)


def _entry(head: str, item: Any, indent: str) -> Iterator[str]:
    deeper = indent + "  "
    if isinstance(item, Mapping) and item:
        yield head
        yield from _mapping(item, deeper)
    elif isinstance(item, (list, tuple)) and item:
        yield head
        for part in item:
            if isinstance(part, Mapping) and part:
                first, *rest = _mapping(part, deeper + "  ")
                yield f"{deeper}- {first.lstrip()}"
                yield from rest
            else:
                yield f"{deeper}- {_scalar(part)}"
    elif isinstance(item, str) and "\n" in item and _blockable(item):
        yield f"{head} |" + ("" if item.endswith("\n") else "-")
        for line in item.removesuffix("\n").split("\n"):
            yield f"{deeper}{line}" if line else ""
    else:
        yield f"{head} {_scalar(item)}"


def _blockable(text: str) -> bool:
    return (
        not text.startswith((" ", "\n"))
        and not text.endswith("\n\n")
        and text.replace("\n", "").replace("\t", "").isprintable()  # no other line breaks, no control characters
    )


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _WORD.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d+\+", value):
        return value
    return json.dumps(value)
