"""A job's folder begins empty, even if the path existed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slurmsky.controller.jobs.job_spool import Payload, spool


def _link(path: Path) -> None:
    (path.parent / "target").mkdir()
    path.symlink_to(path.parent / "target")


def _folder(path: Path) -> None:
    (path / "script").mkdir(parents=True)


@pytest.mark.parametrize("place", [_link, _folder, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_file_at_the_path_of_the_spool_folder_is_replaced(tmp_path: Path, place: Callable[[Path], None]) -> None:
    folder = tmp_path / "7"
    place(folder)
    spool(folder, Payload(b"#!/bin/sh\n", "", (), {"A": "1"}, 0o022, {}))
    assert sorted(path.name for path in folder.iterdir()) == ["environment", "limits", "script", "slurm_script"]
    assert not folder.is_symlink()
    if (tmp_path / "target").exists():
        assert not list((tmp_path / "target").iterdir())
