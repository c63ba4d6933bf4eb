"""Starts a controller when none answers. On failure it prints one line with the reason."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import _socket

from slurmsky import paths

#: the folder of the sockets of warm nodes, below the state folder
NODE_SOCKETS = (b"kept", b"doors")
#: seconds to wait for a new controller while its process runs: a start is slow on a loaded machine
START_TIMEOUT_S = 600.0
#: seconds after which a terminal shows that the controller is starting
_SHOWN_AFTER_S = 2.0
#: descriptor of the start lock in a new controller, which closes it once it accepts connections
START_LOCK_FD = 3
#: the controller's argument that announces this descriptor
HOLDS_LOCK = "--holds-start-lock"

_NO_CONTROLLER = "Unable to contact slurm controller (connect failure)"

# Messages of Slurm's commands when no slurmctld answers, recorded from 22.05; {} is _NO_CONTROLLER.
# The longest matching prefix of "command arg arg" decides; other commands print `COMMAND: error: {}`.
_NO_CONTROLLER_MESSAGES = {
    "salloc": "salloc: error: Job submit/allocate failed: {}",
    "sattach": "sattach: error: Could not get job step info: {}",
    "sbatch": "sbatch: error: Batch job submission failed: {}",
    "scancel": "slurm_load_jobs error: {}",
    "scontrol": "slurm_load_jobs error: {}",
    "scontrol show config": "slurm_load_ctl_conf error: {}",
    "scontrol show node": "slurm_load_node error: {}",
    "scontrol show partition": "slurm_load_partitions error: {}",
    "sinfo": "slurm_load_partitions: {}",
    "squeue": "slurm_load_jobs error: {}",
    "squeue -s": "slurm_get_job_steps error: {}",
    "srun": "srun: error: Unable to allocate resources: {}",
}


class CannotStart(Exception):
    """Error: no controller can be started, with the cause."""


def failure_message(command: str, args: list[str]) -> str:
    """Slurm's message for a command that cannot reach a controller.

    >>> failure_message("squeue", [])
    'slurm_load_jobs error: Unable to contact slurm controller (connect failure)'
    """
    words = [command, *args]
    for size in range(len(words), 0, -1):
        line = _NO_CONTROLLER_MESSAGES.get(" ".join(words[:size]))
        if line:
            return line.format(_NO_CONTROLLER)
    return f"{command}: error: {_NO_CONTROLLER}"


def _answer_version(command: str) -> None:
    """Print the version and exit: this needs no controller. Return for a command that has another -V or none."""
    from slurmsky.model.release import RELEASE
    from slurmsky.options.table import load

    option = load(command).longs.get("version") if command != "slurmsky" else None
    if option is not None and option.short == "V":
        os.write(1, b"slurm %s\n" % RELEASE.encode())
        os._exit(0)


def connect_or_start(
    root: str, command: str, args: list[str], path: bytes, inside_job: bool, error: OSError, code: int = 1
) -> _socket.socket:
    """Connect to the controller, after starting one if necessary. Ends the process with ``code`` on failure."""
    from slurmsky import client

    if args in (["-V"], ["--version"]):
        _answer_version(command)
    if inside_job and os.path.dirname(path) == os.path.join(client.home(), *NODE_SOCKETS):
        # The controller serves the sockets of warm nodes, and knows the node of the command's job.
        inside_job, path = False, os.path.join(client.home(), client.SOCKET_NAME)
        try:
            return client.connect_home(path)
        except OSError as refused:
            error = refused
    socket = os.fsdecode(path)
    try:
        if isinstance(error, paths.ForeignFolder):
            raise CannotStart(error.strerror)
        if inside_job:
            raise CannotStart(f"the node's agent does not answer at {socket}: {error.strerror}")
        if isinstance(error, BlockingIOError):
            exit_without_answer(command, args, path)
        if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
            raise CannotStart(f"{socket}: {error.strerror}")
        if command == "slurmsky" and args[:1] in (["stop"], ["status"]):
            # These two commands do not start a controller.
            os.write(1, b'{"controller": null}\n' if "--json" in args else b"no controller is running\n")
            os._exit(0)
        return start(root, os.path.dirname(socket), path)
    except CannotStart as failure:
        if _is_damaged(str(failure)):
            _repair(root, command, args)
        _print_errors(failure_message(command, args), f"{command}: error: {failure}")
    os._exit(code & 0xFF)


#: messages of a controller that cannot import one of its modules
_MISSING_PARTS = ("ModuleNotFoundError", "ImportError", "No module named", "No such file or directory: '<frozen")
#: set for the command that runs after a repair, which prevents a second repair
_REPAIRED = "SLURMSKY_REPAIRED"


def _is_damaged(problem: str) -> bool:
    """Return whether a damaged private environment prevented the controller's start."""
    venv = os.path.dirname(os.path.dirname(sys.executable))
    ours = os.path.basename(venv).startswith("venv-") and os.path.exists(os.path.join(os.path.dirname(venv), "lock"))
    return ours and any(word in problem for word in _MISSING_PARTS) and _REPAIRED not in os.environ


def _repair(root: str, command: str, args: list[str]) -> None:
    """Rebuild the environment, then run the command. client_setup replaces this process."""
    venv = os.path.dirname(os.path.dirname(sys.executable))
    setup = os.path.join(root, "slurmsky", "client_setup.py")
    _print_errors("slurmsky: the private environment is damaged and is rebuilt")
    try:
        for path in (os.path.join(venv, "slurmsky-complete"), os.path.join(os.path.dirname(venv), "python")):
            if os.path.exists(path):
                os.unlink(path)
        python = os.path.realpath(sys.executable)
        argv = [python, "-I", setup, root, os.path.dirname(venv), command, *args]
        os.execve(python, argv, {**os.environ, _REPAIRED: "1"})
    except OSError as error:
        _print_errors(f"slurmsky: {error.filename}: {error.strerror}")


def exit_without_answer(command: str, args: list[str], path: bytes) -> NoReturn:
    """End a command whose controller runs but does not answer."""
    from slurmsky.client import ANSWER_S

    _print_errors(
        failure_message(command, args), f"{command}: error: no answer at {os.fsdecode(path)} within {ANSWER_S} s"
    )
    os._exit(1)


def _print_errors(*lines: str) -> None:
    try:
        os.write(2, "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # stderr has no reader; the exit code still shows the failure


def start(root: str, home: str, path: bytes) -> _socket.socket:
    """Start a controller unless one answers; return the connection.

    The lock admits one start at a time. The new controller holds it, too, so that a start continues and is known when
    its client is interrupted. Raises CannotStart.
    """
    try:
        os.makedirs(home, mode=0o700, exist_ok=True)
        paths.check_state(home, tighten=True)
        lock = os.open(os.path.join(home, paths.LOCK_NAME), os.O_RDWR | os.O_CREAT | paths.OPEN_FLAGS, 0o600)
        _acquire(lock)
    except paths.ForeignFolder as error:
        raise CannotStart(error.strerror) from error
    except OSError as error:
        raise CannotStart(f"cannot use the state folder {home}: {error.strerror}") from error
    try:
        sock = _try_connect(path)
        if sock is None:
            log = os.path.join(home, paths.LOG_NAME)
            try:
                log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | paths.OPEN_FLAGS, 0o600)
            except OSError as error:
                raise CannotStart(f"cannot write {log}: {error.strerror}") from error
            before = os.fstat(log_fd).st_size
            pid = _spawn(root, home, log_fd, lock)
            os.close(log_fd)
            sock = _wait(pid, path, log, before)
        return sock
    finally:
        os.close(lock)


def wait_for_start(home: str) -> None:
    """Wait until no controller is starting. Raises CannotStart."""
    try:
        lock = os.open(os.path.join(home, paths.LOCK_NAME), os.O_RDWR | paths.OPEN_FLAGS)
    except OSError:
        return  # no controller was ever started
    try:
        _acquire(lock)
    finally:
        os.close(lock)


def _acquire(lock: int) -> None:
    """Wait for the start lock. Raises CannotStart."""
    began, pause, shown = time.monotonic(), 0.002, 0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            shown = _show_wait(began, shown)
            if time.monotonic() - began > START_TIMEOUT_S:
                raise CannotStart(f"a controller has been starting for {START_TIMEOUT_S:.0f} s") from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        else:
            _clear(shown)
            return


def wait_until_gone(home: bytes, former: int | None = None) -> None:
    """Wait until a stopping controller has exited.

    The next command then does not connect to it: a process that ends may close its connections before the socket that
    it listens to. ``former``: its pid; returns at once if another controller has replaced it.
    """
    try:
        with open(os.path.join(home, b"controller.pid"), "rb") as file:
            pid = int(file.read())
        if former not in (None, pid):
            return
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state, *fields = file.read().rpartition(b")")[2].split()
            # A killed process is a zombie before its last thread has closed the sockets (proc(5): num_threads).
            if state in (b"Z", b"X") and int(fields[16]) <= 1:
                return
            time.sleep(0.01)
    except (OSError, ValueError):
        return  # the controller has exited, or there is no pid file


def _try_connect(path: bytes) -> _socket.socket | None:
    from slurmsky.client import connect

    try:
        return connect(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return None
        raise CannotStart(f"{os.fsdecode(path)}: {error.strerror}") from error


def _controller_environment(root: str, home: str) -> dict[str, str]:
    """The caller's environment without variables of jobs and Python."""
    foreign = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "PYTHON")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    env.pop(paths.AGENT, None)
    env[paths.HOME] = home
    if env.get(paths.SITE):
        env[paths.SITE] = os.path.abspath(env[paths.SITE])  # the controller runs in another folder
    env["PWD"] = "/"
    if not root.endswith(("site-packages", "dist-packages")):
        # A clone may run in an interpreter (SLURMSKY_PYTHON) in which the package is not installed.
        env["PYTHONPATH"] = root
    return env


def _interpreter() -> str:
    """Full path of this interpreter, with the folder's links resolved.

    The last component is not resolved: a virtual environment's python is a link, and Python finds the environment's
    packages by the path through which it was called.
    """
    folder, name = os.path.split(sys.executable)
    return os.path.join(os.path.realpath(folder), name)


def _spawn(root: str, home: str, log_fd: int, lock: int) -> int:
    """Start the controller in a new session; return its pid. Only the log and the start lock stay open."""
    # Run the package, not the controller's module: the package passes the commands to the controller.
    argv = [_interpreter(), "-m", "slurmsky", HOLDS_LOCK]
    env = _controller_environment(root, home)
    pid = os.fork()
    if pid:
        return pid
    _become(argv, env, log_fd, lock)


def _become(argv: list[str], env: dict[str, str], log_fd: int, lock: int) -> NoReturn:
    import signal

    try:
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        os.dup2(lock, START_LOCK_FD)
        os.set_inheritable(START_LOCK_FD, True)  # dup2 changes nothing where both are equal
        os.closerange(START_LOCK_FD + 1, min(os.sysconf("SC_OPEN_MAX"), 1 << 16))
        os.chdir("/")
        os.umask(0o077)
        os.execve(argv[0], argv, env)
    except OSError as error:
        _print_errors(f"{argv[0]}: {error.strerror}")
    finally:
        os._exit(127)


def _wait(pid: int, path: bytes, log: str, before: int) -> _socket.socket:
    """Wait until the new controller listens; return a connection. Raises CannotStart."""
    began = time.monotonic()
    deadline = began + START_TIMEOUT_S
    pause, shown = 0.002, 0
    while True:
        shown = _show_wait(began, shown)
        ended, status = os.waitpid(pid, os.WNOHANG)
        sock = _try_connect(path)
        if sock is not None or ended:
            _clear(shown)
        if sock is not None:
            return sock  # possibly of another controller that started first; the new process has exited then
        if ended:
            raise CannotStart(_last_log_line(log, before, os.waitstatus_to_exitcode(status)))
        if time.monotonic() > deadline:
            raise CannotStart(f"the controller does not answer after {START_TIMEOUT_S:.0f} s; see {log}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def _show_wait(began: float, shown: int) -> int:
    """Print the seconds since the start, once a second.

    Only a terminal shows them. Returns the seconds printed last.
    """
    seconds = int(time.monotonic() - began)
    if seconds < _SHOWN_AFTER_S or seconds == shown or not os.isatty(2):
        return shown
    load = os.getloadavg()[0]
    os.write(2, f"\r\x1b[Kslurmsky: starting the controller, {seconds} s (load {load:.0f})".encode())
    return seconds


def _clear(shown: int) -> None:
    if shown:
        os.write(2, b"\r\x1b[K")


def _last_log_line(log: str, before: int, code: int) -> str:
    """Last log line of a controller that exited too early."""
    try:
        with open(log, errors="replace") as file:
            file.seek(before)
            lines = [line.strip() for line in file if line.strip()]
    except OSError as error:
        lines = [f"{log}: {error.strerror}"]
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the controller did not start: {lines[-1]}" if lines else f"the controller ended at once ({how})"
