"""Text of ``run``: the edited script without directives."""

from __future__ import annotations

import re

from ..script.conversion_tables import Reading
from ..shell.script_commands import Script

_SHELL = re.compile(r"#!\s*(?:/usr/bin/env\s+(?:-S\s*)?)?(?:\S*/)?(\w+)(.*)")
BASH = frozenset(("bash", "sh", "dash"))
OTHER_SHELLS = frozenset(("zsh", "ksh"))
#: uses of the script's arguments in shells other than bash, and in Python, Perl and R
READS_ARGUMENTS = re.compile(r"(?m)^[^#\n]*(\$#?\{?(argv|[1-9]\b)|sys\.argv|@ARGV|\$ARGV|commandArgs)")


#: forms of zsh and ksh that bash reads differently, or not at all
_OTHER_SHELL = re.compile(
    r"(?m)^[^#\n]*(\b(setopt|unsetopt|zmodload|autoload|emulate|print|integer|float|whence|set -A)\b|\$\{\(|\$\{=|\|&"
    r"|\[1\]|=\(|\*\*/|typeset -[AFZL]|\(N\)|<->)"
)


def interpreter(source: str) -> tuple[str, str]:
    """Program and options of the first line, or ("", "").

    A script for zsh or ksh that bash reads in the same way is bash's.
    """
    found = _SHELL.match(source.split("\n", 1)[0])
    program = found[1] if found else ""
    if program in OTHER_SHELLS and not _OTHER_SHELL.search(source):
        program = "bash"
    return (program, found[2].strip()) if found else ("", "")


def until_exit(script: Script) -> str:
    """Text of a script up to its unconditional ``exit``. The rest is data, or text of another program."""
    for statement in script.statements:
        commands = statement.commands
        alone = len(commands) == 1 and not statement.blocks and commands[0].before not in ("&&", "||", "|")
        if alone and commands[0].name == "exit" and commands[0].after not in ("&&", "||"):
            return script.source[: statement.end] + "\n"
    return script.source


#: characters of a comment above the first directive that describes that directive only
_TITLE = 32
#: mark of omitted text
_GONE = "\x00"


def run_text(source: str, reading: Reading) -> str:
    """Edited script without first line, directives and repeated blank lines."""
    pieces: list[str] = []
    at = 0
    # Of overlapping edits the widest wins; insertions keep their order.
    for start, end, text in sorted(reading.edits, key=lambda edit: (edit[0], edit[0] != edit[1], -edit[1])):
        if start < at:
            continue
        pieces += [source[at:start], text or _GONE]
        at = end
    pieces.append(source[at:])
    documents = "".join(pieces)
    kept: list[str] = []
    body = False
    about = 0  # number of comment lines at the end of ``kept`` that introduce the next omitted line
    after = directives = False  # whether the line before is omitted; whether directives came before
    for index, line in enumerate([*documents.split("\n"), ""]):
        if index == 0 and line.startswith("#!"):
            continue
        gone, line = _GONE in line, line.replace(_GONE, "")
        bare = line.strip()
        frame = bare and not bare.strip("#")  # a line without text
        directive = not body and (frame or re.match(r"#+\s?(SBATCH|SLURM|PBS|BSUB)\b", bare) or bare.startswith("#$"))
        if directive or (gone and (not bare or bare in (";", "&") or bare.startswith("#"))):
            if directive and (directives or len("".join(kept)) < _TITLE):
                del kept[len(kept) - about :]
                about = 0
            directives, after = directives or bool(directive), not directive
            continue
        if after and not bare:
            del kept[len(kept) - about :]
        if bare:
            about, after = (about + 1 if bare.startswith("#") else 0), False
        body = body or (bool(bare) and not bare.startswith("#"))
        if not bare:
            about = 0
        line = line.rstrip() if gone else line
        if bare in (";", "&") or (not bare and (not kept or not kept[-1].strip())):
            continue
        kept.append(line.rstrip("\r"))
    while kept and not kept[-1].strip():
        kept.pop()
    if kept:
        kept[0] = kept[0].lstrip()  # a YAML block takes its indentation from the first line
    return "\n".join(kept)
