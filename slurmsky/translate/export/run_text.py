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
    first, *rest = _edited(source, reading).split("\n")
    run = _RunLines()
    for line in [*([] if first.startswith("#!") else [first]), *rest, ""]:
        run.add(line)
    return run.text()


def _edited(source: str, reading: Reading) -> str:
    """Script with its edits, and a mark for omitted text. Of overlapping edits the widest is applied."""
    pieces: list[str] = []
    at = 0
    for start, end, text in sorted(reading.edits, key=lambda edit: (edit[0], edit[0] != edit[1], -edit[1])):
        if start >= at:  # insertions keep their order
            pieces += [source[at:start], text or _GONE]
            at = end
    return "".join([*pieces, source[at:]])


class _RunLines:
    """Lines of ``run``.

    They are the script's lines without directives, lines that an edit emptied, and the comments on both.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._comments = 0  # number of comment lines at the end, which introduce the next line
        self._body = False  # after the first command
        self._after_directive = False
        self._after_gap = False  # an edit emptied the line before

    def add(self, line: str) -> None:
        """Add the script's next line."""
        gone, line = _GONE in line, line.replace(_GONE, "")
        bare = line.strip()
        if self._is_directive(bare):
            if self._after_directive or len("".join(self._lines)) < _TITLE:
                self._drop_comments()
            self._after_directive, self._after_gap = True, False
        elif gone and (bare in ("", ";", "&") or bare.startswith("#")):
            self._after_gap = True
        elif bare:
            self._add_text(line.rstrip() if gone else line, bare)
        else:
            if self._after_gap:
                self._drop_comments()
            self._comments = 0
            if self._lines and self._lines[-1].strip():
                self._lines.append(line.rstrip("\r"))

    def _add_text(self, line: str, bare: str) -> None:
        comment = bare.startswith("#")
        self._comments = self._comments + 1 if comment else 0
        self._body, self._after_gap = self._body or not comment, False
        if bare not in (";", "&"):
            self._lines.append(line.rstrip("\r"))

    def _is_directive(self, bare: str) -> bool:
        """Return whether a line is a directive above the first command.

        A comment without text there is the frame of directives.
        """
        frame = bool(bare) and not bare.strip("#")
        directive = re.match(r"#+\s?(SBATCH|SLURM|PBS|BSUB)\b", bare) or bare.startswith("#$")
        return not self._body and bool(frame or directive)

    def _drop_comments(self) -> None:
        del self._lines[len(self._lines) - self._comments :]
        self._comments = 0

    def text(self) -> str:
        """Return the lines without blank ones at the end."""
        while self._lines and not self._lines[-1].strip():
            self._lines.pop()
        # A YAML block takes its indentation from the first line.
        return "\n".join([*(line.lstrip() for line in self._lines[:1]), *self._lines[1:]])
