"""Rules of the layers for imports and resources.

They say which modules may import others, start processes, open the database, connect to SkyPilot.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from syntax_trees import tree_of
from tables import every

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "slurmsky"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
PURE = ("language/", "model/", "options/", "page/", "report/", "site/", "translate/")

# The modules that may do each; paths below slurmsky/, folders with a slash at the end.
STARTS_PROCESSES = (
    "engines/local/",
    "engines/machine_hardware.py",  # nvidia-smi
    "controller/services/helper_programs.py",  # the mail program, triggers
    "agent/",
    "client_start.py",  # the controller
    "client_setup.py",  # installers, at the first call of a clone
    "client_terminal.py",  # salloc's program, in the caller's own terminal
    "commands/slurmsky/doctor_command.py",  # nvidia-smi
    "commands/slurmsky/service_command.py",  # systemctl
    "commands/slurmsky/tunnel_command.py",  # srun, the far end's step
    "engines/sky/",  # hands files and commands to SkyPilot's own tools
)
OPENS_DATABASE = ("controller/store/database.py", "controller/store/")
TALKS_TO_SKYPILOT = ("engines/sky/",)

_OS_PROCESS_CALLS = {"fork", "forkpty", "posix_spawn", "posix_spawnp", "popen", "system"}


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in the file, in functions, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def process_calls(tree: ast.AST) -> Iterator[str]:
    """Uses of functions that start a process: subprocess, os, asyncio, multiprocessing."""
    for name in imports(tree):
        if name.split(".")[0] in ("subprocess", "multiprocessing", "pty") or name.startswith("asyncio.subprocess"):
            yield name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            starts = node.attr in _OS_PROCESS_CALLS or node.attr.startswith(("exec", "spawn"))
            if (owner in ("os", "posix") and starts) or node.attr.startswith(("create_subprocess", "subprocess_")):
                yield f"{owner}.{node.attr}"


def test_import_linter_contracts() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [linter, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@every("path", MODULES, place)
def test_only_listed_modules_call_the_operating_system(path: Path) -> None:
    tree = tree_of(path)
    names = set(imports(tree))
    if not place(path).startswith(STARTS_PROCESSES):
        assert not set(process_calls(tree))
    if not place(path).startswith(OPENS_DATABASE):
        assert "sqlite3" not in names
    if not place(path).startswith(TALKS_TO_SKYPILOT):
        assert not [name for name in names if name.split(".")[0] == "sky"]


_IMPURE_MODULES = {
    *("asyncio", "getpass", "glob", "http", "pwd", "random", "secrets", "select", "shutil", "signal", "socket"),
    *("tempfile", "threading", "urllib", "uuid", "slurmsky.paths"),
}
_IMPURE_CALLS = {
    f"{owner}.{name}"
    for owner, names in {
        "os": "environ getenv getcwd getpid getuid geteuid listdir open stat umask urandom",
        "time": "time time_ns monotonic sleep localtime perf_counter",
        "datetime": "now today utcnow",
        "date": "today",
    }.items()
    for name in names.split()
}


@every("path", [path for path in MODULES if place(path).startswith(PURE)], place)
def test_the_middle_is_pure(path: Path) -> None:
    """Pure layers have no clock, environment or network; they may read package data."""
    tree = tree_of(path)
    impure = {name for name in imports(tree) if name in _IMPURE_MODULES or name.split(".")[0] in _IMPURE_MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            call = f"{node.value.id}.{node.attr}"
            impure |= {call} & _IMPURE_CALLS
    assert not impure


PARTS = ("", "_application", "_relay", "_session", "_setup", "_start", "_terminal")
CLIENT = tuple(f"client{part}" for part in PARTS)


@pytest.mark.parametrize("name", CLIENT)
def test_the_client_needs_the_standard_library_only(name: str) -> None:
    """`python -I -S` has nothing else; what the client itself imports is paid for by every call."""
    tree = tree_of(PACKAGE / f"{name}.py")
    used = {module.split(".")[0] for module in imports(tree)} - {"slurmsky"}
    assert used <= set(sys.stdlib_module_names)
    if name == "client":
        top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        assert top <= set(sys.builtin_module_names) | {"_socket"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import subprocess", True),
        ("def f():\n    from subprocess import run", True),
        ("import os\nos.fork()", True),
        ("import os\nos.execve('/bin/true', [], {})", True),
        ("import asyncio\nasyncio.create_subprocess_exec('x')", True),
        ("import multiprocessing.pool", True),
        ("import os\nos.getpid()", False),
        ("self.execute('SELECT 1')\nqueue.spawn()", False),
    ],
)
def test_process_calls_are_found(source: str, found: bool) -> None:
    assert bool(set(process_calls(ast.parse(source)))) is found


def test_an_agent_starts_without_modules_that_only_some_jobs_need() -> None:
    """Each node's first job waits until its agent has imported its modules."""
    code = "import slurmsky.agent.__main__, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    later = {f"slurmsky.model.{name}" for name in ("cluster", "codec", "job", "policy", "step_spec")}
    assert not (later | {"hashlib", "pathlib", "shutil", "slurmsky.language"}) & set(loaded.stdout.split())
