"""The text of a script as ``run`` has it: with its edits, without first line and directives. Pure."""

from __future__ import annotations

import re

from .idiomtables import Reading

_SHELL = re.compile(r"#!\s*(?:/usr/bin/env\s+(?:-S\s*)?)?(?:\S*/)?(\w+)(.*)")
BASH = frozenset(("bash", "sh", "dash"))


def interpreter(source: str) -> tuple[str, str]:
    """(program, options) of the first line; ("", "") without one."""
    found = _SHELL.match(source.split("\n", 1)[0])
    return (found[1], found[2].strip()) if found else ("", "")


def run_text(source: str, reading: Reading) -> str:
    """The script with its edits, without first line, directives and runs of blank lines."""
    pieces: list[str] = []
    at = 0
    # Of overlapping edits the widest wins; insertions keep their order.
    for start, end, text in sorted(reading.edits, key=lambda edit: (edit[0], edit[0] != edit[1], -edit[1])):
        if start < at:
            continue
        pieces += [source[at:start], text]
        at = end
    pieces.append(source[at:])
    documents = "".join(pieces)
    lines = documents.split("\n")
    kept: list[str] = []
    body = False
    for index, line in enumerate(lines):
        if index == 0 and line.startswith("#!"):
            continue
        bare = line.strip()
        if not body and (re.match(r"#+\s?(SBATCH|SLURM|PBS|BSUB)\b", bare) or bare.startswith("#$")):
            continue
        body = body or (bool(bare) and not bare.startswith("#"))
        if bare in (";", "&") or (not bare and (not kept or not kept[-1].strip())):
            continue
        kept.append(line.rstrip("\r"))
    while kept and not kept[-1].strip():
        kept.pop()
    if kept:
        kept[0] = kept[0].lstrip()  # a YAML block takes its indentation from the first line
    return "\n".join(kept)
