"""Batch scripts: checks before submission, and words of #SBATCH lines.

Source: slurm src/sbatch/opt.c _opt_batch_script, next_line, get_argument; src/sbatch/sbatch.c
_get_script_buffer; src/sbatch/xlate.c for #PBS and #BSUB (see other_schedulers.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slurmsky.language._grammar import Fault, Grammar
from slurmsky.language.syntax_errors import DirectiveError as DirectiveError

MAX_SCRIPT_SIZE = 4 * 1024 * 1024  # slurm.conf max_script_size
_BLANK = " \t\n\v\f\r"


class ScriptError(DirectiveError):
    """A script that sbatch refuses.

    `lines` are what it prints, each after `sbatch: error: ` (after `sbatch: fatal: ` if `fatal`); the exit code is 1.
    """

    lines: tuple[str, ...] = ()
    fatal = False

    def __init__(self, text: str = "", pos: int = 0, message: str = "") -> None:
        super().__init__(text, pos, message)
        if message:
            self.lines = (message,)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class ScriptTooLarge(ScriptError):
    """A script longer than slurmctld accepts."""

    lines = ("Batch job submission failed: Pathname of a file, directory or other parameter too long",)


class EmptyScript(ScriptError):
    """A script without any content."""

    lines = ("Batch script is empty!",)


class BlankScript(ScriptError):
    """A script of white space only."""

    lines = ("Batch script contains only whitespace!",)


class NoShebang(ScriptError):
    """A script whose first line names no interpreter."""

    lines = (
        "This does not look like a batch script.  The first",
        "line must start with #! followed by the path to an interpreter.",
        "For instance: #!/bin/sh",
    )


class NulInScript(ScriptError):
    """A script with a NUL character."""

    lines = (
        "The Slurm controller does not allow scripts that",
        r"contain a NULL character '\0'.",
    )


class DosLineBreaks(ScriptError):
    """A script with DOS line breaks."""

    lines = (
        r"Batch script contains DOS line breaks (\r\n)",
        r"instead of expected UNIX line breaks (\n).",
    )


class BadLine(ScriptError):
    """A line with an unclosed quote or a leading colon. `pos` is the line's number."""

    fatal = True


@dataclass(frozen=True)
class DirectiveWord:
    """One word of the directives, with its line number from 1."""

    text: str
    line: int

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class DirectiveWords:
    """Words of each het component, as getopt receives them. An ordinary job has one component."""

    components: tuple[tuple[DirectiveWord, ...], ...] = ((),)
    errors: tuple[str, ...] = ()  # printed after `sbatch: error: `; submission continues
    warnings: tuple[str, ...] = ()  # printed after `sbatch: warning: `


_FROM_SLURM = "Change from #SLURM to #SBATCH in your script and verify the options are valid in sbatch"
_PACKJOB = 'The "packjob" component separator is deprecated. Please use "hetjob" instead.'
_SEPARATOR = re.compile(r"(packjob|hetjob)(?=[ \t\r\f\v]|\Z)", re.IGNORECASE)


def check(script: bytes, max_size: int = MAX_SCRIPT_SIZE) -> None:
    """Raise ScriptError for a script that sbatch refuses.

    The checks are in sbatch's order and precede the directives.

    >>> check(b"#!/bin/sh\\n:\\n")
    >>> check(b"echo hi\\n")
    Traceback (most recent call last):
        ...
    slurmsky.language.directives.NoShebang: This does not look like a batch script.  The first
    line must start with #! followed by the path to an interpreter.
    For instance: #!/bin/sh
    """
    if len(script) > max_size:
        raise ScriptTooLarge
    if not script:
        raise EmptyScript
    if not script.strip(_BLANK.encode()):
        raise BlankScript
    if not script.startswith(b"#!"):
        raise NoShebang
    if b"\0" in script:
        raise NulInScript
    if b"\r\n" in script:
        raise DosLineBreaks


def lines(script: bytes) -> Iterator[tuple[int, str]]:
    """Lines of a script with their numbers. Bytes that are not UTF-8 become surrogates."""
    start, number = 0, 0
    while start < len(script):
        end = script.find(b"\n", start)
        end = len(script) if end < 0 else end
        number += 1
        yield number, script[start:end].decode("utf-8", "surrogateescape")
        start = end + 1


class _Build:
    def word(self, *tokens: str) -> str:
        first: str = tokens[0].type  # type: ignore[attr-defined]  # lark Tokens
        if first == "COLON":
            raise Fault(tokens[0].start_pos, ":")  # type: ignore[attr-defined]
        for token in tokens:
            if token.type == "UNCLOSED":  # type: ignore[attr-defined]
                raise Fault(tokens[0].start_pos, token[0])  # type: ignore[attr-defined]
        return "".join(map(_meant, tokens))

    def start(self, *parts: str) -> tuple[list[str], str]:
        """Return the words, and the separator that ended the line."""
        words = [part for part in parts if not hasattr(part, "type")]
        ends = [str(part) for part in parts if getattr(part, "type", "") == "SEPARATOR"]
        if "" in words:  # an empty word ends the line for sbatch
            return words[: words.index("")], ""
        return words, ends[0].lower() if ends else ""


_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def _meant(token: str) -> str:
    kind: str = token.type  # type: ignore[attr-defined]
    if kind in ("DOUBLE", "SINGLE"):
        return _ESCAPE.sub(r"\1", token[1:-1])
    if kind == "COMMENT":
        return ""
    return token[1:] if kind in ("ESCAPED", "DANGLING") else str(token)


_GRAMMAR: Grammar[tuple[list[str], str]] = Grammar("directives", _Build(), DirectiveError, remember=0)


def split(text: str, name: str = "", line: int = 0) -> list[str]:
    """Split the text after #SBATCH into words.

    An empty word or `hetjob` ends the line, since get_argument takes either for the end. Raises BadLine.

    >>> split(''' -J "a b"c --comment=x#y''')
    ['-J', 'a bc', '--comment=x']
    """
    return _words(text, name, line)[0]


def _words(text: str, name: str, line: int) -> tuple[list[str], str]:
    plain = text.strip(_BLANK)
    if not _SPECIAL.search(plain):
        # No quote, backslash or comment: the grammar would only split at blanks.
        return plain.split(), ""
    try:
        return _GRAMMAR.parse(text)
    except DirectiveError as exc:
        rest = text[len(text[: exc.pos].rstrip(_BLANK)) :]
        wrong = f"Unexpected `:` in [{rest}]" if exc.message == ":" else f"Unmatched `{exc.message}` in [{rest}]"
        raise BadLine(text, line, f"{name}: line {line}: {wrong}") from None


_SPECIAL = re.compile(r"""[\\'"#\x00-\x08\x0e-\x1f\x80-\U0010ffff]|(?:^|\s)(?::|packjob|hetjob)""", re.IGNORECASE)


def parse(script: bytes, name: str = "") -> DirectiveWords:
    """Parse the #SBATCH (and #SLURM) lines before the first command.

    `hetjob` or `packjob` as the first word starts the next component. The rest of its line is dropped, as in Slurm.
    Messages contain `name`. Raises BadLine.

    >>> [str(word) for word in parse(b"#!/bin/sh\\n#SBATCH -n2 -J x # y\\n:\\n#SBATCH -N9\\n").components[0]]
    ['-n2', '-J', 'x']
    """
    components: list[list[DirectiveWord]] = [[]]
    errors: list[str] = []
    warnings: list[str] = []
    for number, line in lines(script):
        text = line[7:] if line.startswith("#SBATCH") else line[6:] if line.startswith("#SLURM") else None
        if text is None:
            if line.strip(_BLANK)[:1] not in ("", "#"):
                break
            continue
        if not line.startswith("#SBATCH") and not errors:
            errors.append(_FROM_SLURM)
        text = text.lstrip(_BLANK)
        separator = _SEPARATOR.match(text)
        if separator:
            components.append([])
        words, end = _words(text, name, number)
        if end == "packjob" and not warnings:
            warnings.append(_PACKJOB)
        components[-1].extend(DirectiveWord(word, number) for word in words)
    return DirectiveWords(tuple(map(tuple, components)), tuple(errors), tuple(warnings))
