"""Tables of fields that ship with the package."""

from __future__ import annotations

import csv
import pkgutil
from functools import cache


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """Rows of ``data/NAME.csv``, without lines that begin with ``#``."""
    # pkgutil instead of a path, because the package also runs from a .pyz
    data = pkgutil.get_data("slurmsky.report", "data/%s.csv" % name)
    if data is None:
        raise FileNotFoundError("slurmsky/report/data/%s.csv" % name)
    return tuple(csv.DictReader(line for line in data.decode().splitlines() if not line.startswith("#")))
