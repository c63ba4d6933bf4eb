"""The client starts a controller, or prints why none can start."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from thin_client import ROOT, WAIT_S, argv, call

from slurmsky import client_start
from slurmsky.model.release import RELEASE

CONTROLLER = """
import os, signal, socket, sys, time
home = os.environ["SLURMSKY_HOME"]
with open(home + "/starts", "a") as log:
    log.write("start\\n")
assert os.getsid(0) == os.getpid() and os.getcwd() == "/"
assert not [n for n in os.environ if n.startswith(("SLURM_", "PYTHONHOME"))], os.environ
assert sorted(os.listdir("/proc/self/fd"))[:4] == ["0", "1", "2", "3"]
assert len(os.listdir("/proc/self/fd")) <= 5, os.listdir("/proc/self/fd")
time.sleep(float(os.environ.get("DELAY", "0")))
if os.environ.get("LAST_WORDS"):
    sys.exit("first line\\n" + os.environ["LAST_WORDS"])
path = home + "/controller.sock"
if os.path.exists(path):
    os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
assert sys.argv[1:] == ["--holds-start-lock"]
os.close(3)
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
    parts = ("", "_application", "_start", "_relay", "_session", "_terminal")
    for module in ["__init__", *(f"client{part}" for part in parts), "paths"]:
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


@pytest.mark.parametrize("command", ["sbatch -V", "squeue --version", "sacctmgr -V"])
def test_the_version_needs_no_controller(command: str, tmp_path: Path) -> None:
    home = tmp_path / "state"
    done = call_clone(ROOT, home, *command.split(), SLURMSKY_SITE="/nonexistent")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"slurm {RELEASE}\n".encode(), b"")
    assert not home.exists()


def test_a_stale_socket_is_replaced(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "state"
    home.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(home / "controller.sock"))
    assert call_clone(clone, home, "squeue").stdout == b"hi\n"


NO_CONTACT = "Unable to contact slurm controller (connect failure)"


def test_the_last_log_line_of_a_dead_controller_is_printed(clone: Path, tmp_path: Path) -> None:
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
def test_an_unusable_state_folder_is_reported(home: str, reason: str) -> None:
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
def test_print_failure(line: str, expected: str) -> None:
    command, *args = line.split()
    assert client_start.failure_message(command, args) == expected


def test_a_controller_that_never_answers_ends_the_wait(clone: Path, tmp_path: Path) -> None:
    client = clone / "slurmsky" / "client.py"
    client.write_text(client.read_text().replace("ANSWER_S = 100\n", "ANSWER_S = 1\n"))
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(home / "controller.sock"))
        deaf.listen()
        done = call_clone(clone, home, "squeue")
        # A request that does not fit into the socket's buffer ends the same way.
        large = call_clone(clone, home, "squeue", **{f"BIG{number}": "x" * 100_000 for number in range(12)})
    for answer in (done, large):
        assert (answer.returncode, answer.stdout) == (1, b"")
        assert answer.stderr.decode().splitlines() == [
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            f"squeue: error: no answer at {home}/controller.sock within 1 s",
        ]


#: A controller that closes its listening socket last, and the next one. Arguments: the folders of package and state.
LEAVES = """
import os, socket, sys, time
sys.path.insert(0, sys.argv[1])
from slurmsky.protocol import wire

def listens():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("controller.sock")
    listener.settimeout(240)
    listener.listen()
    with open("controller.pid", "w") as file:
        file.write(str(os.getpid()))
    return listener

os.chdir(sys.argv[2])
former = listens()
print("up", flush=True)
caller, _ = former.accept()
caller.recv(1 << 20)
caller.sendall(wire.encode(wire.RESUME, b"REQUESTED=1"))
caller.close()
time.sleep(0.5)
os.unlink("controller.sock")
ready, listening = os.pipe()
if os.fork() == 0:
    former.close()
    following = listens()
    os.write(listening, b".")
    caller, _ = following.accept()
    known = b"REQUESTED=1" in caller.recv(1 << 20)
    caller.sendall(wire.encode(wire.STDOUT, b"known\\n" if known else b"") + wire.encode_int(wire.EXIT, 0))
    os._exit(0)
os.read(ready, 1)
"""


def test_a_request_is_repeated_after_the_controller_has_ended_not_before(tmp_path: Path) -> None:
    """A killed process may close its connections before the socket that it listens to."""
    line = [sys.executable, "-c", LEAVES, str(ROOT), str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as controller:
        assert controller.stdout is not None and controller.stdout.readline() == b"up\n"
        done = call(tmp_path, "salloc", "-n1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"known\n", b"")
