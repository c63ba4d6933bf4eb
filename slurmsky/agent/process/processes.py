"""Starts processes as slurmstepd does, and signals them."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
from dataclasses import dataclass, field
from typing import Callable, NoReturn, Optional

from . import cgroup_tree

PR_SET_CHILD_SUBREAPER = 36
#: signals with the default action in each process: Python, nohup or the agent ignore some, which exec would keep
_DEFAULT_SIGNALS = [
    signal.Signals["SIG" + name]
    for name in (
        *("HUP", "INT", "QUIT", "PIPE", "ALRM", "TERM", "USR1", "USR2"),
        *("CHLD", "TSTP", "TTIN", "TTOU", "XCPU", "XFSZ"),
    )
]


class ExecFault:
    """Reason why a forked child could not execute its program.

    The parent reads it after the child's end. The reason is sent through a pipe that exec closes. posix_spawn does not
    use the pipe, because it reports a failure to the parent.
    """

    def __init__(self) -> None:
        self._read = self._write = -1

    def open(self) -> None:
        """Open the pipe, before the fork."""
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def forked(self) -> None:
        """Close the child's end in the parent, after the fork."""
        os.close(self._write)

    def write(self, text: str) -> None:
        """Send the reason from the child."""
        if self._write >= 0:
            os.write(self._write, text.encode(errors="surrogateescape"))

    def read_error(self) -> str:
        """Read the reason and close the pipe; "": the program was executed."""
        if self._read < 0:
            return ""
        try:
            return os.read(self._read, 4096).decode(errors="surrogateescape")
        except BlockingIOError:
            return ""  # a child of before_exec still has the pipe's other end open
        finally:
            os.close(self._read)
            self._read = -1


@dataclass
class Process:
    """Parameters of a new process. The caller closes the descriptors."""

    node: str
    argv: list[str]
    environment: dict[str, str]
    directory: str
    umask: int
    stdin: int
    stdout: int
    stderr: int
    #: path to execute; None: argv[0] is searched in the environment's PATH
    executable: Optional[str] = None
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    cpus: Optional[frozenset[int]] = None
    #: the control group that the process joins; "": none
    group: str = ""
    #: set for pseudo terminals: stdin becomes the controlling terminal
    terminal: bool = False
    #: the folder or program may be on an unreachable file system: only the forked child accesses it
    in_child_only: bool = False
    #: called in the child just before exec, with the environment (task prolog)
    before_exec: Optional[Callable[[dict[str, str]], None]] = None
    #: receives the reason if the program cannot be executed
    fault: Optional[ExecFault] = None


def spawn(process: Process) -> int:
    """Start a process and return its pid.

    Raises OSError if no process can be created. A fault after the fork is printed on the process's stderr and stored in
    ``fault``; the exit code is then the errno.
    """
    if not (process.terminal or process.before_exec or process.cpus or process.in_child_only or process.group):
        for _ in range(2):
            quick = _spawn_quickly(process)
            if quick:
                return quick
            if quick is None:
                break
    if process.fault is not None:
        process.fault.open()
    pid = os.fork()
    if pid:
        if process.fault is not None:
            process.fault.forked()
        return pid
    try:
        _become(process)
    except BaseException as error:
        if process.fault is not None:
            process.fault.write(str(error))
        os.write(2, b"slurmstepd-%s: error: %s\n" % (process.node.encode(), str(error).encode(errors="replace")))
    finally:
        os._exit(1)


def _spawn_quickly(process: Process) -> Optional[int]:
    """Start a process by posix_spawn, at half the cost of a fork.

    Return 0 to try again, and None if only a fork can start the process or find the fault. SLURM_TASK_PID is the new
    process's pid, which is unknown before the spawn. So the pid is guessed (the kernel counts up), and the child
    verifies the guess: ``/proc/self/task/PID`` opens only in the process with that pid, else the spawn fails. The child
    inherits folder, umask and limits, which the agent, a single thread, sets for itself during the spawn.
    """
    limits = _limits_to_borrow(process.rlimits)
    if limits is None:
        return None
    env = process.environment
    pid = last_pid() + 1
    env["SLURM_TASK_PID"] = str(pid)
    try:
        os.chdir(process.directory)
    except OSError:
        return None
    path, argv = _program(process, env)
    umask = os.umask(process.umask)
    try:
        for number, wanted, _ in limits:
            resource.setrlimit(number, wanted)
        started = os.posix_spawn(
            path,
            argv,
            env,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, "/proc/self/task/%d/comm" % pid, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, process.stdin, 0),
                (os.POSIX_SPAWN_DUP2, process.stdout, 1),
                (os.POSIX_SPAWN_DUP2, process.stderr, 2),
            ),
        )
    except (OSError, NotImplementedError, ValueError) as error:
        # A wrong guess and a missing program give the same errno.
        missing = isinstance(error, OSError) and error.errno == errno.ENOENT and os.path.exists(path)
        return 0 if (missing and shebang(path) is None) or (missing and _interpreter_exists(path)) else None
    finally:
        for number, _, own in limits:
            resource.setrlimit(number, own)
        os.umask(umask)
        os.chdir("/")
    return started


def _interpreter_exists(path: str) -> bool:
    words = (shebang(path) or "").split()
    return bool(words) and os.path.exists(words[0])


_loadavg = -1


def last_pid() -> int:
    """Return the pid assigned last in this pid namespace (the last field of /proc/loadavg)."""
    global _loadavg
    if _loadavg < 0:
        _loadavg = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
    return int(os.pread(_loadavg, 128, 0).rsplit(None, 1)[1])


#: limits that the agent must not set for itself during a spawn, because they could break the agent
_NOT_BORROWED = frozenset({"AS", "DATA", "STACK", "NPROC", "RSS", "CPU", "FSIZE"})
#: (soft, hard) limit of open files before raise_open_files; None: not raised
own_open_files: Optional[tuple[int, int]] = None


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard limit. Children get the original limit."""
    global own_open_files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    own_open_files = (soft, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_Limit = tuple[int, tuple[int, int], tuple[int, int]]


def _limits_to_borrow(wanted: dict[str, tuple[int, int]]) -> Optional[list[_Limit]]:
    """Limits to set during a spawn: (limit, child's, agent's). None: a fork is needed."""
    result: list[_Limit] = []
    if own_open_files is not None and "NOFILE" not in wanted:
        result.append((resource.RLIMIT_NOFILE, own_open_files, resource.getrlimit(resource.RLIMIT_NOFILE)))
    for name, (soft, _hard) in wanted.items():
        number = getattr(resource, "RLIMIT_" + name, None)
        if number is None:
            continue
        own = resource.getrlimit(number)
        value = resource.RLIM_INFINITY if soft < 0 else soft
        if value == own[0]:
            continue
        if name in _NOT_BORROWED or (own[1] != resource.RLIM_INFINITY and not 0 <= value <= own[1]):
            return None
        result.append((number, (value, own[1]), own))
    return result


def _become(process: Process) -> NoReturn:
    signal.set_wakeup_fd(-1)
    for number in _DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    if process.group and not cgroup_tree.join(process.group):
        print("%s: this process cannot join: its memory is not limited" % process.group, file=sys.stderr, flush=True)
    # The descriptors are above 2, because the agent has 0..2 open from its start.
    os.dup2(process.stdin, 0)
    os.dup2(process.stdout, 1)
    os.dup2(process.stderr, 2)
    if process.terminal:
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.umask(process.umask)
    _limit(process)
    if process.cpus:
        try:
            os.sched_setaffinity(0, process.cpus)
        except OSError as error:
            complain(process.node, "sched_setaffinity(): %s" % error.strerror)
    try:
        os.chdir(process.directory)
    except OSError as error:
        complain(process.node, _CHDIR_FAULT % (process.directory, error.strerror))
        try:
            os.chdir("/tmp")
        except OSError:
            complain(process.node, "couldn't chdir to /tmp either. dying.")
            if process.fault is not None:
                process.fault.write("neither %s nor /tmp can be entered" % process.directory)
            os._exit(4)
    env = process.environment
    env["SLURM_TASK_PID"] = str(os.getpid())
    if process.before_exec is not None:
        process.before_exec(env)
    path, argv = _program(process, env)
    try:
        os.execve(path, argv, env)
    except OSError as error:
        code = error.errno or 1
    reason = os.strerror(code)
    interpreter = shebang(path) if code == errno.ENOENT else None
    if interpreter is not None:
        fault = "execve(): bad interpreter(%s): %s" % (interpreter, reason)
    else:
        fault = "execve(): %s: %s" % (path, reason)
    if process.fault is not None:
        process.fault.write(fault)
    complain(process.node, fault)
    os._exit(code)


_CHDIR_FAULT = "couldn't chdir to `%s': %s: going to /tmp instead"


def chdir_fault(directory: str) -> str:
    """Return slurmstepd's error for an inaccessible folder, or ""."""
    try:
        os.chdir(directory)
    except OSError as error:
        return _CHDIR_FAULT % (directory, error.strerror)
    os.chdir("/")
    return ""


def error_line(node: str, text: str) -> bytes:
    """An error in slurmstepd's format."""
    return ("slurmstepd-%s: error: %s\n" % (node, text)).encode(errors="surrogateescape")


def complain(node: str, text: str) -> None:
    """Write an error of slurmstepd to a task's stderr."""
    os.write(2, error_line(node, text))


def _limit(process: Process) -> None:
    if own_open_files is not None and "NOFILE" not in process.rlimits:
        resource.setrlimit(resource.RLIMIT_NOFILE, own_open_files)
    for name, (soft, _hard) in process.rlimits.items():
        number = getattr(resource, "RLIMIT_" + name, None)
        if number is None:
            continue
        present, hard = resource.getrlimit(number)
        wanted = resource.RLIM_INFINITY if soft < 0 else soft
        if wanted == present:
            continue
        # As in slurmstepd, the soft limit is propagated, and the hard limit stays the node's.
        try:
            resource.setrlimit(number, (wanted, hard))
        except (ValueError, OSError) as error:
            complain(
                process.node,
                "Can't propagate RLIMIT_%s of %s from submit host: %s"
                % (
                    name,
                    "unlimited" if soft < 0 else soft,
                    getattr(error, "strerror", None) or "Operation not permitted",
                ),
            )


def _program(process: Process, env: dict[str, str]) -> tuple[str, list[str]]:
    """Path to execute and arguments. slurmstepd passes the whole path as argv[0]."""
    if process.executable is not None:
        return process.executable, process.argv
    path = find_program(process.argv[0], env)
    return path, [path, *process.argv[1:]]


def find_program(name: str, env: dict[str, str]) -> str:
    """Find argv[0] of a task in its PATH; else return the name."""
    if "/" in name:
        return name
    for folder in env.get("PATH", "").split(":"):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return name


def shebang(path: str) -> Optional[str]:
    """Return the text after ``#!`` in a file; None: no script."""
    try:
        with open(path, "rb") as file:
            start = file.read(256)
    except OSError:
        return None
    return start[2:].split(b"\n", 1)[0].decode(errors="surrogateescape") if start[:2] == b"#!" else None


def become_subreaper() -> bool:
    """Make this process the subreaper of its descendants; False if the kernel does not support it."""
    return prctl(PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int) -> bool:
    """Set an attribute of this process; False if unsupported."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(option, value, 0, 0, 0) == 0)


def detached(work: Callable[[], object]) -> None:
    """Run ``work`` in a process that is not the agent's descendant.

    As a subreaper, the agent would adopt the process like an orphan of a job. So the agent is no subreaper during the
    two forks.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 0)
    try:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return
        try:
            os.setsid()
            if os.fork() == 0:
                close_others()
                work()
        finally:
            os._exit(0)
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 1)


def close_others(keep: int = -1) -> None:
    """Reset a child's signal handlers, and close its descriptors except 0 to 2 and ``keep``."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != keep:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor of the listing
