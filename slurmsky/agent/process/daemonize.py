"""What a daemon needs of its process: options, descriptors, a session of its own, and to be the only one."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Mapping, Optional

from ... import paths

if TYPE_CHECKING:
    import subprocess

#: how long a new daemon waits for its predecessor to be gone
LOCK_PATIENCE_S = 2.0


def options(argv: list[str], known: dict[str, str]) -> Optional[dict[str, str]]:
    """``--name value`` and ``--name=value`` over the defaults in ``known``; for others None, and a line on stderr."""
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
    """A program of our own in the background: in a session of its own, what it says goes to the file ``log``."""
    import resource
    import subprocess  # a daemon itself needs it seldom, and starts sooner without

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
    if processes.own_open_files is not None:  # we raised ours; its jobs get what users have
        try:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, processes.own_open_files)
        except OSError:
            pass  # it has ended already
    return process


class _Lossy:
    """A text stream that a full disk does not make raise: what is to be done matters more than its log."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            self._stream.write(text)
        except OSError:
            pass  # as the class says
        return len(text)

    def flush(self) -> None:
        """Write what is held back, as far as it can be."""
        try:
            self._stream.flush()
        except OSError:
            pass  # it stays held back

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def tolerate_full_disk() -> None:
    """From now on a line for the log that cannot be written is lost, and nothing else with it."""
    sys.stderr = _Lossy(sys.stderr)


def detach() -> None:
    """Be the leader of a session, with something open as stdin, stdout and stderr."""
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
    """Have the lock until the process ends; False when another one keeps it."""
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
            time.sleep(0.01)  # one that is about to leave
