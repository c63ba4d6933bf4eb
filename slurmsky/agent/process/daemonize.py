"""Process of a daemon: options, session, standard streams, log and lock."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Mapping, Optional

from ... import paths

if TYPE_CHECKING:
    import subprocess

#: seconds for which a new daemon waits for its predecessor's exit
LOCK_PATIENCE_S = 2.0


def options(argv: list[str], known: dict[str, str]) -> Optional[dict[str, str]]:
    """Parse ``--name value`` and ``--name=value`` with defaults.

    For an unknown option print an error, and return None.
    """
    found = dict(known)
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in found:
            print("agent: unknown option %s" % word, file=sys.stderr)
            return None
        found[name] = value if equals else next(words, "")
    return found


def start(argv: list[str], environment: Mapping[str, str], log: str) -> subprocess.Popen[bytes]:
    """Start a program in the background, in a new session. Its output is appended to the file ``log``."""
    import resource
    import subprocess  # imported here, because daemons rarely need it and start faster without it

    from . import processes

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | paths.OPEN_FLAGS, 0o600)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(output)
    if processes.own_open_files is not None:  # the program gets this process's original limit
        try:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, processes.own_open_files)
        except OSError:
            pass  # the program has ended
    return process


class _Lossy:
    """A text stream that ignores write errors. A full disk must not stop the daemon."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, or drop it on an error."""
        try:
            self._stream.write(text)
        except OSError:
            pass  # see the class
        return len(text)

    def flush(self) -> None:
        """Write the buffered text; on an error it stays buffered."""
        try:
            self._stream.flush()
        except OSError:
            pass  # the text stays in the buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def tolerate_full_disk() -> None:
    """Drop log lines that cannot be written."""
    sys.stderr = _Lossy(sys.stderr)


def detach() -> None:
    """Start a new session; open closed standard streams."""
    while True:
        fd = os.open("/dev/null", os.O_RDWR)
        if fd > 2:
            os.close(fd)
            break
    try:
        os.setsid()
    except PermissionError:
        return  # already the leader of a session


def lock(path: str) -> bool:
    """Lock a file until this process ends. Return False if another process holds it beyond LOCK_PATIENCE_S."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | paths.OPEN_FLAGS, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                return False
            time.sleep(0.01)  # the holder may be about to exit


def lock_shared(folder: str) -> None:
    """Mark a folder as in use, by a shared lock until this process ends; ignores a failure to lock."""
    try:
        fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pass  # an NFS mount without locks, or an archive
