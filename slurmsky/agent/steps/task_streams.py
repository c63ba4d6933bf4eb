"""Standard streams of a step's tasks on one node. Files, pipes or a terminal, with flow control."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections import deque
from typing import Callable, Optional

from ...protocol.step_plan import StepPlan
from ..job import file_opening, output_files
from ..net.event_loop import READ, WRITE, Loop
from .step_sink import ERR, OUT, Sink

#: bytes of a task's incomplete line that are buffered
LINE_LIMIT = 1 << 16
CHUNK = 1 << 18
_F_SETPIPE_SZ = 1031


class Task:
    """A process of the step, and our ends of its pipes."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.pid = 0
        self.status: Optional[int] = None
        self.stdin = -1
        self.stdin_queue: deque[bytes] = deque()
        self.stdin_taken = 0  # bytes of the common stdin that the task has read or skips
        self.stdin_ended = False
        self.readers: dict[int, int] = {}  # our descriptor -> OUT or ERR
        self.held: dict[int, bytes] = {}  # descriptor -> incomplete line
        self.files: dict[int, int] = {}  # descriptor -> file for its labelled lines


class Streams:
    """Our ends of the tasks' streams. ``ended`` is called at the end of each stream."""

    def __init__(self, loop: Loop, plan: StepPlan, tasks: list[Task], sink: Sink, ended: Callable[[], None]) -> None:
        self._loop = loop
        self._plan = plan
        self._tasks = tasks
        self._sink = sink
        self._ended = ended
        self.paused = False
        self._opened: set[str] = set()  # files that tasks write to
        #: files that a child has opened, by rank and purpose
        self.given: dict[tuple[int, str], file_opening.Result] = {}
        self._given = 0  # bytes of stdin received for all tasks
        self._reported = 0  # bytes of stdin reported as consumed
        self._whole_lines = bool(plan.label) or not plan.unbuffered

    @property
    def reading(self) -> bool:
        """True while a process with a task's pipe may write."""
        return any(task.readers for task in self._tasks)

    # --- opening
    def open(self, task: Task, theirs: list[int]) -> tuple[int, int, int]:
        """Open stdin, stdout and stderr for a task. Descriptors that the caller must close are added to ``theirs``."""
        plan = self._plan
        if plan.terminal is not None and task.rank == 0:
            terminal = self._open_terminal(task, plan.terminal)
            theirs.append(terminal)
            return terminal, terminal, terminal
        if plan.terminal is not None:
            # srun --pty has one terminal, for task 0: the other tasks get /dev/null.
            nowhere = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            theirs.append(nowhere)
            return nowhere, nowhere, nowhere
        stdin = self._open_stdin(task)
        theirs.append(stdin)
        stdout = self._open_stdout(task, plan.stdout, OUT)
        theirs.append(stdout)
        stderr = stdout if plan.stderr == "=stdout" else self._open_stdout(task, plan.stderr, ERR)
        theirs.append(stderr)
        return stdin, stdout, stderr

    def _open_stdin(self, task: Task) -> int:
        plan = self._plan
        if plan.stdin == "null" or (plan.stdin == "stream" and plan.stdin_rank not in (None, task.rank)):
            return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        if plan.stdin != "stream":
            return self._open_file(task, plan.stdin, "stdin")
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        if len(self._tasks) <= 8:
            _enlarge(ours)
        task.stdin = ours
        self._loop.watch(ours, 0, lambda events: self._stdin_ready(task))
        return theirs

    def _open_stdout(self, task: Task, target: str, stream: int) -> int:
        if target == "null":
            return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        file = -1
        if target != "stream":
            name = "stdout" if stream == OUT else "stderr"
            file = self._open_file(task, target, name)
            if not (self._plan.label and stat.S_ISREG(os.fstat(file).st_mode)):
                return file
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        if len(self._tasks) <= 8:
            _enlarge(ours)
        if file >= 0:
            task.files[ours] = file
        self._read_from(task, ours, stream)
        return theirs

    def blocking(self) -> list[tuple[tuple[int, str], file_opening.Opener]]:
        """Return the tasks' files that may block, by their keys in ``given``."""
        plan = self._plan
        found: list[tuple[tuple[int, str], file_opening.Opener]] = []
        wanted = (("stdin", plan.stdin), ("stdout", plan.stdout), ("stderr", plan.stderr))
        for task in self._tasks:
            for what, pattern in wanted:
                if pattern in ("null", "stream", "=stdout") or plan.terminal is not None:
                    continue
                path = self._path(task, pattern)
                if file_opening.may_block(path):
                    found.append(((task.rank, what), self._opener(path, what)))
        return found

    def _opener(self, path: str, what: str) -> file_opening.Opener:
        if what == "stdin":
            return lambda: output_files.open_input(path)
        # Tasks that share a file (a name with ``%n``) append to it.
        mode = "append" if path in self._opened else self._plan.open_mode
        self._opened.add(path)
        return lambda: output_files.open_output(path, mode)

    def _path(self, task: Task, pattern: str) -> str:
        return os.path.join(self._plan.directory, output_files.expand(pattern, self._name_values(task)))

    def _open_file(self, task: Task, pattern: str, what: str) -> int:
        path = self._path(task, pattern)
        given = self.given.pop((task.rank, what), None)
        previous = os.umask(self._plan.umask)
        try:
            if isinstance(given, OSError):
                raise given
            return self._opener(path, what)() if given is None else given
        except OSError as error:
            error.complaint = "Could not open %s file %s: %s" % (what, path, error.strerror)  # type: ignore[attr-defined]
            raise
        finally:
            os.umask(previous)

    def _open_terminal(self, task: Task, size: list[int]) -> int:
        import termios

        ours, theirs = os.openpty()
        os.set_blocking(ours, False)
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", size[0], size[1], 0, 0))
        task.stdin = os.dup(ours)
        os.set_blocking(task.stdin, False)
        self._loop.watch(task.stdin, 0, lambda events: self._stdin_ready(task))
        self._read_from(task, ours, OUT)
        return theirs

    def _name_values(self, task: Task) -> output_files.NameValues:
        return output_files.NameValues(
            job_id=self._plan.job_id,
            step_id=self._plan.step_id,
            node=self._plan.node,
            node_id=self._plan.node_id,
            task_id=task.rank,
            array_job_id=self._plan.array_job_id,
            array_task_id=self._plan.array_task_id,
            user=self._plan.user,
            job_name=self._plan.job_name,
            restarts=self._plan.restarts,
        )

    # --- output
    def _read_from(self, task: Task, fd: int, stream: int) -> None:
        task.readers[fd] = stream
        self._loop.watch(fd, 0 if self.paused else READ, lambda events: self._readable(task, fd))

    def _readable(self, task: Task, fd: int) -> None:
        if self.paused:
            # poll reports a hang-up for an empty event mask, too; resume will report it again
            self._loop.forget(fd)
            return
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # EIO: the terminal's last user has exited
        stream = task.readers[fd]
        if data:
            if self._whole_lines:
                data = task.held.pop(fd, b"") + data
                end = data.rfind(b"\n") + 1
                if end < len(data) and len(data) - end < LINE_LIMIT:
                    task.held[fd] = data[end:]
                    data = data[:end]
            if data:
                self._pass_on(task, fd, stream, data)
            return
        rest = task.held.pop(fd, b"")
        self._loop.forget(fd)
        os.close(fd)
        del task.readers[fd]
        if rest:
            self._pass_on(task, fd, stream, rest)
        if fd in task.files:
            os.close(task.files.pop(fd))
        self._ended()

    def _pass_on(self, task: Task, fd: int, stream: int, data: bytes) -> None:
        """Send output to srun, or write it labelled to the task's file."""
        if fd not in task.files:
            self._sink.output(task.rank, stream, data)
            return
        label = self._label(task)
        lines = data.removesuffix(b"\n").split(b"\n")
        try:
            os.write(task.files[fd], b"".join(label + line + b"\n" for line in lines))
        except OSError:
            return  # a full disk: the rest of the output is lost

    def write_error(self, task: Task, line: bytes) -> None:
        """Write a line of slurmstepd to the task's stderr or its file."""
        plan = self._plan
        target = plan.stdout if plan.stderr == "=stdout" else plan.stderr
        if target == "stream":
            self._sink.output(task.rank, ERR, line)
        elif target != "null":
            file_opening.append(self._loop, self._path(task, target), self._label(task) + line)

    def _label(self, task: Task) -> bytes:
        return b"%*d: " % (self._plan.label, task.rank) if self._plan.label else b""

    def pause(self) -> None:
        """Stop reading output for a slow receiver."""
        if not self.paused:
            self.paused = True
            for task in self._tasks:
                for fd in task.readers:
                    self._loop.forget(fd)

    def resume(self) -> None:
        """Read output again."""
        if self.paused:
            self.paused = False
            for task in self._tasks:
                for fd in task.readers:
                    self._loop.forget(fd)
                    self._loop.watch(fd, READ, lambda events, task=task, fd=fd: self._readable(task, fd))  # type: ignore[misc]

    # --- stdin
    def write(self, data: bytes) -> None:
        """Write bytes to all tasks that read the stream; empty: its end."""
        self._given += len(data)
        for task in self._tasks:
            if task.stdin >= 0:
                if data:
                    task.stdin_queue.append(data)
                else:
                    task.stdin_ended = True
                self._write_queued(task)
        self.account_stdin()

    def _stdin_ready(self, task: Task) -> None:
        self._write_queued(task, woken=True)
        self.account_stdin()

    def _write_queued(self, task: Task, woken: bool = False) -> None:
        if task.stdin < 0:
            return
        try:
            while task.stdin_queue:
                data = task.stdin_queue[0]
                count = os.write(task.stdin, data)
                task.stdin_taken += count
                if count < len(data):
                    task.stdin_queue[0] = data[count:]
                else:
                    task.stdin_queue.popleft()
        except BlockingIOError:
            self._loop.change(task.stdin, WRITE)
            return
        except OSError:
            self.close_stdin(task)  # EPIPE: the task has closed its stdin
            return
        if task.stdin_ended:
            if self._plan.terminal is not None and task.rank == 0:
                task.stdin_ended = False
                task.stdin_queue.append(b"\x04")  # Ctrl-D: a terminal's end of input
                self._write_queued(task)
                return
            self.close_stdin(task)
        elif woken and not task.stdin_queue:
            # Called without data to write: the other end has hung up.
            if not self._writable_end_open(task):
                self.close_stdin(task)
            else:
                self._loop.change(task.stdin, 0)
        else:
            self._loop.change(task.stdin, 0)

    @staticmethod
    def _writable_end_open(task: Task) -> bool:
        import select

        poll = select.poll()
        poll.register(task.stdin, 0)
        return not poll.poll(0)

    def close_stdin(self, task: Task) -> None:
        """Close a task's stdin, whose other end is closed."""
        if task.stdin >= 0:
            self._loop.forget(task.stdin)
            os.close(task.stdin)
            task.stdin = -1
            task.stdin_queue.clear()

    def account_stdin(self) -> None:
        """Report the bytes that all tasks have read. Tasks that have stopped reading are ignored."""
        readers = [task.stdin_taken for task in self._tasks if task.stdin >= 0]
        done = min(readers) if readers else self._given
        if done > self._reported:
            count, self._reported = done - self._reported, done
            self._sink.consumed(count, not readers)

    def set_size(self, rows: int, columns: int) -> None:
        """Apply the new size of the caller's terminal."""
        import termios

        task = next((task for task in self._tasks if task.rank == 0), None)
        if task is not None and self._plan.terminal is not None and task.stdin >= 0:
            fcntl.ioctl(task.stdin, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    # --- end
    def close(self, task: Task) -> None:
        """Close our ends of a task's streams, with unread output."""
        self.close_stdin(task)
        for fd in list(task.readers):
            self._loop.forget(fd)
            os.close(fd)
            del task.readers[fd]
        for file in task.files.values():
            os.close(file)
        task.files.clear()


def _enlarge(fd: int) -> None:
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, CHUNK)
    except OSError:
        return  # over the user's limit of pipe memory: 64 KiB suffice
