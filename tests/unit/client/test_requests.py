"""The protocol between client and server, and the client's requests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from thin_client import Peer, Server, argv, call, resize

from slurmsky import client, client_relay, client_session, client_terminal, paths
from slurmsky.protocol import wire

# Protocol


@pytest.mark.parametrize("module", [client, client_relay, client_session, client_terminal])
def test_constants_are_those_of_the_codec(module: object) -> None:
    shared = [name for name in dir(wire) if name.isupper() and hasattr(module, name)]
    assert shared
    assert {name: getattr(module, name) for name in shared} == {name: getattr(wire, name) for name in shared}


def test_every_frame_is_known_to_the_client() -> None:
    kinds = {name for name in dir(wire) if name.isupper() and isinstance(getattr(wire, name), bytes)} - {"JSON"}
    assert kinds <= {name for module in (client, client_relay, client_terminal) for name in dir(module)}


def test_variables_are_those_of_paths() -> None:
    assert client.HOME.decode() == paths.HOME
    assert client.AGENT.decode() == paths.AGENT
    assert client.SOCKET_NAME.decode() == paths.SOCKET_NAME
    assert client_session.VARIABLE.decode() == paths.SESSION_NODE


@pytest.mark.parametrize(
    "env",
    [
        {"SLURMSKY_HOME": "/a/b"},
        {"SLURMSKY_HOME": "rel"},
        {"SLURMSKY_HOME": "", "HOME": "/home/x"},
        {"XDG_STATE_HOME": "/state", "HOME": "/home/x"},
        {"XDG_STATE_HOME": "not/absolute", "HOME": "/home/x"},
        {"HOME": "/home/x"},
        {},
    ],
)
def test_state_folder_is_that_of_paths(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import posix

    monkeypatch.setattr(posix, "environ", {os.fsencode(k): os.fsencode(v) for k, v in env.items()})
    assert os.fsdecode(client.home()) == str(paths.state(env).home)


# Requests


def test_a_request_contains_the_callers_context(serve: Callable[..., Server], tmp_path: Path) -> None:
    got: list[wire.CommandRequest] = []

    def play(peer: Peer) -> None:
        got.append(peer.request())
        peer.exit()

    serve(play)
    folder = tmp_path / "a b\nü"
    folder.mkdir()
    env = {"SLURMSKY_HOME": str(tmp_path), "EMPTY": "", "BYTES": "\udcff", "EQ": "a=b=c", "LANG": "C"}
    args = ["-n", "", "ü", "\udcfe", "--x=$HOME"]
    done = subprocess.run(
        argv("sbatch", *args), env=env, cwd=folder, umask=0o027, capture_output=True, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (request,) = got
    assert request.command == "sbatch"
    assert list(request.args) == args
    assert request.cwd == str(folder)
    assert request.umask == 0o027
    assert request.ttys == (False, False, False)
    assert request.winsize is None
    assert request.env == env  # also without the LC_CTYPE that Python sets for itself in the C locale


def test_a_request_marks_the_callers_terminals(serve: Callable[..., Server], tmp_path: Path) -> None:
    got: list[wire.CommandRequest] = []

    def play(peer: Peer) -> None:
        got.append(peer.request())
        peer.exit()

    serve(play)
    master, slave = os.openpty()
    resize(slave, 40, 132)
    call(tmp_path, "squeue", stdin=slave)
    os.close(master)
    os.close(slave)
    assert got[0].ttys == (True, False, False)
    assert got[0].winsize == (40, 132)


def test_a_large_environment_and_argv_arrive(serve: Callable[..., Server], tmp_path: Path) -> None:
    got: list[wire.CommandRequest] = []

    def play(peer: Peer) -> None:
        got.append(peer.request())
        peer.exit()

    serve(play)
    env = {f"V{n}": "x" * 1000 for n in range(500)}
    call(tmp_path, "sbatch", *["y" * 100] * 3000, env=env)
    assert len(got[0].args) == 3000
    assert env.items() <= got[0].env.items()


def test_a_removed_folder_is_no_traceback(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(lambda peer: (peer.request(), peer.exit(3)))
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD" && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *argv("squeue")],
        cwd=gone,
        env={"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (3, b"")


def test_inside_a_job_the_agent_is_queried(serve: Callable[..., Server], tmp_path: Path) -> None:
    agent = tmp_path / "node" / "agent.sock"
    serve(lambda peer: (peer.request(), peer.exit(5)), path=agent)
    assert call(tmp_path, "srun", env={"SLURMSKY_AGENT": str(agent)}).returncode == 5


def test_a_long_socket_path(serve: Callable[..., Server], tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120) / ("y" * 120)
    serve(lambda peer: (peer.request(), peer.exit(6)), path=home / "controller.sock")
    assert call(home, "squeue").returncode == 6
