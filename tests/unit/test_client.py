"""The thin client, as a real process against a server of this file that speaks slurmsky.node.wire."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurmsky import client, client_relay, client_start, paths
from slurmsky.node import wire

ROOT = Path(client.__file__).parents[1]
WAIT_S = 20


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = wire.FrameReader()
        self._frames: list[wire.Frame] = []

    def receive(self) -> wire.Frame | None:
        """The next frame; None: the client has closed."""
        while not self._frames:
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            self._frames.extend(self._reader.feed(data))
        return self._frames.pop(0)

    def expect(self, kind: bytes) -> bytes:
        frame = self.receive()
        assert frame is not None, f"closed instead of {kind!r}"
        assert frame.kind == kind
        return frame.payload

    def request(self) -> wire.Request:
        return wire.Request.from_payload(self.expect(wire.REQUEST))

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        self.sock.sendall(wire.encode(kind, payload))

    def exit(self, code: int = 0) -> None:
        self.sock.sendall(wire.encode_int(wire.EXIT, code))


class Server:
    """Listens on a unix socket; each connection is played by the next function of `plays`."""

    def __init__(self, path: Path, *plays: Callable[[Peer], object]) -> None:
        self.path = path
        self.error: BaseException | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path.parent, os.O_RDONLY)
        self._listener.bind(f"/proc/self/fd/{fd}/{path.name}")  # so that the path may be long
        os.close(fd)
        self._listener.listen()
        self._listener.settimeout(WAIT_S)
        self._threads = [threading.Thread(target=self._play, args=(plays,), daemon=True)]
        self._threads[0].start()

    def _play(self, plays: tuple[Callable[[Peer], object], ...]) -> None:
        for play in plays:
            sock, _ = self._listener.accept()
            sock.settimeout(WAIT_S)
            thread = threading.Thread(target=self._one, args=(play, sock), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, play: Callable[[Peer], object], sock: socket.socket) -> None:
        try:
            with sock:
                play(Peer(sock))
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)
        self._listener.close()
        if self.error is not None:
            raise self.error


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server at the place where clients with SLURMSKY_HOME=tmp_path look."""
    servers: list[Server] = []

    def start(*plays: Callable[[Peer], object], path: Path = tmp_path / "controller.sock") -> Server:
        servers.append(Server(path, *plays))
        return servers[-1]

    yield start
    for server in servers:
        server.finish()


def argv(command: str, *args: str, root: Path = ROOT) -> list[str]:
    return [sys.executable, "-I", "-S", str(root / "slurmsky" / "client.py"), str(root), command, *args]


def call(tmp_path: Path, *command: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    env = {"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    env |= options.pop("env", {})  # type: ignore[arg-type]
    settings: dict[str, object] = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": WAIT_S}
    if "input" in options:
        del settings["stdin"]
    return subprocess.run(argv(*command), env=env, **(settings | options))  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a client in the background; killed at the end if it still runs."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **options: object) -> subprocess.Popen[bytes]:
        settings: dict[str, object] = {
            "env": {"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        processes.append(subprocess.Popen(argv(*command), **(settings | options)))  # type: ignore[call-overload]
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


# What the two sides agree on


@pytest.mark.parametrize("module", [client, client_relay])
def test_constants_are_those_of_the_codec(module: object) -> None:
    shared = [name for name in dir(wire) if name.isupper() and hasattr(module, name)]
    assert "STDOUT" in shared
    assert {name: getattr(module, name) for name in shared} == {name: getattr(wire, name) for name in shared}


def test_every_frame_is_known_to_the_client() -> None:
    kinds = {name for name in dir(wire) if name.isupper() and isinstance(getattr(wire, name), bytes)} - {
        "JSON"
    }
    assert kinds <= set(dir(client)) | set(dir(client_relay))


def test_variables_are_those_of_paths() -> None:
    assert client.HOME.decode() == paths.HOME
    assert client.AGENT.decode() == paths.AGENT
    assert client.SOCKET_NAME.decode() == paths.SOCKET_NAME


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


def test_request_carries_what_the_caller_has(serve: Callable[..., Server], tmp_path: Path) -> None:
    got: list[wire.Request] = []

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


def test_request_says_what_is_a_terminal(serve: Callable[..., Server], tmp_path: Path) -> None:
    got: list[wire.Request] = []

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
    got: list[wire.Request] = []

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


def test_inside_a_job_the_agent_is_asked(serve: Callable[..., Server], tmp_path: Path) -> None:
    agent = tmp_path / "node" / "agent.sock"
    serve(lambda peer: (peer.request(), peer.exit(5)), path=agent)
    assert call(tmp_path, "srun", env={"SLURMSKY_AGENT": str(agent)}).returncode == 5


def test_a_long_socket_path(serve: Callable[..., Server], tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120) / ("y" * 120)
    serve(lambda peer: (peer.request(), peer.exit(6)), path=home / "controller.sock")
    assert call(home, "squeue").returncode == 6


# Output


@pytest.mark.parametrize("code", [0, 1, 137, 255])
def test_output_and_exit_code(serve: Callable[..., Server], tmp_path: Path, code: int) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.STDOUT, b"out 1\n")
        peer.send(wire.STDERR, b"err\n")
        peer.send(wire.STDOUT)
        peer.send(wire.STDOUT, b"out 2\xff\n")
        peer.exit(code)

    serve(play)
    done = call(tmp_path, "squeue")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"out 1\nout 2\xff\n", b"err\n")


@pytest.mark.parametrize("relayed", [False, True])
def test_bulk_output_in_frames_of_any_size(
    serve: Callable[..., Server], tmp_path: Path, relayed: bool
) -> None:
    sizes = [0, 1, 4, 5, 65536, 262139, 262144, 262149, 3_000_000, 7]
    pieces = [bytes([65 + n % 26]) * size for n, size in enumerate(sizes)]

    def play(peer: Peer) -> None:
        peer.request()
        if relayed:
            peer.send(wire.HANDLE_SIGNALS)
        for piece in pieces:
            peer.send(wire.STDOUT, piece)
        peer.exit()

    serve(play)
    assert call(tmp_path, "srun").stdout == b"".join(pieces)


def test_frames_split_at_every_byte(serve: Callable[..., Server], tmp_path: Path) -> None:
    stream = (
        wire.encode(wire.STDOUT, b"abc") + wire.encode(wire.HANDLE_SIGNALS) + wire.encode(wire.STDERR, b"de")
    )

    def play(peer: Peer) -> None:
        peer.request()
        for byte in stream + wire.encode_int(wire.EXIT, 12):
            peer.sock.sendall(bytes([byte]))
            time.sleep(0.002)

    serve(play)
    done = call(tmp_path, "srun")
    assert (done.returncode, done.stdout, done.stderr) == (12, b"abc", b"de")


def test_a_slow_nonblocking_stdout_gets_everything(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    data = os.urandom(1 << 20)

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.STDOUT, data)
        peer.exit()

    serve(play)
    read, write = os.pipe2(os.O_NONBLOCK)
    process = started("squeue", stdout=write)
    os.close(write)
    time.sleep(0.3)
    got = b""
    while select.select([read], [], [], WAIT_S)[0] and (piece := os.read(read, 65536)):
        got += piece
    os.close(read)
    assert got == data
    assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize("relayed", [False, True])
def test_a_closed_pipe_ends_it_as_a_filter(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]], relayed: bool
) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        if relayed:
            peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.STDOUT, b"x" * 10)
        while peer.receive() is not None:
            pass

    serve(play)
    read, write = os.pipe()
    os.close(read)
    process = started("squeue", stdout=write)
    os.close(write)
    assert process.wait(WAIT_S) == -signal.SIGPIPE
    assert process.stderr is not None and process.stderr.read() == b""


def test_a_full_disk_is_one_line(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(lambda peer: (peer.request(), peer.send(wire.STDOUT, b"x"), peer.receive()))
    with open("/dev/full", "wb") as full:
        done = call(tmp_path, "squeue", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == b"squeue: error: write error: No space left on device\n"


def test_a_closed_stdout_is_no_error(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(lambda peer: (peer.request(), peer.send(wire.STDOUT, b"x"), peer.exit()))
    line = ["sh", "-c", 'exec "$@" >&-', "sh", *argv("squeue")]
    env = {"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(line, env=env, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("relayed", [False, True])
def test_a_lost_controller_is_one_line(serve: Callable[..., Server], tmp_path: Path, relayed: bool) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        if relayed:
            peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.STDOUT, b"half")

    serve(play)
    done = call(tmp_path, "sbatch")
    assert (done.returncode, done.stdout) == (1, b"half")
    assert done.stderr == b"sbatch: error: lost connection to the controller\n"


# Standard input


def test_stdin_goes_out_as_it_is_granted(serve: Callable[..., Server], tmp_path: Path) -> None:
    data = os.urandom(700_000)
    got: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.request()
        grants = [10, 90, 300_000, 1_000_000]
        for grant in grants:
            peer.send(wire.GRANT, b"%d" % grant)
            while grant:
                frame = peer.receive()
                assert frame is not None
                if frame.kind == wire.STDIN_EOF:
                    peer.send(wire.STDOUT, b"EOF")
                    peer.exit()
                    return
                assert frame.kind == wire.STDIN
                assert 0 < len(frame.payload) <= grant
                grant -= len(frame.payload)
                got.append(frame.payload)

    serve(play)
    done = call(tmp_path, "sbatch", input=data)
    assert done.stdout == b"EOF"
    assert b"".join(got) == data


def test_stdin_is_left_alone_without_a_grant(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    serve(lambda peer: (peer.request(), peer.send(wire.HANDLE_SIGNALS), peer.exit()))
    read, write = os.pipe()
    os.write(write, b"for the next command\n")
    assert started("srun", stdin=read).wait(WAIT_S) == 0
    assert os.read(read, 100) == b"for the next command\n"
    os.close(read)
    os.close(write)


def test_a_closed_stdin_is_at_its_end(serve: Callable[..., Server], tmp_path: Path) -> None:
    serve(
        lambda peer: (
            peer.request(),
            peer.send(wire.GRANT, b"100"),
            peer.expect(wire.STDIN_EOF),
            peer.exit(4),
        )
    )
    line = ["sh", "-c", 'exec "$@" <&-', "sh", *argv("sbatch")]
    env = {"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    assert subprocess.run(line, env=env).returncode == 4


# Signals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_that_does_not_handle_them(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]], signum: int
) -> None:
    waiting = threading.Event()
    serve(lambda peer: (peer.request(), waiting.set(), peer.receive()))
    process = started("squeue")
    assert waiting.wait(WAIT_S)
    process.send_signal(signum)
    assert process.wait(WAIT_S) == -signum
    assert process.stderr is not None and process.stderr.read() == b""


def test_signals_are_reported_once_asked_for(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    signals = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "CONT", "ALRM"]
    numbers = [getattr(signal, f"SIG{name}") for name in signals]

    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.HANDLE_SIGNALS)
        # The answer to a grant shows that the frame before it has been acted on.
        peer.send(wire.GRANT, b"1")
        peer.expect(wire.STDIN_EOF)
        for number in numbers:
            os.kill(pid, number)
            assert int(peer.expect(wire.SIGNAL)) == number
        peer.exit(130)

    serve(play)
    assert started("srun").wait(WAIT_S) == 130


def test_a_signal_is_reported_while_output_is_stuck(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.STDOUT, b"x" * 150_000)  # nobody reads: the pipe holds 65536
        time.sleep(0.3)
        os.kill(pid, signal.SIGINT)
        assert int(peer.expect(wire.SIGNAL)) == signal.SIGINT
        peer.exit()

    serve(play)
    process = started("srun")
    assert process.communicate(timeout=WAIT_S)[0] == b"x" * 150_000


# Programs in the caller's terminal


def spawn_frame(args: list[str], env: dict[str, str] | None = None) -> bytes:
    variables = {"PATH": os.environ["PATH"]} | (env or {})
    fields = [b"%d" % len(args), *map(os.fsencode, args)]
    return wire.encode_list([*fields, *(os.fsencode(f"{k}={v}") for k, v in variables.items())])


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (["true"], b"0"),
        (["sh", "-c", "exit 7"], b"7"),
        (["sh", "-c", "kill -KILL $$"], b"-9"),
        (["no-such-program"], b"127 ENOENT No such file or directory"),
        (["/no/such"], b"127 ENOENT No such file or directory"),
        (["/etc/passwd"], b"127 EACCES Permission denied"),
    ],
)
def test_spawned_program_and_its_status(
    serve: Callable[..., Server], tmp_path: Path, args: list[str], status: bytes
) -> None:
    got: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.SPAWN, spawn_frame(args))
        got.append(peer.expect(wire.CHILD_STATUS))
        peer.exit()

    serve(play)
    assert call(tmp_path, "salloc").returncode == 0
    assert got == [status]


def test_spawned_program_has_its_environment_and_our_stdio(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.HANDLE_SIGNALS)
        script = 'cat; echo "$SLURM_JOB_ID ${SLURMSKY_HOME-unset}"; kill -PIPE $$'
        peer.send(wire.SPAWN, spawn_frame(["sh", "-c", script], {"SLURM_JOB_ID": "12"}))
        assert peer.expect(wire.CHILD_STATUS) == b"-13"  # and not with SIGPIPE ignored, as Python has it
        peer.exit()

    serve(play)
    assert call(tmp_path, "salloc", input=b"typed\n").stdout == b"typed\n12 unset\n"


def test_a_signal_for_the_spawned_program_and_its_group(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.SPAWN, spawn_frame(["sh", "-c", "echo up; sleep 30 | sleep 30; exit 1"]))
        time.sleep(0.3)
        os.kill(pid, signal.SIGINT)  # Ctrl-C is the program's business while it has the terminal
        time.sleep(0.1)
        peer.send(wire.CHILD_SIGNAL, b"15")
        assert peer.expect(wire.CHILD_STATUS) == b"-15"
        peer.exit(0)

    serve(play)
    done = call(tmp_path, "salloc")  # returns only when both sleeps, which hold stdout, are gone
    assert (done.returncode, done.stdout) == (0, b"up\n")


# Redirected sessions


@pytest.mark.parametrize("ending", ["exit 7", "kill -PIPE $$"])
def test_the_client_becomes_a_program(
    serve: Callable[..., Server], started: Callable[..., subprocess.Popen[bytes]], ending: str
) -> None:
    """Same process, and nobody is missed who was there before."""
    got: list[int] = []

    def play(peer: Peer) -> None:
        got.append(peer.request().pid)
        script = f"cat; echo $$ $SLURM_JOB_ID; {ending}"
        peer.send(wire.BECOME, spawn_frame(["sh", "-c", script], {"SLURM_JOB_ID": "12"}))
        peer.exit(3)  # not read by anybody
        assert peer.receive() is None

    serve(play)
    process = started("slurmsky", stdin=subprocess.PIPE)
    out, _ = process.communicate(b"typed ", timeout=WAIT_S)
    assert out == b"typed %d 12\n" % process.pid
    assert got == [process.pid]
    assert process.returncode == (7 if ending == "exit 7" else -signal.SIGPIPE)


def test_a_program_that_one_cannot_become(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.BECOME, spawn_frame(["/no/such"]))
        assert peer.receive() is None

    serve(play)
    done = call(tmp_path, "slurmsky")
    assert (done.returncode, done.stderr) == (127, b"slurmsky: error: /no/such: No such file or directory\n")


def redirect_frame(path: Path, *extra: str) -> bytes:
    return wire.encode_list([os.fsencode(path), *map(os.fsencode, extra)])


def test_a_redirected_session(serve: Callable[..., Server], tmp_path: Path) -> None:
    other = tmp_path / "agent" / "a.sock"

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.STDERR, b"srun: job 1 queued\n")
        peer.send(wire.REDIRECT, redirect_frame(other, "SLURM_JOB_ID=1", "OLD=new"))
        assert peer.expect(wire.SESSION_EXIT) == b"3"
        peer.send(wire.STDERR, b"relinquished\n")
        peer.exit(9)

    def second(peer: Peer) -> None:
        request = peer.request()
        assert (request.command, request.args) == ("srun", ("-n2", "cat"))
        assert (request.env["SLURM_JOB_ID"], request.env["OLD"]) == ("1", "new")
        peer.send(wire.GRANT, b"100")
        peer.send(wire.STDOUT, peer.expect(wire.STDIN))
        peer.exit(3)

    serve(first)
    serve(second, path=other)
    done = call(tmp_path, "srun", "-n2", "cat", input=b"hello\n", env={"OLD": "old"})
    assert (done.returncode, done.stdout, done.stderr) == (
        9,
        b"hello\n",
        b"srun: job 1 queued\nrelinquished\n",
    )


def test_a_redirected_session_that_dies_or_is_not_there(serve: Callable[..., Server], tmp_path: Path) -> None:
    other = tmp_path / "agent" / "a.sock"

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.REDIRECT, redirect_frame(other))
        assert int(peer.expect(wire.SESSION_EXIT)) == wire.SESSION_LOST
        peer.send(wire.REDIRECT, redirect_frame(tmp_path / "nowhere.sock"))
        assert int(peer.expect(wire.SESSION_EXIT)) == wire.SESSION_LOST
        peer.exit(1)

    serve(first)
    serve(lambda peer: peer.request(), path=other)
    done = call(tmp_path, "srun")
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_redirected_session_outlives_the_controller(serve: Callable[..., Server], tmp_path: Path) -> None:
    other = tmp_path / "agent" / "a.sock"
    died = threading.Event()

    def first(peer: Peer) -> None:
        peer.request()
        peer.send(wire.REDIRECT, redirect_frame(other))
        time.sleep(0.2)
        peer.sock.close()
        died.set()

    def second(peer: Peer) -> None:
        peer.request()
        assert died.wait(WAIT_S)
        time.sleep(0.1)
        peer.send(wire.STDOUT, b"still here\n")
        peer.exit(7)

    serve(first)
    serve(second, path=other)
    done = call(tmp_path, "srun")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"still here\n", b"")


# Terminals


class OnTerminal:
    """A client that leads a session on a pseudo terminal of its own."""

    def __init__(self, tmp_path: Path, *command: str) -> None:
        self.master, self._slave = os.openpty()
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *argv(*command)],
            env={"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
        )

    def raw(self) -> bool:
        return not termios.tcgetattr(self._slave)[3] & termios.ICANON

    def wait(self) -> int:
        return self._process.wait(WAIT_S)

    def shown(self) -> bytes:
        """All that it wrote, once it has ended."""
        os.close(self._slave)
        shown = b""
        while True:
            try:
                shown += os.read(self.master, 65536)
            except OSError as error:
                assert error.errno == errno.EIO  # the end, as Linux has it
                os.close(self.master)
                return shown


@pytest.mark.parametrize("end", ["exit", "off", "lost", "SIGTERM", "SIGTERM handled"])
def test_raw_mode_and_its_end(serve: Callable[..., Server], tmp_path: Path, end: str) -> None:
    states: list[bool] = []

    def play(peer: Peer) -> None:
        pid = peer.request().pid
        if end == "SIGTERM handled":
            peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.TTY, b"1")
        peer.send(wire.GRANT, b"100")
        peer.send(wire.STDOUT, b"?")
        time.sleep(0.3)
        states.append(terminal.raw())
        os.write(terminal.master, b"\x03\r")  # neither a signal nor a newline in raw mode
        assert peer.expect(wire.STDIN) == b"\x03\r"
        if end == "SIGTERM":
            os.kill(pid, signal.SIGTERM)
            peer.receive()
        elif end == "SIGTERM handled":
            os.kill(pid, signal.SIGTERM)
            assert peer.expect(wire.SIGNAL) == b"15"
        elif end == "off":
            peer.send(wire.TTY, b"0")
            peer.send(wire.STDOUT, b"!")
            time.sleep(0.3)
            states.append(terminal.raw())
        if end not in ("lost", "SIGTERM"):
            peer.exit(2)

    server = serve(play)
    terminal = OnTerminal(tmp_path, "srun", "--pty", "sh")
    code = terminal.wait()
    states.append(terminal.raw())
    terminal.shown()
    server.finish()
    assert states[0] is True
    assert not any(states[1:])
    assert code == {"SIGTERM": -signal.SIGTERM, "lost": 1}.get(end, 2)


def test_a_resized_terminal_is_reported(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.STDOUT, b"ready\n")
        time.sleep(0.3)
        resize(terminal.master, 50, 200)
        assert peer.expect(wire.WINSIZE) == b"50x200"
        peer.exit()

    serve(play)
    terminal = OnTerminal(tmp_path, "srun")
    assert (terminal.wait(), terminal.shown()) == (0, b"ready\r\n")


def test_a_spawned_program_has_the_terminal_and_gives_it_back(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    asks = "import os; print('foreground', os.tcgetpgrp(0) == os.getpgrp() == os.getpid())"

    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.SPAWN, spawn_frame([sys.executable, "-c", asks]))
        assert peer.expect(wire.CHILD_STATUS) == b"0"
        peer.send(wire.GRANT, b"10")  # reading from the background would stop the client
        os.write(terminal.master, b"me\n")
        peer.expect(wire.STDIN)
        peer.exit()

    serve(play)
    terminal = OnTerminal(tmp_path, "salloc")
    assert terminal.wait() == 0
    assert b"foreground True\r\n" in terminal.shown()


def test_ctrl_c_reaches_the_spawned_program_only(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        peer.request()
        peer.send(wire.HANDLE_SIGNALS)
        peer.send(wire.SPAWN, spawn_frame(["sleep", "30"]))
        time.sleep(0.4)
        os.write(terminal.master, b"\x03")
        assert peer.expect(wire.CHILD_STATUS) == b"-2"
        peer.exit(0)

    serve(play)
    terminal = OnTerminal(tmp_path, "salloc", "sleep", "30")
    assert terminal.wait() == 0
    terminal.shown()


def state(pid: int) -> str:
    """The letter that ps prints: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def wait_for_state(pid: int, letters: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while state(pid) not in letters:
        assert time.monotonic() < deadline, state(pid)
        time.sleep(0.01)


def test_ctrl_z_stops_both_and_they_go_on_together(serve: Callable[..., Server], tmp_path: Path) -> None:
    def play(peer: Peer) -> None:
        pid = peer.request().pid
        peer.send(wire.SPAWN, spawn_frame(["sleep", "30"]))
        time.sleep(0.4)
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        os.write(terminal.master, b"\x1a")
        wait_for_state(pid, "T")
        assert state(child) == "T"
        os.kill(pid, signal.SIGCONT)
        wait_for_state(child, "SR")
        os.write(terminal.master, b"\x03")  # it has the terminal again
        assert peer.expect(wire.CHILD_STATUS) == b"-2"
        peer.exit(0)

    serve(play)
    terminal = OnTerminal(tmp_path, "salloc", "sleep", "30")
    assert terminal.wait() == 0
    terminal.shown()


# Starting a controller

CONTROLLER = """
import os, signal, socket, sys, time
home = os.environ["SLURMSKY_HOME"]
with open(home + "/starts", "a") as log:
    log.write("start\\n")
assert os.getsid(0) == os.getpid() and os.getcwd() == "/"
assert not [n for n in os.environ if n.startswith(("SLURM_", "PYTHONHOME"))], os.environ
assert sorted(os.listdir("/proc/self/fd"))[:3] == ["0", "1", "2"]
assert len(os.listdir("/proc/self/fd")) <= 4, os.listdir("/proc/self/fd")
time.sleep(float(os.environ.get("DELAY", "0")))
if os.environ.get("LAST_WORDS"):
    sys.exit("first line\\n" + os.environ["LAST_WORDS"])
path = home + "/controller.sock"
if os.path.exists(path):
    os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
server.settimeout(10)
for _ in range(int(os.environ.get("CLIENTS", "1"))):
    peer, _ = server.accept()
    peer.recv(1 << 20)
    peer.sendall(b"O\\0\\0\\0\\3hi\\nX\\0\\0\\0\\0010")
    peer.recv(1)
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the client with a small controller of its own."""
    package = tmp_path / "clone" / "slurmsky"
    package.mkdir(parents=True)
    for module in ["__init__", "client", "client_start", "client_relay", "client_terminal", "paths"]:
        shutil.copy(ROOT / "slurmsky" / f"{module}.py", package)
    (package / "__main__.py").write_text(CONTROLLER)
    return package.parent


def call_clone(clone: Path, home: Path, *command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"SLURMSKY_HOME": str(home), "SLURM_JOB_ID": "1", "PYTHONHOME": "/nowhere"} | env
    return subprocess.run(
        argv(*command, root=clone),
        env=environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=WAIT_S,
    )


def test_the_first_call_starts_a_controller(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "state" / "deep"
    done = call_clone(clone, home, "squeue")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hi\n", b"")
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "controller.sock").exists()


def test_two_first_calls_start_one_controller(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "state"
    results: list[bytes] = []

    def first_call() -> None:
        results.append(call_clone(clone, home, "squeue", CLIENTS="6", DELAY="0.3").stdout)

    threads = [threading.Thread(target=first_call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b"hi\n"] * 6
    assert (home / "starts").read_text() == "start\n"


def test_a_stale_socket_is_replaced(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "state"
    home.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(home / "controller.sock"))
    assert call_clone(clone, home, "squeue").stdout == b"hi\n"


NO_CONTACT = "Unable to contact slurm controller (connect failure)"


def test_a_controller_that_dies_is_quoted(clone: Path, tmp_path: Path) -> None:
    done = call_clone(clone, tmp_path / "state", "sbatch", "x.sh", LAST_WORDS="the database is damaged")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines() == [
        f"sbatch: error: Batch job submission failed: {NO_CONTACT}",
        "sbatch: error: the controller did not start: the database is damaged",
    ]


def test_old_log_lines_are_not_quoted(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "state"
    home.mkdir()
    (home / "controller.log").write_text("old trouble\n")
    (clone / "slurmsky" / "__main__.py").write_text("import os; os._exit(3)")
    done = call_clone(clone, home, "squeue")
    assert done.stderr.decode().splitlines()[1] == "squeue: error: the controller ended at once (exit code 3)"


@pytest.mark.parametrize(
    ("home", "reason"),
    [
        ("/dev/null/state", "Not a directory"),
        ("/proc/state", "No such file or directory"),
        (
            "/sys/state",
            "(Operation not permitted|Permission denied|Read-only file system|No such file or directory)",
        ),
    ],
)
def test_an_unusable_state_folder_is_said(home: str, reason: str) -> None:
    done = call(Path(home), "squeue")
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    assert lines[0] == f"slurm_load_jobs error: {NO_CONTACT}"
    assert re.fullmatch(
        f"squeue: error: (cannot use the state folder {home}|{home}/controller.sock): {reason}", lines[1]
    )
    assert len(lines) == 2


@pytest.mark.parametrize("verb", ["stop", "status"])
def test_no_controller_is_started_to_say_that_none_runs(clone: Path, tmp_path: Path, verb: str) -> None:
    home = tmp_path / "state"
    done = call_clone(clone, home, "slurmsky", verb)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"no controller is running\n", b"")
    assert not home.exists()


def test_a_dead_agent_starts_nothing(tmp_path: Path) -> None:
    home = tmp_path / "state"
    done = call(home, "srun", env={"SLURMSKY_AGENT": str(tmp_path / "gone.sock")})
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"srun: error: Unable to allocate resources: {NO_CONTACT}",
        f"srun: error: the node's agent does not answer at {tmp_path}/gone.sock: No such file or directory",
    ]
    assert not home.exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Recorded from Slurm 22.05 with a slurm.conf whose slurmctld does not run.
        ("salloc true", f"salloc: error: Job submit/allocate failed: {NO_CONTACT}"),
        ("sattach 1.0", f"sattach: error: Could not get job step info: {NO_CONTACT}"),
        ("sbatch j.sh", f"sbatch: error: Batch job submission failed: {NO_CONTACT}"),
        ("scancel -u root", f"slurm_load_jobs error: {NO_CONTACT}"),
        ("scontrol show config", f"slurm_load_ctl_conf error: {NO_CONTACT}"),
        ("scontrol show job 1", f"slurm_load_jobs error: {NO_CONTACT}"),
        ("scontrol show node", f"slurm_load_node error: {NO_CONTACT}"),
        ("scontrol show partition", f"slurm_load_partitions error: {NO_CONTACT}"),
        ("sinfo", f"slurm_load_partitions: {NO_CONTACT}"),
        ("squeue", f"slurm_load_jobs error: {NO_CONTACT}"),
        ("squeue -s", f"slurm_get_job_steps error: {NO_CONTACT}"),
        ("srun true", f"srun: error: Unable to allocate resources: {NO_CONTACT}"),
    ],
)
def test_lament(line: str, expected: str) -> None:
    command, *args = line.split()
    assert client_start.lament(command, args) == expected
