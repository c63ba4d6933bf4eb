"""The tables of tests/data as rows."""

from __future__ import annotations

import csv
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data"
# Some recorded input has NUL bytes, which csv of Python 3.10 refuses: a private code point stands in while it reads.
_NUL = "\ue000"


def read_table(name: str) -> list[dict[str, str]]:
    """Every row of a table, by its column names."""
    with open(DATA / name, encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(line.replace("\0", _NUL) for line in lines)
        return [{column: value.replace(_NUL, "\0") for column, value in row.items()} for row in reader]
