"""Output formats of squeue, sinfo and sacct.

The spellings are `-o "%.18i %9P"`, `-O jobid:.10,name:6x`, and sacct's `--format=JobID%20`. All give the same record.
Every text is a valid format; the command checks whether a field exists.

Source: slurm src/squeue/opts.c _parse_token, _parse_long_token; src/sacct/options.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Union

from slurmsky.language._grammar import Grammar, number
from slurmsky.language.syntax_errors import FormatError as FormatError

DEFAULT_LONG_WIDTH = 20
_MAX_WIDTH = 65536  # a real squeue crashes with much larger widths


@dataclass(frozen=True)
class FormatField:
    """One column of a format.

    `name` is the letter of -o ("" if there is none), else the name as written. `width` 0 means as wide as needed (-o,
    -O) or an empty column (sacct), None means sacct's own width for the field; other widths pad and cut. `right` None
    is the field's own side. `text` is the text as written, which an unknown field of -o prints.
    """

    name: str
    width: Optional[int] = 0
    right: Optional[bool] = False
    suffix: str = ""
    text: str = ""


# The parts of one terminal of the grammar: [.][digits][letter][rest]
_SHORT = re.compile(r"(\.?)([0-9]*)(.?)(.*)", re.DOTALL)
_SIZE = re.compile(r":(\.?)([0-9]*)(.*)", re.DOTALL)
_WIDTH = re.compile(r"%\s*([+-]?)([0-9]*)")


class _Build:
    def short_field(self, token: str) -> FormatField:
        text = token.lstrip("%")  # several % count as one
        dot, digits, letter, rest = _SHORT.fullmatch(text).groups()  # type: ignore[union-attr]  # matches all
        return FormatField(letter, _width(digits), bool(dot), rest, "%" + text)

    def short(self, prefix: Optional[str], *fields: FormatField) -> list[Union[str, FormatField]]:
        return [*([str(prefix)] if prefix else []), *fields]

    def long_field(self, name: str, size: Optional[str]) -> FormatField:
        if size is None:
            return FormatField(str(name), DEFAULT_LONG_WIDTH, text=str(name))
        dot, digits, suffix = _SIZE.fullmatch(size).groups()  # type: ignore[union-attr]
        return FormatField(str(name), _width(digits), bool(dot), suffix, str(name))

    def nameless(self, size: str) -> FormatField:
        return self.long_field("", size)

    def sacct_field(self, name: str, width: Optional[str]) -> FormatField:
        if width is None:
            return FormatField(name.strip(), None, None, text=str(name))
        sign, digits = _WIDTH.match(width).groups()  # type: ignore[union-attr]
        return FormatField(name.strip(), _width(digits), sign != "-", text=str(name))

    def nameless_field(self, width: str) -> FormatField:
        return self.sacct_field("", width)

    def long(self, *fields: FormatField) -> list[FormatField]:
        return list(fields)

    sacct = long


def _width(digits: str) -> int:
    return min(number(digits or "0"), _MAX_WIDTH)


_BUILD = _Build()
_SHORT_FORMAT: Grammar[list[Union[str, FormatField]]] = Grammar(
    "formats", _BUILD, FormatError, start="short", remember=0
)
_LONG_FORMAT: Grammar[list[FormatField]] = Grammar("formats", _BUILD, FormatError, start="long", remember=0)
_SACCT_FORMAT: Grammar[list[FormatField]] = Grammar("formats", _BUILD, FormatError, start="sacct", remember=0)


def parse_short(text: str) -> list[Union[str, FormatField]]:
    """Parse -o of squeue or sinfo.

    Only the first item can be text; all later text is a suffix.

    >>> parse_short("a %.18i %9P|")[0], parse_short("%.18i|")[0].width
    ('a ', 18)
    """
    return _SHORT_FORMAT.parse(text)


def parse_long(text: str) -> list[FormatField]:
    """Parse -O of squeue or sinfo: `name[:[.][width][suffix]]`.

    The width without a colon is 20.

    >>> [(f.name, f.width, f.right, f.suffix) for f in parse_long("jobid:.10,name:6x,state")]
    [('jobid', 10, True, ''), ('name', 6, False, 'x'), ('state', 20, False, '')]
    """
    return _LONG_FORMAT.parse(text)


def parse_sacct(text: str) -> list[FormatField]:
    """Parse --format of sacct or sstat: `name[%[-]width]`.

    A minus means left-justified.

    >>> [(f.name, f.width, f.right) for f in parse_sacct("JobID%20,State%-10,Elapsed")]
    [('JobID', 20, True), ('State', 10, False), ('Elapsed', None, None)]
    """
    return _SACCT_FORMAT.parse(text)
