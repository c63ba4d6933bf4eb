"""Columns of squeue and sinfo.

A format is compiled once; each row then costs one call per column. Width rules (print.c _print_str): without a width
there is no padding; left-justified text is always cut to the width; right-justified text is cut unless its field is
never cut (node lists, times); a negative width adds one blank. Widths count bytes, as in printf.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Callable, Generic, NamedTuple, Optional, TypeVar

from slurmsky.language import formats

Row = TypeVar("Row")
#: parts of a template: conversions made by ``_conversion``, blanks, and plain text
_CONVERSIONS = re.compile(r"(%%|%-?[0-9]*(?:\.[0-9]+)?s)")


class FormatItem(NamedTuple):
    """A part of a parsed ``-o`` or ``-O`` text.

    ``name`` is the letter or long name, "" for plain text, which is in ``suffix``. ``source`` is the original text,
    since an unknown letter is printed as typed.
    """

    name: str
    width: int = 0
    right: bool = False
    suffix: str = ""
    source: str = ""


@dataclass(frozen=True)
class Field(Generic[Row]):
    """Field of a table: header, and reader of its value.

    ``cut`` and ``cut_header``: right-justified text is cut to the width. ``sized`` replaces ``value`` if the
    value depends on the width of its column. ``shared`` is not 0 if rows of one record class have the same value; it is
    the cost of computing the value, relative to a simple field. ``left_header``: the header is always left-justified.
    """

    header: str
    value: Callable[[Row], str]
    cut: bool = True
    cut_header: bool = True
    sized: Optional[Callable[[int], Callable[[Row], str]]] = None
    shared: int = 0
    left_header: bool = False


@dataclass(frozen=True)
class FormatColumn(Generic[Row]):
    """Column: a field with printf conversions for values and header."""

    field: Field[Row]
    value: Callable[[Row], str]
    conversion: str
    header_conversion: str


class Layout(Generic[Row]):
    """Compiled format: columns, and the plain text between them."""

    def __init__(self, columns: Sequence[FormatColumn[Row]], template: str, header_template: str) -> None:
        self.columns = columns
        self.template = template
        self.header_template = header_template
        self.values = [column.value for column in columns]

    def header(self) -> str:
        """The header line, without newline."""
        return self.header_template % tuple(column.field.header for column in self.columns)

    def lines(self, rows: Iterable[Row], shared_key: Optional[Callable[[Row], Hashable]] = None) -> Iterator[str]:
        """Format one line per row, without newline.

        ``shared_key`` is a key function for rows with equal shared values.
        """
        template = self.template
        for cells in self._cells(rows, shared_key):
            line = template % tuple(cells)
            if not line.isascii():
                # Widths count bytes, as in printf: each byte becomes one latin-1 character.
                line = _bytes(template) % tuple([_bytes(cell) for cell in cells])
                line = line.encode("latin-1").decode("utf-8", "surrogateescape")
            yield line

    def similar_lines(self, probes: Sequence[Row], rows: Iterable[Row]) -> Iterator[str]:
        """Format rows that differ in few columns. A column that is equal in all probes is computed once."""
        cells = [[value(row) for value in self.values] for row in probes]
        different = [len({line[at] for line in cells}) > 1 for at in range(len(self.values))]
        if not all(cell.isascii() for line in cells for cell in line) or not self.template.isascii():
            yield from self.lines(rows)
            return
        parts, at = [], 0
        for piece in _CONVERSIONS.split(self.template):
            if piece != "%%" and piece.startswith("%"):
                parts.append(piece if different[at] else (piece % cells[0][at]).replace("%", "%%"))
                at += 1
            else:
                parts.append(piece)
        template = "".join(parts)
        values = [value for value, own in zip(self.values, different) if own]
        if len(values) == 1:
            value = values[0]
            for row in rows:
                yield template % value(row)
            return
        for row in rows:
            yield template % tuple([value(row) for value in values])

    def _cells(self, rows: Iterable[Row], shared_key: Optional[Callable[[Row], Hashable]]) -> Iterator[list[str]]:
        values = self.values
        own = [(at, column.value) for at, column in enumerate(self.columns) if not column.field.shared]
        if shared_key is None or sum(column.field.shared for column in self.columns) < _WORTHWHILE:
            for row in rows:
                yield [value(row) for value in values]
            return
        known: dict[Hashable, list[str]] = {}
        for row in rows:
            kind = shared_key(row)
            cells = known.get(kind)
            if cells is None:
                cells = known[kind] = [value(row) for value in values]
            else:
                for at, value in own:
                    cells[at] = value(row)
            yield cells

    def text(
        self, rows: Iterable[Row], header: bool = True, shared_key: Optional[Callable[[Row], Hashable]] = None
    ) -> str:
        """Header line (if requested) and rows, each with its newline."""
        parts = [self.header()] if header else []
        parts.extend(self.lines(rows, shared_key))
        parts.append("")
        return "\n".join(parts)


#: minimum total cost of shared columns for which grouping rows by record class pays off
_WORTHWHILE = 8


def _bytes(cell: str) -> str:
    return cell.encode("utf-8", "surrogateescape").decode("latin-1")


def _conversion(width: int, right: bool, cut: bool) -> str:
    if width == 0:
        return "%s"
    if width < 0:
        return "%s "
    if right:
        return "%%%d.%ds" % (width, width) if cut else "%%%ds" % width
    return "%%-%d.%ds" % (width, width)


#: printf's text for a missing string; printf writes nothing if this text would be cut
_NULL = "(null)"


def _blank(value: Callable[[Row], str]) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        text = value(row)
        return "" if text == _NULL else text

    return cell


def compile_layout(items: Iterable[FormatItem], fields: Mapping[str, Field[Row]]) -> tuple[Layout[Row], list[str]]:
    """Compile parsed items to a layout; return unknown names, too.

    ``fields`` maps letters in their case and long names in lower case. An unknown letter leaves its source text in the
    line, an unknown long name only its suffix.
    """
    columns: list[FormatColumn[Row]] = []
    templates = ["", ""]
    unknown: list[str] = []
    for item in items:
        field = fields.get(item.name) or (fields.get(item.name.lower()) if len(item.name) > 1 else None)
        if item.name and field is None:
            unknown.append(item.name)
            plain = item.source if item.source.startswith("%") else item.suffix
            templates = [text + plain.replace("%", "%%") for text in templates]
            continue
        if field is not None:
            value = field.sized(item.width) if field.sized else field.value
            if 0 < item.width < len(_NULL) and not item.right:
                value = _blank(value)
            column = FormatColumn(
                field,
                value,
                _conversion(item.width, item.right, field.cut),
                _conversion(item.width, item.right and not field.left_header, field.cut_header),
            )
            columns.append(column)
            templates[0] += column.conversion
            templates[1] += column.header_conversion
        templates = [text + item.suffix.replace("%", "%%") for text in templates]
    return Layout(columns, templates[0], templates[1]), unknown


def items_of_letters(text: str) -> list[FormatItem]:
    """Parse a ``-o`` text such as ``%.18i|%8j``. A ``%`` without a letter is the unknown field ``\0``."""
    return list(_items_of_letters(text))


@lru_cache(maxsize=64)
def _items_of_letters(text: str) -> tuple[FormatItem, ...]:
    return tuple(
        FormatItem("", suffix=part)
        if isinstance(part, str)
        else FormatItem(part.name or "\0", part.width or 0, bool(part.right), part.suffix, part.text)
        for part in formats.parse_short(text)
    )


def all_letters(fields: Mapping[str, Field[Row]], after_capital: str = "") -> str:
    """Format of ``%all``: every letter that is a field. sinfo adds a blank after each capital (its opts.c)."""
    letters = (chr(code) for code in (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1)))
    return "|".join(
        "%" + letter + (after_capital if letter.isupper() else "") for letter in letters if letter in fields
    )


def layout_of(fields: Mapping[str, Field[Row]], letters: Optional[str], names: str) -> tuple[Layout[Row], list[str]]:
    """Layout of a ``-o`` or ``-O`` text, and its unknown fields.

    ``letters`` is the -o text; None means the -O text ``names``.
    """
    return compile_layout(items_of(fields, letters, names), fields)


def items_of(
    fields: Mapping[str, Field[Row]], letters: Optional[str], names: str, after_capital: str = ""
) -> list[FormatItem]:
    """Items of a ``-o`` text, or of a ``-O`` text. ``letters`` is the -o text; None means the -O text ``names``."""
    if letters is None:
        named = items_of_names(names)
        if not after_capital:
            return named
        # sinfo's -O also accepts "all".
        every = items_of_letters(all_letters(fields, after_capital))
        return [part for item in named for part in (every if item.name.lower() == "all" else [item])]
    return items_of_letters(all_letters(fields, after_capital) if letters.lower() == "%all" else letters)


def items_of_names(text: str) -> list[FormatItem]:
    """Parse a ``-O`` text such as ``jobid:.18 ,name:8|``. The default width is 20 columns."""
    return list(_items_of_names(text))


@lru_cache(maxsize=64)
def _items_of_names(text: str) -> tuple[FormatItem, ...]:
    # cached, because nearly every call uses the default, whose parsing took half the time of an squeue
    return tuple(
        _negative(FormatItem(part.name, part.width or 0, bool(part.right), part.suffix, part.text))
        for part in formats.parse_long(text)
    )


def _negative(item: FormatItem) -> FormatItem:
    # "name:-4": Slurm parses the number with strtol and keeps its sign
    found = _MINUS.match(item.suffix) if item.width == 0 else None
    return item._replace(width=-int(found[1]), suffix=item.suffix[found.end() :]) if found else item


_MINUS = re.compile("-([0-9]+)")
