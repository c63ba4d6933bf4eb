"""Format texts of sacctmgr and sreport, with abbreviated column names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from slurmsky.language.key_values import matching_value

from .print_fields import Column, PrintField

#: A row of a table: cells by header.
Cells = Mapping[str, str]


def columns(
    text: str, rows: Iterable[Mapping[str, str]], width: str = "width"
) -> tuple[list[Column[Cells]], list[str]]:
    """Columns of a format text such as ``name,qos%30``; unknown fields.

    ``width`` names the table's column of widths.
    """
    table = [
        (name, int(least), row)
        for row in rows
        for name, _, least in (entry.partition(":") for entry in row["names"].split(";"))
    ]
    found: list[Column[Cells]] = []
    unknown: list[str] = []
    # A repeated field takes the position of its last occurrence (slurm_addto_char_list).
    for item in reversed(dict.fromkeys(reversed(text.lower().split(",")))):
        if not item:
            continue
        name, _, size = item.partition("%")
        row = matching_value(name, table) if name else None
        if row is None:
            unknown.append(name)
            continue
        header = row["header"]
        digits = size.strip()
        match = re.match("[-+]?[0-9]+", digits)
        number = int(match[0]) if match else 0
        shown = number or int(row.get(width) or row["width"])
        found.append(Column(header, shown, PrintField(row["kind"], _cell(header))))
    return found, unknown


def _cell(header: str):  # type: ignore[no-untyped-def]
    return lambda cells: cells.get(header)
