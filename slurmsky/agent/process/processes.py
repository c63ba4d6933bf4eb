"""Starting one process the way slurmstepd does, and finding and ending all that came of it."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import time
from dataclasses import dataclass, field
from typing import Callable, Iterable, NoReturn, Optional

PR_SET_CHILD_SUBREAPER = 36
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
#: set to their default for every process: Python, nohup or we ourselves ignore some, and exec would pass
#: that on
_DEFAULT_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGPIPE,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGXCPU,
    signal.SIGXFSZ,
)


class ExecFault:
    """The reason why a forked child did not become its program; the parent reads it once the child has ended.

    A pipe that exec closes: unused where posix_spawn starts the program, because that reports its failure itself.
    """

    def __init__(self) -> None:
        self._read = self._write = -1

    def open(self) -> None:
        """Before the fork."""
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def forked(self) -> None:
        """In the parent, after the fork."""
        os.close(self._write)

    def write(self, text: str) -> None:
        """In the child."""
        if self._write >= 0:
            os.write(self._write, text.encode(errors="surrogateescape"))

    def take(self) -> str:
        """The reason, "" where the program was executed; closes the pipe."""
        if self._read < 0:
            return ""
        try:
            return os.read(self._read, 4096).decode(errors="surrogateescape")
        except BlockingIOError:
            return ""  # a child of before_exec still holds the other end
        finally:
            os.close(self._read)
            self._read = -1


@dataclass
class Process:
    """All that the new process needs to know. Descriptors stay the caller's to close."""

    node: str
    argv: list[str]
    environment: dict[str, str]
    directory: str
    umask: int
    stdin: int
    stdout: int
    stderr: int
    #: a path to execute; None: argv[0] is looked up in the environment's PATH
    executable: Optional[str] = None
    rlimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    cpus: Optional[frozenset[int]] = None
    #: set for pseudo terminals: stdin becomes the controlling terminal
    terminal: bool = False
    #: its folder or program may be out of reach: nothing of them is touched before the fork
    apart: bool = False
    #: called in the child just before exec, with the environment (task prolog)
    before_exec: Optional[Callable[[dict[str, str]], None]] = None
    #: receives the reason when the program cannot be executed
    fault: Optional[ExecFault] = None


def spawn(process: Process) -> int:
    """Start it, return its pid. A fault after the fork is printed on its stderr and kept in ``fault``; the exit
    code is the errno.

    Raises OSError when there can be no process.
    """
    if not (process.terminal or process.before_exec or process.cpus or process.apart):
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
    """posix_spawn: half the cost of a fork. 0: try again; None: only a fork can do it (or can tell what is
    wrong).

    SLURM_TASK_PID is the new process's own pid, which nobody knows before. So it is guessed (the kernel
    counts up),
    and the child checks it: ``/proc/self/task/PID`` opens only in the process of that pid, else the spawn
    fails.
    Folder, umask and limits are inherited from us: we are a single thread and take them on for a moment.
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
        # The same errno comes from a wrong guess and from a missing program.
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
    """The pid that the kernel gave last in our namespace (the last field of /proc/loadavg)."""
    global _loadavg
    if _loadavg < 0:
        _loadavg = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
    return int(os.pread(_loadavg, 128, 0).rsplit(None, 1)[1])


#: limits that would hurt ourselves in the moment we borrow them
_NOT_BORROWED = frozenset({"AS", "DATA", "STACK", "NPROC", "RSS", "CPU", "FSIZE"})
#: soft limit of open files that we had before we raised it for our own many pipes
own_open_files: Optional[tuple[int, int]] = None


def raise_open_files() -> None:
    """Allow ourselves as many descriptors as the hard limit does; children get what we had."""
    global own_open_files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    own_open_files = (soft, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_Limit = tuple[int, tuple[int, int], tuple[int, int]]


def _limits_to_borrow(wanted: dict[str, tuple[int, int]]) -> Optional[list[_Limit]]:
    """(limit, for the child, our own) where they differ; None when one of them cannot be borrowed."""
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
    # Sources may be 0..2 themselves only for an agent started without them; they were moved up at its start.
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
    """slurmstepd's complaint about a working folder that cannot be entered; "" when it can."""
    try:
        os.chdir(directory)
    except OSError as error:
        return _CHDIR_FAULT % (directory, error.strerror)
    os.chdir("/")
    return ""


def complain(node: str, text: str) -> None:
    """slurmstepd's way of writing to a task's stderr."""
    os.write(2, ("slurmstepd-%s: error: %s\n" % (node, text)).encode(errors="surrogateescape"))


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
        # As slurmstepd: the soft limit is propagated, the hard one stays the node's.
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
    """What is executed, and its arguments: slurmstepd gives a program its whole path as argv[0]."""
    if process.executable is not None:
        return process.executable, process.argv
    path = find_program(process.argv[0], env)
    return path, [path, *process.argv[1:]]


def find_program(name: str, env: dict[str, str]) -> str:
    """The path that is executed for a task's argv[0]: looked up in the task's own PATH, else the name
    itself."""
    if "/" in name:
        return name
    for folder in env.get("PATH", "").split(":"):
        path = os.path.join(folder or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return name


def shebang(path: str) -> Optional[str]:
    """What follows ``#!`` in a file's first line, None for anything but a script."""
    try:
        with open(path, "rb") as file:
            start = file.read(256)
    except OSError:
        return None
    return start[2:].split(b"\n", 1)[0].decode(errors="surrogateescape") if start[:2] == b"#!" else None


def become_subreaper() -> bool:
    """Orphans among our descendants become our children from now on. False where the kernel cannot."""
    return prctl(PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int) -> bool:
    """Set an attribute of this process. False where the kernel cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(option, value, 0, 0, 0) == 0)


def detached(work: Callable[[], object]) -> None:
    """Do something in a process that is no descendant of ours, which outlives us and is nobody's orphan.

    A subreaper would get it back as an orphan, as if it were of a job: for the moment of the two forks we are none.
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
    """In a child: have none of our signal handlers, and of our descriptors only the first three and ``keep``."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != keep:
            try:
                os.close(int(name))
            except OSError:
                continue  # of the listing itself


# --- finding


def children(pid: int) -> list[int]:
    """Direct children of a process; empty when it is gone."""
    found: list[int] = []
    try:
        threads = os.listdir("/proc/%d/task" % pid)
    except OSError:
        return found
    for thread in threads:
        try:
            with open("/proc/%d/task/%s/children" % (pid, thread), "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if not os.path.exists("/proc/self/task/%d/children" % os.getpid()):
                return _children_by_scan(pid)  # a kernel without CONFIG_PROC_CHILDREN
        except OSError:
            continue
    return found


_children_file = -1


def own_children() -> list[int]:
    """Our own direct children; we are a single thread, and asked often."""
    global _children_file
    if _children_file < 0:
        try:
            _children_file = os.open("/proc/self/task/%d/children" % os.getpid(), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return _children_by_scan(os.getpid())
    data, offset = b"", 0
    while True:
        piece = os.pread(_children_file, 1 << 16, offset)
        if not piece:
            return list(map(int, data.split()))
        data += piece
        offset += len(piece)


def _children_by_scan(parent: int) -> list[int]:
    return [pid for pid in all_pids() if (fields := stat(pid)) is not None and fields.parent == parent]


def all_pids() -> list[int]:
    """Every process of the machine that we can see."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all their descendants, parents first."""
    found: list[int] = []
    seen: set[int] = set()
    queue = list(roots)
    while queue:
        pid = queue.pop()
        if pid not in seen:
            seen.add(pid)
            found.append(pid)
            queue += children(pid)
    return found


@dataclass(frozen=True)
class Stat:
    """What we use of /proc/PID/stat. Times in clock ticks, start since boot."""

    state: str
    parent: int
    session: int
    user_ticks: int
    system_ticks: int
    start_ticks: int
    vsize: int
    rss_pages: int
    major_faults: int
    ended_user_ticks: int  # of children that ended and were waited for, and of theirs
    ended_system_ticks: int


def stat(pid: int) -> Optional[Stat]:
    """None when the process is gone."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Stat(
        fields[0].decode(),
        int(fields[1]),
        int(fields[3]),
        int(fields[11]),
        int(fields[12]),
        int(fields[19]),
        int(fields[20]),
        int(fields[21]),
        int(fields[9]),
        int(fields[13]),
        int(fields[14]),
    )


def start_time(fields: Stat) -> float:
    """When a process started, on the clock of ``now_boot``."""
    return fields.start_ticks / _CLOCK_TICKS


def now_boot() -> float:
    """Seconds since boot, suspended time included: the clock of process start times."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def environment_of(pid: int) -> dict[bytes, bytes]:
    """The environment a process was executed with; empty when unreadable."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            data = file.read()
    except OSError:
        return {}
    return dict(item.partition(b"=")[::2] for item in data.split(b"\0") if item)


def send(pids: Iterable[int], number: int) -> int:
    """Signal each; the number of those that were still there."""
    count = 0
    for pid in pids:
        try:
            os.kill(pid, number)
            count += 1
        except (ProcessLookupError, PermissionError):
            continue
    return count
