"""The table of programs and their sources."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from slurmsky.translate.script import programs

tomllib = programs.tomllib  # tomli before Python 3.11
TABLE = Path(programs.__file__).with_name("programs.toml")


def test_each_program_has_one_source() -> None:
    """A second row for a program would have no effect."""
    names: list[str] = []
    for value in tomllib.loads(TABLE.read_text()).values():
        for text in [value] if isinstance(value, str) else value.values():
            names += text.split() if isinstance(text, str) else []
    assert len(names) > 1000 and [name for name, count in Counter(names).items() if count > 1] == []
