"""A state folder that other users can change.

The client sends, starts and writes nothing there.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from polling import PATIENCE_S
from thin_client import call

from slurmsky import paths

pytestmark = pytest.mark.slow

STRANGER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes another user's files")


def foreign(home: Path) -> None:
    os.chown(home, STRANGER, STRANGER)


def open_to_all(home: Path) -> None:
    home.chmod(0o777)


def open_to_group(home: Path) -> None:
    home.chmod(0o770)


def link_of_a_stranger(home: Path) -> None:
    home.rename(home.with_name("real"))
    home.symlink_to("real")
    os.chown(home, STRANGER, STRANGER, follow_symlinks=False)


CASES = [
    pytest.param(foreign, "belongs to another user (uid 12345)", marks=as_root),
    pytest.param(open_to_all, "is open to other users (mode 0777)"),
    pytest.param(open_to_group, "is open to other users (mode 0770)"),
    pytest.param(link_of_a_stranger, "is a link of another user (uid 12345)", marks=as_root),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("spoil", "reason"), CASES)
def test_the_client_sends_nothing(home: Path, spoil: Callable[[Path], None], reason: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "controller.sock"))
        listener.listen()
        listener.setblocking(False)
        spoil(home)
        done = call(home, "sbatch", "job.sh")
        assert done.returncode == 1
        with pytest.raises(BlockingIOError):
            listener.accept()
    lines = done.stderr.decode().splitlines()
    assert lines[0].endswith("Unable to contact slurm controller (connect failure)")
    assert reason in lines[1] and len(lines) == 2


@pytest.mark.parametrize(("spoil", "reason"), CASES)
def test_the_client_starts_no_controller(home: Path, spoil: Callable[[Path], None], reason: str) -> None:
    spoil(home)
    assert reason in call(home, "squeue").stderr.decode()
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(("spoil", "reason"), CASES)
@pytest.mark.parametrize("program", [[], ["agent"]])
def test_controller_and_agent_refuse(
    home: Path, spoil: Callable[[Path], None], reason: str, program: list[str]
) -> None:
    spoil(home)
    argv = [sys.executable, "-m", "slurmsky"]
    if program:
        (home / "nodes" / "n1").mkdir(parents=True)
        argv = [sys.executable, "-m", "slurmsky.agent", "--node", "n1", "--home", str(home)]
    done = subprocess.run(
        argv,
        env={**os.environ, "SLURMSKY_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1 and reason in done.stderr and len(done.stderr.splitlines()) == 1


@as_root
def test_a_socket_of_another_user_gets_no_request(home: Path) -> None:
    """The other user created the socket before the folder's mode was changed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home / "controller.sock"))
    os.chmod(home / "controller.sock", 0o666)
    # The kernel keeps the credentials of the process that calls listen().
    os.seteuid(STRANGER)
    try:
        listener.listen()
    finally:
        os.seteuid(0)
    listener.settimeout(PATIENCE_S)
    done = call(home, "squeue")
    assert done.returncode == 1 and f"another user (uid {STRANGER}) listens there" in done.stderr.decode()
    peer, _ = listener.accept()
    with listener, peer:
        assert peer.recv(1) == b""


@pytest.mark.parametrize("name", ["controller.lock", "controller.log"])
def test_no_link_is_followed(home: Path, tmp_path: Path, name: str) -> None:
    (home / name).symlink_to(tmp_path / "elsewhere")
    assert call(home, "squeue").returncode == 1
    assert not (tmp_path / "elsewhere").exists()


def test_the_state_folder_gets_mode_0700(home: Path) -> None:
    home.chmod(0o755)
    paths.check_state(str(home))
    assert home.stat().st_mode & 0o777 == 0o755
    paths.check_state(str(home), tighten=True)
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_link_by_the_same_user_is_accepted(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home)
    paths.check_state(str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink() and home.is_dir()
