"""A table of many rows as one test.

Every row runs, and a failure names all rows that fail.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from tables import every


def test_every_row_runs_and_all_that_fail_are_named() -> None:
    tried = []

    @every("text, number", [("one", 1), ("two", 0), ("three", 3), ("four", 0)], lambda row: f"<{row[0]}>")
    def check(text: str, number: int, tmp_path: Path) -> None:
        tried.append(text)
        assert number, f"{text} in {tmp_path}"

    assert list(inspect.signature(check).parameters) == ["tmp_path"]
    with pytest.raises(AssertionError) as caught:
        check(tmp_path=Path("/f"))
    assert tried == ["one", "two", "three", "four"]
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 of 4 rows fail: <two>, <four>"
    assert "<two>" in lines and "AssertionError: two in /f" in lines and "AssertionError: four in /f" in lines
    assert caught.value.__cause__ is not None and caught.value.__cause__.__traceback__ is not None


def test_a_table_has_rows() -> None:
    with pytest.raises(AssertionError):
        every("text", [])
