"""Findings for a script's form.

They concern the first line, disabled directives and literal values, and show which parts of a script sbatch reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...language import directives
from ...options.getopt import split
from ...options.table import OptionTable
from ..script.conversion_tables import one_line
from ..script.programs import find
from ..shell.script_commands import Script
from ..shell.word_sets import words
from .finding import CHANGED, DECISION, KEPT, NOTHING

NEXT_COMPONENT = (KEPT, "the next component of the job begins")
_SHELLS = frozenset(("bash", "sh", "python", "python3", "env"))  # interpreters that every image has
_FOREIGN = re.compile(r"#(?:\$ |(PBS|BSUB|FLUX|MSUB|DW|BB|COBALT|OAR|PJM)\b)")
_BLANK = re.compile(r"<[A-Za-z](?:[\w -]*\w)?>")
_OFF = re.compile(r"##+\s*SBATCH\b")
_MISSPELT = re.compile(r"#\s+SBATCH\b|#[Ss][Bb][Aa][Tt][Cc][Hh]\b")
_PLACEHOLDER = re.compile(r"<[^<>]+>|\bYOUR[_A-Z]|\byour[-_ ]|CHANGE_?ME|\bTODO\b|\bXXX+\b|^\.\.\.$")
#: a field of a template that is a line or a variable's value
_FIELD = re.compile(r"\s*(?:(?:export\s+)?\w+=[\"']?)?\{\{\s*\w+\s*\}\}[\"']?\s*$")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]|^~")
#: options whose value is a name without effect on the job
_UNREAD = words(
    """
    account partition qos job-name mail-user comment reservation wckey output error
    """
)
#: options of which every occurrence counts
_EACH = frozenset(("export-file",))


@dataclass(frozen=True)
class Form:
    """A finding of this module."""

    line: int
    text: str
    effect: str
    reason: str


_BELOW = "below the first command, where sbatch reads no directives"
_UNREAD_FORM = "not read: a directive begins with #SBATCH, without a blank"


def forms(source: bytes, table: OptionTable, sky: bool, component: tuple[str, str] = NEXT_COMPONENT) -> Iterator[Form]:
    """Findings about a script beyond its options.

    None for a script that sbatch cannot read. ``component``: effect and reason of a line that starts the next
    component of a het job.
    """
    components: Sequence[Sequence[directives.DirectiveWord]]
    try:
        components = directives.parse(source).components
    except directives.ScriptError:
        components = ()
    yield from _lines(source, sky, component)
    for component_words in components:
        yield from _values(component_words, table)


def unread_directives(source: str, documents: Sequence[tuple[int, int]]) -> Iterator[Form]:
    """Directives that sbatch ignores.

    They are misspelt, or below the first command. ``documents``: positions of here-documents, whose lines are no
    directives.
    """
    starts = [0, *(found.end() for found in re.finditer("\n", source))]
    for form in _lines(source.encode("utf-8", "surrogateescape"), True, NEXT_COMPONENT):
        inside = any(start <= starts[form.line - 1] < end for start, end in documents)
        if form.reason in (_BELOW, _UNREAD_FORM) and not inside:
            yield form


def _lines(source: bytes, sky: bool, component: tuple[str, str]) -> Iterator[Form]:
    has_own = b"#SBATCH" in source
    reading = True
    for number, line in directives.lines(source[: 1 << 20]):
        shown = one_line(line.rstrip("\r"), 60)
        if number == 1 and line.startswith("#!"):
            yield Form(1, shown, *_interpreter(line, sky))
        elif _OFF.match(line):
            yield Form(number, shown, NOTHING, "disabled: sbatch reads it as a comment")
        elif not line.startswith("#SBATCH") and _MISSPELT.match(line):
            yield Form(number, shown, NOTHING, _UNREAD_FORM)
        elif line.startswith("#SBATCH"):
            rest = line[7:].strip()
            if not reading:
                yield Form(number, shown, NOTHING, _BELOW)
            elif not rest:
                yield Form(number, shown, NOTHING, "empty")
            elif rest.split()[0].lower() in ("hetjob", "packjob"):
                yield Form(number, shown, *component)
        elif _FOREIGN.match(line):
            yield Form(number, shown, *_foreign(line, has_own))
        elif line.strip()[:1] not in ("", "#"):
            reading = False
            if _FIELD.match(line):
                yield Form(number, shown, DECISION, "looks like a placeholder: write the value")


def placeholders(script: Script, exists: Callable[[str], bool] | None) -> Iterator[Form]:
    """Placeholders such as ``<ENV_NAME>``, which a shell reads as redirections."""
    for command in script.commands:
        for operator, word in command.redirects:
            found = _BLANK.match(script.source, word.start - 1) if operator == "<" else None
            if found and not (exists and exists(word.raw)):
                yield Form(word.line, found[0], DECISION, "looks like a placeholder: write the value")


def _interpreter(line: str, sky: bool) -> tuple[str, str]:
    words = line[2:].split()
    name = words[0].rpartition("/")[2] if words else ""
    if name == "env" and len(words) > 1:
        name = words[1]
    if sky and name not in _SHELLS:
        source = find(name)
        if source is not None and source.install:
            return CHANGED, f"runs the unchanged script; setup installs {source.package} where the node lacks it"
        return CHANGED, f"runs the unchanged script: {one_line(name, 30) or 'it'} must be in the image at that path"
    return KEPT, "runs the unchanged script"


def _foreign(line: str, has_own: bool) -> tuple[str, str]:
    if line.startswith(("#PBS", "#BSUB")) and not has_own:
        return KEPT, "read as sbatch reads it, because there is no #SBATCH line"
    if line.startswith(("#DW", "#BB")):
        return NOTHING, "there are no burst buffers"
    return NOTHING, "a directive of another scheduler: sbatch does not read it"


def _values(given_words: Sequence[directives.DirectiveWord], table: OptionTable) -> Iterator[Form]:
    """Repeated options, and values that look as if they were expanded."""
    lines: dict[int, list[str]] = {}
    for word in given_words:
        lines.setdefault(word.line, []).append(word.text)
    given: dict[str, tuple[int, str]] = {}
    for line, texts in lines.items():
        for option, text in split(table, texts).found:
            shown = f"--{option.name}" + ("" if text is None else f"={one_line(text, 60)}")
            if option.name in given and option.name not in _EACH:
                before, earlier = given[option.name]
                yield Form(before, earlier, NOTHING, f"repeated in line {line}: the last value applies")
            given[option.name] = (line, shown)
            if text and _PLACEHOLDER.search(text) and option.name in _UNREAD:
                yield Form(line, shown, KEPT, "looks like a placeholder; any name is accepted")
            elif text and _PLACEHOLDER.search(text):
                yield Form(line, shown, DECISION, "looks like a placeholder: write the value")
            elif text and _VARIABLE.search(text) and option.name not in ("wrap", "export"):
                yield Form(line, shown, KEPT, "read literally: sbatch expands no variables and no ~")
