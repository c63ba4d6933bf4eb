"""Log of a job whose --output names a folder of the old cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.engines.sky.launch.preparation import _placed


@pytest.mark.parametrize("name", ["/no/such/folder/x.out", "/no/such/x-%N.out"])
def test_output_in_a_missing_folder_is_written_to_the_submit_folder(name: str) -> None:
    assert _placed(name, "/submit") == "/submit/" + name.rpartition("/")[2]


def test_output_in_an_existing_folder_is_written_there(tmp_path: Path) -> None:
    assert _placed(str(tmp_path / "x.out"), "/submit") == str(tmp_path / "x.out")


def test_output_in_a_missing_folder_of_the_submit_folder_is_written_there() -> None:
    assert _placed("/submit/logs/x.out", "/submit") == "/submit/logs/x.out"
