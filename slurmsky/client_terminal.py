"""Raw mode and foreground programs in the caller's terminal."""

from __future__ import annotations

import errno
import os
import signal
import termios
from typing import TYPE_CHECKING, NoReturn

from slurmsky.client import end_by_signal, frame, write

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNAL = b"s"
WINSIZE = b"w"
_REPORTED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
    signal.SIGALRM,
)
_DEADLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Terminal:
    """Raw mode of the caller's terminal. The relay restores the terminal before it ends."""

    def __init__(self) -> None:
        self._saved: list[object] | None = None

    @property
    def raw(self) -> bool:
        """Return whether this object has set raw mode."""
        return self._saved is not None

    def set_raw(self) -> None:
        """Set raw mode, which sends each key as typed. Without a terminal on stdin nothing changes."""
        import tty

        try:
            before = termios.tcgetattr(0)
            tty.setraw(0)
        except termios.error:
            return  # stdin is not a terminal, or the terminal was closed
        if self._saved is None:
            self._saved = before

    def restore(self) -> None:
        """Restore the mode that the terminal had before."""
        if self._saved is not None:
            try:
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]
            except termios.error:
                pass  # the terminal was closed
            self._saved = None


def find(name: bytes, path: bytes) -> bytes:
    """Find a program's file as a shell does. Raises FileNotFoundError."""
    if b"/" in name:
        return name
    for folder in path.split(b":"):
        candidate = os.path.join(folder or b".", name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def become(args: list[bytes], env: dict[bytes, bytes]) -> NoReturn:
    """Replace this process by a program. Raises OSError when the program cannot be executed."""
    program = find(args[0], env.get(b"PATH", os.fsencode(os.defpath)))
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # exec keeps ignored signals ignored
    try:
        os.execve(program, args, env)
    finally:
        signal.signal(signal.SIGPIPE, before)


class TerminalSignals:
    """The part of a relay that sends the caller's signals and the terminal's sizes.

    ``send``: sends a frame over the connection that owns stdin and signals.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send_last = send
        self._terminal = Terminal()
        self._reporting = False

    def _write(self, fd: int, data: memoryview) -> None:
        try:
            write(fd, data)
        except OSError as error:
            # The terminal was hung up: the server must still receive the SIGHUP, which decides how the job ends.
            if error.errno != errno.EIO or not self._reporting:
                raise

    def _report_signals(self) -> None:
        if self._reporting:
            return
        self._reporting = True
        for signum in _REPORTED:
            # Also signals that the caller ignores: Slurm's srun handles SIGHUP under nohup, too (22.05).
            signal.signal(signum, self._on_signal)
        signal.signal(signal.SIGWINCH, self._on_resize)

    def _on_signal(self, signum: int, _frame: object) -> None:
        if signum == signal.SIGCONT and self._terminal.raw:
            self._terminal.set_raw()  # the shell has changed the terminal's mode meanwhile
        self._send_last(frame(SIGNAL, b"%d" % signum))

    def _on_resize(self, _signum: int, _frame: object) -> None:
        for fd in (0, 1, 2):
            if os.isatty(fd):
                columns, rows = os.get_terminal_size(fd)
                self._send_last(frame(WINSIZE, b"%dx%d" % (rows, columns)))
                return

    def _set_raw(self, on: bool) -> None:
        if on:
            if not self._reporting:
                for signum in _DEADLY:
                    if signal.getsignal(signum) == signal.SIG_DFL:
                        signal.signal(signum, self._on_deadly)
            self._terminal.set_raw()
        else:
            self._terminal.restore()

    def _on_deadly(self, signum: int, _frame: object) -> None:
        self._terminal.restore()
        end_by_signal(signum)


class Child:
    """A program in the caller's terminal: salloc's shell or command.

    As with Slurm's salloc, the program gets its own process group, in the foreground if this process was there.
    """

    def __init__(self, args: list[bytes], env: dict[bytes, bytes]) -> None:
        """Start the program. Raises OSError when it cannot be found or executed."""
        self._program = find(args[0], env.get(b"PATH", os.fsencode(os.defpath)))
        self._foreground = os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
        # Ctrl-C and Ctrl-\ are for the child from now on, and tcsetpgrp from the background would stop this process.
        self._before = {
            signum: signal.signal(signum, signal.SIG_IGN) for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGTTOU)
        }
        failed, fail = os.pipe2(os.O_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            self._become(args, env, fail)
        os.close(fail)
        self._own_group(self.pid)
        reason = os.read(failed, 16)
        os.close(failed)
        if reason:
            os.waitpid(self.pid, 0)
            self._take_back()
            raise OSError(int(reason), os.strerror(int(reason)))

    def _own_group(self, pid: int) -> None:
        """Move the child into its own group. Parent and child both call this method, so that neither runs before it."""
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # the child has set its group and called exec, or has ended
        if self._foreground:
            try:
                os.tcsetpgrp(0, pid)
            except OSError:
                pass  # the child has ended

    def _become(self, args: list[bytes], env: dict[bytes, bytes], fail: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            self._own_group(os.getpid())
            for signum, handler in self._before.items():
                # Signals that the caller ignored stay ignored (nohup); this process's own handlers do not apply.
                keep = signal.SIG_IGN if handler == signal.SIG_IGN else signal.SIG_DFL
                signal.signal(signum, keep)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execve(self._program, args, env)
        except OSError as error:
            os.write(fail, b"%d" % (error.errno or errno.EIO))
        finally:
            os._exit(127)

    def poll(self) -> int | None:
        """Exit code after the program's end, else None. A negative code is the signal that ended the program."""
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if os.WIFSTOPPED(status):
            self._stop_with_child()
            return None
        self._take_back()
        return os.waitstatus_to_exitcode(status)

    def _stop_with_child(self) -> None:
        """Stop with the child after Ctrl-Z. The caller's shell then prints a prompt; SIGCONT continues both."""
        if not self._foreground:
            return
        os.tcsetpgrp(0, os.getpgrp())
        os.kill(os.getpid(), signal.SIGSTOP)
        os.tcsetpgrp(0, self.pid)
        self.signal(signal.SIGCONT)

    def _take_back(self) -> None:
        if self._foreground:
            try:
                os.tcsetpgrp(0, os.getpgrp())
            except OSError:
                pass  # the terminal was closed
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def signal(self, signum: int) -> None:
        """Send a signal to the program's process group."""
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            pass  # the program has ended; poll() returns its status
