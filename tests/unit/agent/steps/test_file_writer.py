"""Files that sbcast and srun --bcast write on a node."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from slurmsky.agent.steps.file_writer import FileWriter


def written(path: Path, force: bool = True) -> int:
    """Write two blocks; returns the errno."""
    writer = FileWriter(str(path), 0o751, force, None)
    for block in (b"one ", b"two", b""):
        writer.write(block)
    return writer.error


def test_a_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_text("a longer earlier text")
    other = tmp_path / "other"
    os.link(path, other)
    assert written(path, force=False) == errno.EEXIST
    assert written(path) == 0
    assert path.read_text() == "one two" and path.stat().st_mode & 0o777 == 0o751
    assert other.read_text() == "a longer earlier text"  # as a program that runs keeps its content


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert written(tmp_path / "link") == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "one two"


def test_a_pipe_without_a_reader_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert written(tmp_path / "pipe") == errno.ENXIO
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_written_and_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o20666, os.makedev(1, 3))
        assert written(device) == 0
    except PermissionError:
        pytest.skip("devices cannot be made or opened here")
    assert device.is_char_device() and device.stat().st_mode & 0o777 != 0o751
