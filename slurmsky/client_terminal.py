"""What a relayed session may do to the caller's terminal: raw mode, a program in the foreground, or give it away."""

from __future__ import annotations

import errno
import os
import signal
import termios
from typing import NoReturn


class Terminal:
    """Raw mode of the caller's terminal, undone however we end."""

    def __init__(self) -> None:
        self._saved: list[object] | None = None

    @property
    def raw(self) -> bool:
        """Whether it is in raw mode by us."""
        return self._saved is not None

    def set_raw(self) -> None:
        """Pass each key on as it is typed, where stdin is a terminal."""
        import tty

        try:
            before = termios.tcgetattr(0)
            tty.setraw(0)
        except termios.error:
            return  # stdin is no terminal (any more): nothing to switch
        if self._saved is None:
            self._saved = before

    def restore(self) -> None:
        """As it was before."""
        if self._saved is not None:
            try:
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]
            except termios.error:
                pass  # the terminal is gone
            self._saved = None


def find(name: bytes, path: bytes) -> bytes:
    """A program's file, as a shell would find it. Raises FileNotFoundError."""
    if b"/" in name:
        return name
    for folder in path.split(b":"):
        candidate = os.path.join(folder or b".", name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def become(args: list[bytes], env: dict[bytes, bytes]) -> NoReturn:
    """Be this program from now on: same process, same terminal. Raises OSError when it cannot be executed."""
    program = find(args[0], env.get(b"PATH", os.fsencode(os.defpath)))
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ignored signals stay ignored over an exec
    try:
        os.execve(program, args, env)
    finally:
        signal.signal(signal.SIGPIPE, before)


class Child:
    """A program in the caller's terminal: salloc's shell or command.

    It has a process group of its own, in the foreground when we were, as real salloc arranges it.
    """

    def __init__(self, args: list[bytes], env: dict[bytes, bytes]) -> None:
        """Start it. Raises OSError when it cannot be found or executed."""
        self._program = find(args[0], env.get(b"PATH", os.fsencode(os.defpath)))
        self._foreground = os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
        # The terminal's keys are for the child now, and tcsetpgrp from the background stops its caller.
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
        """Parent and child both do this, so that neither runs before it is done."""
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass  # the child has done it and is already another program, or gone
        if self._foreground:
            try:
                os.tcsetpgrp(0, pid)
            except OSError:
                pass  # gone already

    def _become(self, args: list[bytes], env: dict[bytes, bytes], fail: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            self._own_group(os.getpid())
            for signum, handler in self._before.items():
                # What our caller had ignored stays so (nohup); what we handle or ignore does not pass on.
                keep = signal.SIG_IGN if handler == signal.SIG_IGN else signal.SIG_DFL
                signal.signal(signum, keep)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.execve(self._program, args, env)
        except OSError as error:
            os.write(fail, b"%d" % (error.errno or errno.EIO))
        finally:
            os._exit(127)

    def poll(self) -> int | None:
        """Its exit code (negative: killed by that signal) once it has ended, else None."""
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if os.WIFSTOPPED(status):
            self._stop_with_it()
            return None
        self._take_back()
        return os.waitstatus_to_exitcode(status)

    def _stop_with_it(self) -> None:
        """Ctrl-Z: stop as the child did, so that the caller's shell gets its prompt; go on together."""
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
                pass  # the terminal is gone
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def signal(self, signum: int) -> None:
        """To the program and all of its group."""
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            pass  # it ended meanwhile; its status is on the way
