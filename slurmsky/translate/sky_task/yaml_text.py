"""Writes values as YAML for people, with PyYAML.

SkyPilot itself receives JSON, which is YAML, too. Strings are quoted if YAML 1.1 or 1.2 reads another type: SkyPilot
reads YAML by PyYAML (1.1), other tools by 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

_WORD = re.compile(r"[A-Za-z_./][\w./+:@*-]*(?<!:)|\d+\+", re.ASCII)
#: words that YAML 1.1 or 1.2 reads as another type, beyond those that PyYAML quotes automatically
_NOT_TEXT = re.compile(r"[yYnN.]|\.\d+([eE][+-]?\d+)?")
#: characters that a block cannot contain: other line breaks, and control characters; invisible spaces are text
_NO_BLOCK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Dumper(yaml.SafeDumper):
    """PyYAML dumper with indented lists and without anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def plain_text(text: str) -> str:
    """Replace bytes that are not UTF-8, which YAML cannot contain."""
    return _SURROGATE.sub("\ufffd", text)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    text = plain_text(text)
    style: str | None = '"'
    if "\n" in text and blockable(text):
        style = "|"
    elif _WORD.fullmatch(text) and not _NOT_TEXT.fullmatch(text) and _resolves_to_text(dumper, text):
        style = None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


def _resolves_to_text(dumper: _Dumper, text: str) -> bool:
    tag: str = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return tag == "tag:yaml.org,2002:str"


_Dumper.add_representer(str, _text)
_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)


def dump(value: Mapping[str, Any]) -> str:
    """Dump YAML in block style, with long texts as ``|`` blocks. Keys keep their order."""
    return yaml.dump(
        dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"), default_flow_style=False
    )


def blockable(text: str) -> bool:
    """Return whether a YAML block can hold the text unchanged."""
    return not text.startswith((" ", "\n")) and not text.endswith("\n\n") and not _NO_BLOCK.search(text)
