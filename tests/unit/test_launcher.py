"""bin/* as users call them: the first call, later calls, and every kind of link.

The installer is a `uv` of ours on PATH, so that no network is needed; that the real one works is
what every user of a clone and `tests/unit/test_packaging.py` see.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from polling import PATIENCE_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLIENT_FILES = [
    "__init__",
    "client",
    "client_relay",
    "client_session",
    "client_setup",
    "client_application",
    "client_start",
    "client_terminal",
    "paths",
]

UV = """#!/bin/sh
echo "$*" >>"$UV_LOG"
sleep "${UV_SLEEP:-0}"
case $1 in
venv)
    for last; do :; done
    mkdir -p "$last/bin" "$last/lib/python3/site-packages"
    printf '#!/bin/sh\\nexec %s "$@"\\n' "$INTERPRETER" >"$last/bin/python"
    chmod +x "$last/bin/python" ;;
pip) [ -z "$UV_FAILS" ] || { echo "resolving"; echo "error: $UV_FAILS" >&2; exit 2; } ;;
esac
"""

# The client reaches no agent: its message shows that it ran, and with what command.
ANSWER = "srun: error: the node's agent does not answer at /nowhere: No such file or directory"


class Clone:
    """Launchers and client in a separate folder with a separate home."""

    def __init__(self, folder: Path, name: str = "my clone") -> None:
        self.root = folder / name
        self.tools = folder / "tools"
        self.cache = folder / "home" / ".cache" / "slurmsky"
        self.log = folder / "uv.log"
        shutil.copytree(ROOT / "bin", self.root / "bin", symlinks=True)
        (self.root / "slurmsky").mkdir()
        for module in CLIENT_FILES:
            shutil.copy(ROOT / "slurmsky" / f"{module}.py", self.root / "slurmsky")
        (self.root / "pyproject.toml").write_text('[project]\nname = "slurmsky"\n')
        self.tools.mkdir()
        (self.tools / "uv").write_text(UV)
        (self.tools / "uv").chmod(0o755)
        self.env = {
            "PATH": f"{self.tools}:{os.path.dirname(os.path.realpath(sys.executable))}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "UV_LOG": str(self.log),
            "INTERPRETER": os.path.realpath(sys.executable),
            "SLURMSKY_AGENT": "/nowhere",
        }

    def call(self, *argv: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        line = list(argv) or [self.root / "bin" / "srun"]
        return subprocess.run(
            line,
            cwd=cwd,
            env=self.env | env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
        )

    def installs(self) -> int:
        """How often a virtual environment has been made."""
        return sum(line.startswith("venv ") for line in self.log.read_text().splitlines()) if self.log.exists() else 0

    def left(self) -> set[str]:
        """The entries of the cache besides the lock."""
        return {path.name for path in self.cache.glob("*/*")} - {"lock"}


def ran(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 1 and done.stderr.splitlines()[-1] == ANSWER


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_the_first_call_sets_up_and_later_ones_are_silent(clone: Clone) -> None:
    first, second = clone.call(), clone.call()
    assert ran(first)
    assert all(line.startswith("slurmsky: ") for line in first.stderr.splitlines()[:-2])
    assert f"first use of {clone.root}" in first.stderr
    assert ran(second)
    assert second.stderr.splitlines() == first.stderr.splitlines()[-2:]
    assert clone.installs() == 1


def test_concurrent_first_calls_build_once(clone: Clone) -> None:
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: results.append(clone.call(UV_SLEEP="0.3"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ran(done) for done in results] == [True] * 4
    assert clone.installs() == 1
    assert sum("waiting for it" in done.stderr for done in results) == 3


def test_a_failed_setup_is_one_line_and_leaves_nothing(clone: Clone) -> None:
    done = clone.call(UV_FAILS="failed to fetch: no network")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == (
        "srun: error: cannot set up slurmsky's private environment: uv: error: failed to fetch: no network"
    )
    assert "Traceback" not in done.stderr
    assert clone.left() == set()
    assert ran(clone.call())


def test_the_remains_of_a_killed_setup_are_rebuilt(clone: Clone) -> None:
    clone.call(UV_FAILS="x")
    folder = next(clone.cache.iterdir())
    assert ran(clone.call())
    (venv,) = folder.glob("venv-*")
    (venv / "slurmsky-complete").unlink()  # as if it had been killed before the end
    (folder / "python").unlink()
    assert ran(clone.call())
    assert clone.installs() == 3


def test_an_unwritable_cache_is_one_line(clone: Clone) -> None:
    done = clone.call(XDG_CACHE_HOME="/proc/none")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "srun: error: cannot set up slurmsky's private environment: /proc/none: No such file or directory;"
        " set XDG_CACHE_HOME, and SLURMSKY_HOME for the queue, to folders that you can write"
    ]


def test_no_python_is_one_line(clone: Clone, tmp_path: Path) -> None:
    tools = tmp_path / "few"
    tools.mkdir()
    for tool in ("sh", "readlink", "id", "cksum", "tr"):
        os.symlink(shutil.which(tool) or "", tools / tool)
    done = clone.call(PATH=str(tools))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("srun: error: slurmsky needs Python 3.10 or newer")


def test_a_changed_project_gets_a_new_environment(clone: Clone) -> None:
    clone.call()
    (clone.root / "pyproject.toml").write_text('[project]\nname = "slurmsky"\ndependencies = ["more"]\n')
    assert ran(clone.call())
    assert clone.installs() == 2
    assert clone.call().stderr.splitlines()[-1] == ANSWER
    assert clone.installs() == 2


def test_a_changed_client_is_recompiled(clone: Clone) -> None:
    clone.call()
    with open(clone.root / "slurmsky" / "client.py", "a") as file:
        file.write("\n")  # and of the same length or not, it is newer
    source = (clone.root / "slurmsky" / "client.py").read_text()
    changed = source.replace('if __name__ == "__main__":', 'if __name__ == "__main__":\n    posix.write(1, b"new")')
    (clone.root / "slurmsky" / "client.py").write_text(changed)
    assert clone.call().stdout == "new"
    assert clone.installs() == 1


@pytest.mark.parametrize(
    "way", ["absolute", "relative", "dot", "in bin", "parent", "PATH", "link", "linked folder", "sh"]
)
def test_the_launcher_works_from_any_path(clone: Clone, tmp_path: Path, way: str) -> None:
    clone.call()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "srun").symlink_to(clone.root / "bin" / "srun")
    (tmp_path / "linked").symlink_to(clone.root)
    line, cwd = {
        "absolute": ([clone.root / "bin" / "srun"], tmp_path),
        "relative": (["bin/srun"], clone.root),
        "dot": (["./bin/../bin/srun"], clone.root),
        "in bin": (["./srun"], clone.root / "bin"),
        "parent": (["../bin/srun"], clone.root / "slurmsky"),
        "PATH": (["env", f"PATH={clone.root}/bin:{clone.env['PATH']}", "srun"], tmp_path),
        "link": ([tmp_path / "elsewhere" / "srun"], tmp_path),
        "linked folder": ([tmp_path / "linked" / "bin" / "srun"], tmp_path),
        "sh": (["sh", "srun"], clone.root / "bin"),
    }[way]
    for _ in range(2):
        done = clone.call(*line, cwd=cwd)
        assert ran(done)
        assert len(done.stderr.splitlines()) == 2
    assert clone.installs() == 1


def test_no_home_is_one_line(clone: Clone) -> None:
    (clone.tools / "id").write_text("#!/bin/sh\necho nobody-of-this-name\n")
    (clone.tools / "id").chmod(0o755)
    done = clone.call(HOME="")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("srun: error: there is no home folder")


def test_a_clone_in_a_very_long_path_works(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["d" * 60] * 4)
    deep.mkdir(parents=True)
    clone = Clone(deep)
    assert ran(clone.call())
    assert ran(clone.call())
    assert clone.installs() == 1


def test_an_interpreter_of_the_callers_choice(clone: Clone) -> None:
    done = clone.call(SLURMSKY_PYTHON=sys.executable)
    assert ran(done)
    assert clone.installs() == 0


def test_launchers_of_an_installed_package(clone: Clone, tmp_path: Path) -> None:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    prefix = tmp_path / "tool"
    packages = prefix / "lib" / version / "site-packages"
    shutil.copytree(clone.root / "slurmsky", packages / "slurmsky")
    shutil.copytree(clone.root / "bin", packages / "slurmsky" / "bin")  # copies, as in a wheel
    (prefix / "bin").mkdir()
    marker = f'#!/bin/sh\necho used >>{tmp_path}/used\nexec {clone.env["INTERPRETER"]} "$@"\n'
    (prefix / "bin" / "python3").write_text(marker)
    (prefix / "bin" / "python3").chmod(0o755)
    for _ in range(2):
        assert ran(clone.call(packages / "slurmsky" / "bin" / "srun"))
    assert clone.installs() == 0
    assert (tmp_path / "used").exists()


@pytest.mark.parametrize("command", ["sbatch", "srun", "salloc"])
def test_variables_that_a_shell_cannot_name_reach_the_request(clone: Clone, tmp_path: Path, command: str) -> None:
    odd = {"my.name": "1\n2=3", "BASH_FUNC_module%%": "() { :; }", "9lives": "x"}
    socket_path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen()
        listener.settimeout(PATIENCE_S)
        requests: list[bytes] = []

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                head = peer.recv(5, socket.MSG_WAITALL)
                requests.append(peer.recv(int.from_bytes(head[1:], "big"), socket.MSG_WAITALL))
                peer.sendall(b"X" + (1).to_bytes(4, "big") + b"0")

        thread = threading.Thread(target=serve)
        thread.start()
        done = clone.call(
            clone.root / "bin" / command,
            SLURMSKY_PYTHON=sys.executable, SLURMSKY_AGENT=str(socket_path), TMPDIR=str(tmp_path), **odd,
        )  # fmt: skip
        thread.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"{name}={value}".encode() in requests[0] for name, value in odd.items())
    assert b"SLURMSKY_ENVIRON" not in requests[0]
    assert not list(tmp_path.glob("tmp.*"))


def test_a_clone_is_set_up_once_for_every_home(clone: Clone, tmp_path: Path) -> None:
    assert ran(clone.call())
    for name in ("other", "third"):
        done = clone.call(HOME=str(tmp_path / name))
        assert ran(done) and "first use" not in done.stderr
        assert not (tmp_path / name).exists()
    assert clone.installs() == 1


def test_a_removed_environment_is_rebuilt(clone: Clone, tmp_path: Path) -> None:
    assert ran(clone.call())
    shutil.rmtree(clone.cache)
    assert ran(clone.call(HOME=str(tmp_path / "other")))
    assert clone.installs() == 2


REPAIRABLE_UV = """#!/bin/sh
echo "$*" >>"$UV_LOG"
case $1 in
venv)
    for last; do :; done
    mkdir -p "$last/bin" && ln -s "$INTERPRETER" "$last/bin/python" ;;
pip) [ -z "$UV_SAYS" ] || { printf "$UV_SAYS" >&2; exit 2; } ;;
esac
"""
DAMAGED = """import os, sys
if sum(line.startswith("venv ") for line in open(os.environ["UV_LOG"])) <= int(os.environ["DAMAGED"]):
    import part_that_is_gone
sys.exit("it has all its parts")
"""


@pytest.mark.parametrize(("damaged", "installs"), [(1, 2), (9, 2)])
def test_a_damaged_environment_is_rebuilt_once(clone: Clone, damaged: int, installs: int) -> None:
    (clone.tools / "uv").write_text(REPAIRABLE_UV)
    (clone.root / "slurmsky" / "__main__.py").write_text(DAMAGED)
    del clone.env["SLURMSKY_AGENT"]
    done = clone.call(clone.root / "bin" / "squeue", DAMAGED=str(damaged))
    assert clone.installs() == installs
    assert done.stderr.count("the private environment is damaged and is rebuilt") == 1
    whole = "the controller did not start: it has all its parts"
    gone = "the controller did not start: ModuleNotFoundError: No module named 'part_that_is_gone'"
    assert done.stderr.splitlines()[-1] == f"squeue: error: {whole if damaged == 1 else gone}"


@pytest.mark.parametrize(
    "says",
    [
        "error: Failed to fetch: `x`\n  Caused by: error sending request\n  Caused by: dns error: failed\n",
        "error: Request failed after 3 retries\n  Caused by: tcp connect error: Network is unreachable\n",
        "WARNING: Retrying: NewConnectionError(x)\nERROR: No matching distribution found for lark\n",
    ],
)
def test_no_network_is_one_clear_line(clone: Clone, says: str) -> None:
    (clone.tools / "uv").write_text(REPAIRABLE_UV)
    done = clone.call(UV_SAYS=says)
    reason = "the package index cannot be reached; try again with a network, or set SLURMSKY_PYTHON to a Python"
    line = f"srun: error: cannot set up slurmsky's private environment: uv: {reason} that has the dependencies"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == line
    assert clone.left() == set()


def test_a_locked_clone_installs_what_the_lock_says(clone: Clone) -> None:
    (clone.root / "requirements.lock").write_text("lark==1.2.2 --hash=sha256:00\n")
    assert ran(clone.call())
    assert f"--require-hashes --requirement {clone.root}/requirements.lock" in clone.log.read_text()
    assert "--editable" not in clone.log.read_text()
    (clone.root / "requirements.lock").write_text("lark==1.3.0 --hash=sha256:00\n")
    assert ran(clone.call())
    assert clone.installs() == 2
    (clone.root / "pyproject.toml").write_text('[project]\nname = "slurmsky"\ndescription = "new"\n')
    assert ran(clone.call())
    assert clone.installs() == 2  # nothing else that an update brings


def test_a_locked_clone_in_a_folder_with_accents_is_found_under_every_locale(tmp_path: Path) -> None:
    clone = Clone(tmp_path, "dépôt d'été")
    (clone.root / "requirements.lock").write_text("lark==1.2.2 --hash=sha256:00\n")
    assert ran(clone.call(LC_ALL="C"))
    (line,) = clone.cache.glob("*/venv-*/lib/python3/site-packages/slurmsky.pth")
    code = line.read_bytes().decode("ascii")
    assert code.startswith("import ")  # otherwise the line is a path
    added = subprocess.run([sys.executable, "-c", f"{code}print(ascii(sys.path[-1]))"], capture_output=True, text=True)
    assert added.stdout == f"{str(clone.root)!a}\n"


def test_the_lock_has_every_dependency_with_hashes() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text()
    entries = {found[1]: found[0] for found in re.finditer(r"^([a-z0-9-]+)==(?:.*\\\n)+.*$", lock, re.MULTILINE)}
    for wanted in [*project["dependencies"], *project["optional-dependencies"]["top"]]:
        assert re.match(r"[A-Za-z0-9-]+", wanted)[0] in entries
    assert all(" --hash=sha256:" in entry for entry in entries.values())
    assert "://" not in lock  # any index will do: the hashes say what is wanted
