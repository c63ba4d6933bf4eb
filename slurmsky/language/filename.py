"""File name patterns of -o, -e and -i: `slurm-%A_%4a.out`.

Source: slurm src/common/print_fields.c expand_stdio_fields, src/slurmd/common/fname.c, src/srun/fname.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from slurmsky.language._grammar import Grammar, number
from slurmsky.language.syntax_errors import FilenameError as FilenameError
from slurmsky.model.spec import NO_VAL


@dataclass(frozen=True)
class FilenameValues:
    """Values of a pattern's letters. The defaults are values of a batch script: node 0, task 0."""

    job_id: int
    user: str = ""
    job_name: str = ""
    array_job_id: Optional[int] = None  # %A; None: the job's own id
    array_task_id: Optional[int] = None  # %a, %b
    step_id: Optional[int] = None  # %s, %J; None: the batch script
    node: str = ""  # %N, the short host name
    node_id: int = 0  # %n
    task_id: int = 0  # %t
    restart_count: int = 0  # %r
    sluid: str = ""  # %S


@dataclass(frozen=True)
class PatternField:
    """One letter with its width; 0 means the value's own."""

    letter: str
    width: int = 0


Part = Union[str, PatternField]


class _Build:
    def field(self, token: str) -> PatternField:
        width = min(number(token[1:-1] or "0"), 10)  # 10 is the largest width
        return PatternField(token[-1], width)

    def start(self, *parts: Part) -> tuple[Part, ...]:
        return tuple("%" if part == "%%" else part if isinstance(part, PatternField) else str(part) for part in parts)


_GRAMMAR: Grammar[tuple[Part, ...]] = Grammar("filename", _Build(), FilenameError)


def parse(pattern: str) -> tuple[Part, ...]:
    """Parse a pattern to literal text and fields, in order.

    >>> parse("a-%4j%%")
    ('a-', PatternField(letter='j', width=4), '%')
    """
    if "\\" in pattern:
        literal = _unescaped(pattern)
        return (literal,) if literal else ()
    if "%" not in pattern:  # no field to parse
        return (pattern,) if pattern else ()
    return _GRAMMAR.parse(pattern)


def _unescaped(pattern: str) -> str:
    """Remove backslashes; of two in a row one stays.

    Source: fname.c remove_path_slashes.
    """
    return "\\".join(piece.replace("\\", "") for piece in pattern.split("\\\\"))


def expand(pattern: str, values: FilenameValues) -> str:
    """Expand `pattern` to a file name.

    `none` in any case is /dev/null. The name is not joined to a folder. Never raises: an invalid pattern is literal
    text.

    >>> expand("o-%4j-%t_%x.%z", FilenameValues(7, job_name="fit"))
    'o-0007-0_fit.%z'
    """
    if pattern.lower() == "none":
        return "/dev/null"
    return "".join(part if isinstance(part, str) else _value(part, values) for part in parse(pattern))


def _value(field: PatternField, values: FilenameValues) -> str:
    letter = field.letter
    if letter in _WORDS:
        return str(getattr(values, _WORDS[letter]))  # words ignore a width
    if letter == "s" and values.step_id is None:
        return "batch"
    if letter in "Jj":
        step = "" if letter == "j" or values.step_id is None else f".{values.step_id}"
        return f"{values.job_id:0{field.width}d}{step}"
    return f"{_number(letter, values):0{field.width}d}"


_WORDS = {"N": "node", "S": "sluid", "u": "user", "x": "job_name"}


def _number(letter: str, values: FilenameValues) -> int:
    element = NO_VAL if values.array_task_id is None else values.array_task_id
    numbers = {
        "A": values.array_job_id if values.array_job_id is not None else values.job_id,
        "a": element,
        "b": element % 10,
        "n": values.node_id,
        "r": values.restart_count,
        "s": values.step_id or 0,
        "t": values.task_id,
    }
    return numbers[letter]


def is_per_task(pattern: str) -> bool:
    """Return whether every task has a separate file (%t).

    >>> is_per_task("out.%2t"), is_per_task("out.%%t"), is_per_task("none")
    (True, False, False)
    """
    return _uses(pattern, "t")


def is_per_node(pattern: str) -> bool:
    """Return whether every node has a separate file (%N or %n)."""
    return _uses(pattern, "Nn")


def _uses(pattern: str, letters: str) -> bool:
    return any(isinstance(part, PatternField) and part.letter in letters for part in parse(pattern))
