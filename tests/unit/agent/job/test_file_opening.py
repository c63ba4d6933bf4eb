"""Files whose opening may block, and how a child process opens them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slurmsky.agent.job import file_opening
from slurmsky.agent.net.event_loop import Loop


@pytest.mark.parametrize("kind, network", [("nfs4", True), ("fuse.sshfs", True), ("ext4", False), ("tmpfs", False)])
def test_the_type_of_the_mount_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, network: bool
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home/me")
    monkeypatch.setattr(file_opening, "_mount_types", lambda: {"/": "ext4", str(tmp_path / "home"): kind})
    monkeypatch.setattr(file_opening, "_mounts", file_opening._Mounts())
    assert file_opening.on_network(f"{tmp_path}/home/me/file") is network
    assert file_opening.on_network(f"{tmp_path}/link/file") is network, "through a link"
    assert file_opening.on_network(f"{tmp_path}/link/../file") is network
    assert not file_opening.on_network(f"{tmp_path}/homework/file")
    assert file_opening.folder_on_network(f"{tmp_path}/home") is network


def test_a_fifo_may_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    assert file_opening.may_block(f"{tmp_path}/fifo")
    assert not file_opening.may_block(f"{tmp_path}/file") and not file_opening.may_block(f"{tmp_path}/none")


@pytest.mark.parametrize("stop_at_error", [False, True])
def test_a_child_passes_descriptors_and_errors_in_order(tmp_path: Path, stop_at_error: bool) -> None:
    (tmp_path / "a").write_text("A")
    (tmp_path / "b").write_text("B")
    results: list[file_opening.Result] = []
    loop = Loop()

    def done(found: list[file_opening.Result]) -> None:
        results.extend(found)
        loop.stop()

    names = [f"{tmp_path}/a", f"{tmp_path}/none", f"{tmp_path}/b"]
    child = file_opening.Opening(
        loop,
        [lambda name=name: os.open(name, os.O_RDONLY) for name in names],
        done,
        0o077,
        lambda: "no folder",
        stop_at_error,
    )
    loop.after(30, loop.stop)
    loop.run()
    assert child.check_result == "no folder"
    assert [isinstance(one, int) for one in results] == [True, False, True][: 2 if stop_at_error else 3]
    error = results[1]
    assert isinstance(error, OSError) and error.strerror == "No such file or directory"
    assert isinstance(results[0], int) and os.read(results[0], 9) == b"A"
    file_opening.close(results)


def test_a_cancelled_child_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    loop = Loop()
    child = file_opening.Opening(loop, [lambda: os.open(tmp_path / "fifo", os.O_WRONLY)], lambda found: None, 0o077)
    child.cancel()
    deadline = time.monotonic() + 30
    while loop.is_child(child._pid) and time.monotonic() < deadline:
        loop.reap()
    assert not loop.is_child(child._pid)
