"""Builds the launchers' private environment at the first call.

bin/* run `python -I client_setup.py ROOT CACHE COMMAND ARGUMENTS...`, which then runs the command. In a clone, this
module builds a virtual environment with the dependencies under CACHE; an installed package uses its own interpreter.
In both cases the module compiles the thin client, which would otherwise be compiled at every call, and writes
CACHE/python last: the launcher treats this file as the sign that the environment is complete. Standard library only;
any Python >= 3.10.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import py_compile
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

#: messages of uv and pip where there is no network
_NO_NETWORK = re.compile(
    "dns error|name resolution|could not resolve|error sending request|tcp connect|network is unreachable"
    "|no route to host|failed to establish a new connection|connect ?timeout|newconnectionerror|proxyerror",
    re.IGNORECASE,
)
#: errors of a home folder that cannot hold the environment
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)


class SetupFailed(Exception):
    """Error: the environment cannot be built, with the reason."""


#: versions and hashes of the packages in a clone's environment; written by scripts/lock
LOCK = "requirements.lock"


def progress(text: str) -> None:
    print(f"slurmsky: {text}", file=sys.stderr, flush=True)


def run_step(argv: list[str]) -> None:
    """Run an installer quietly. Raises SetupFailed with the last error line that the installer printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env.pop("VIRTUAL_ENV", None)
    process = subprocess.Popen(
        argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    printed = wait_with_clock(process)
    if process.returncode:
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower()] or lines
        reason = telling[-1] if telling else f"exit code {process.returncode}"
        if _NO_NETWORK.search(printed):
            reason = "the package index cannot be reached; try again with a network, or set SLURMSKY_PYTHON to a Python"
            reason += " that has the dependencies"
        raise SetupFailed(f"{os.path.basename(argv[0])}: {reason}")


def wait_with_clock(process: subprocess.Popen[str]) -> str:
    """Wait for a process and return its output. A terminal shows the seconds meanwhile."""
    began, terminal = time.monotonic(), sys.stderr.isatty()
    while True:
        try:
            printed, _ = process.communicate(timeout=1 if terminal else None)
        except subprocess.TimeoutExpired:
            print(f"\r\x1b[Kslurmsky: {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)
            continue
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return printed


def build(root: Path, venv: Path) -> None:
    """Build a virtual environment with this clone and its dependencies. Removes the environment on failure."""
    shutil.rmtree(venv, ignore_errors=True)  # left by a first call that was killed
    progress(f"first use of {root}: setting up a private environment (once)")
    started = time.monotonic()
    python = str(venv / "bin" / "python")
    # Link to the interpreter's full name (python3.11): after an upgrade of the system's Python the link is
    # broken, which the launcher detects; a link to python3 would run a version that cannot use the packages.
    base = os.path.realpath(sys.executable)
    uv = shutil.which("uv")
    lock = root / LOCK
    # The lock file includes the package of `slurmsky top`: it is small, and users who try a clone try `top`.
    what = ["--require-hashes", "--requirement", str(lock)] if lock.exists() else ["--editable", f"{root}[top]"]
    try:
        if uv:
            progress("installing the dependencies with uv")
            run_step([uv, "venv", "--quiet", "--no-project", "--python", base, str(venv)])
            run_step([uv, "pip", "install", "--quiet", "--python", python, *what])
        else:
            run_step([base, "-m", "venv", str(venv)])
            progress("installing the dependencies with pip")
            run_step([python, "-m", "pip", "install", "--quiet", *what])
        if lock.exists():
            # Same as an editable installation, but without a build, whose tools would not be locked.
            for packages in venv.glob("lib*/python3*/site-packages"):
                # An escaped literal, because Python 3.11 reads the file as ASCII under LC_ALL=C.
                (packages / "slurmsky.pth").write_text(f"import sys; sys.path.append({str(root)!a})\n")
    except BaseException:
        shutil.rmtree(venv, ignore_errors=True)
        raise
    progress(f"ready after {time.monotonic() - started:.0f} s, in {venv}")


def prepare(root: Path, cache: Path) -> str:
    """Prepare and return the interpreter of this clone or package. A lock admits one call at a time."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another first call is setting up; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        python = interpreter(root, cache)
        ready = cache / "python"
        client = root / "slurmsky" / "client.py"
        sources = [path for path in (client, root / "pyproject.toml", root / LOCK) if path.exists()]
        newest = max(path.stat().st_mtime_ns for path in sources)
        code = cache / "client.pyc"
        current = code.exists() and ready.exists() and ready.stat().st_mtime_ns >= newest
        if current and ready.read_text() == python + "\n":
            return python  # the call that held the lock has prepared it
        compile_client(python, client, code)
        part = cache / "python.part"
        part.write_text(python + "\n")
        part.replace(ready)
        _record_environment(root, cache)
        return python


def _record_environment(root: Path, cache: Path) -> None:
    """Record the environment in the clone. Calls with another HOME find it there. Skipped in a read-only clone."""
    if (root / "pyproject.toml").exists():
        try:
            (root / ".slurmsky-env").write_text(f"{cache}\n")
        except OSError:
            pass


def environment_name(root: Path) -> str:
    """Folder name of a clone's environment, from the file that ``build`` installs from."""
    lock = root / LOCK
    described = lock if lock.exists() else root / "pyproject.toml"
    return f"venv-{hashlib.sha256(described.read_bytes()).hexdigest()[:12]}"


def interpreter(root: Path, cache: Path) -> str:
    """Return the interpreter, after building a clone's venv. An installed package uses this interpreter."""
    if not (root / "pyproject.toml").exists():
        return sys.executable
    venv = cache / environment_name(root)
    built = venv / "slurmsky-complete"
    if not built.exists() or not os.access(venv / "bin" / "python", os.X_OK):
        build(root, venv)
        built.touch()
    return str(venv / "bin" / "python")


def compile_client(python: str, client: Path, target: Path) -> None:
    """Compile the client with the interpreter that will run it."""
    code = "import py_compile, sys; py_compile.compile(*sys.argv[1:], doraise=True)"
    if python == sys.executable:
        py_compile.compile(str(client), str(target), str(client), doraise=True)
    else:
        run_step([python, "-I", "-c", code, str(client), str(target), str(client)])


def main(root: str, cache: str, command: str, args: list[str]) -> NoReturn:
    named = Path(cache)
    # Several paths may lead to one clone: they share one environment through links.
    real = Path(os.path.realpath(root))
    own = named if str(real) == root else named.parent / str(real)[1:].replace("/", "%")
    try:
        python = prepare(real, own)
        if own != named and not named.exists():
            named.parent.mkdir(parents=True, exist_ok=True)
            named.symlink_to(own.name)
    except SetupFailed as failure:
        fail(command, str(failure))
    except OSError as error:
        advice = "; set XDG_CACHE_HOME, and SLURMSKY_HOME for the queue, to folders that you can write"
        fail(command, f"{error.filename}: {error.strerror}" + advice * (error.errno in _NOT_WRITABLE))
    except py_compile.PyCompileError as error:
        fail(command, str(error))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os.execv(python, [python, "-I", "-S", str(own / "client.pyc"), root, command, *args])


def fail(command: str, reason: str) -> NoReturn:
    print(f"{command}: error: cannot set up slurmsky's private environment: {reason}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
