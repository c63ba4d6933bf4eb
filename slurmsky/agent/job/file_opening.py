"""Opens files that may block, in a child process of the agent.

The agent has one thread for all jobs of its node. Opening a FIFO waits for its other end, and any access to a network
file system that does not respond waits forever. A child process waits instead of the agent: it sends the descriptors
over a socket pair and ends, or is killed with the step that needs them. Other files on local file systems, the usual
case, are opened by the agent.
"""

from __future__ import annotations

import array
import errno
import json
import os
import signal
import socket
import stat
import sys
import time
from typing import Any, Callable, NoReturn, Sequence, Union

from ..net.event_loop import READ, Loop
from ..process import process_tree, processes

#: opens one file and returns its descriptor, or raises OSError
Opener = Callable[[], int]
Result = Union[int, OSError]

#: types of network file systems, whose server may be unreachable; types of FUSE begin with "fuse"
_NETWORK = frozenset([
    "afs", "autofs", "beegfs", "beegfs_nodev", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs4", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs",
])  # fmt: skip
#: seconds for which the list of mounts and the results from it are cached
_MOUNTS_S = 10.0
_LINKS = 40  # the kernel's limit
_PR_SET_PDEATHSIG = 1


class _Mounts:
    """Finds folders on network file systems, without access to them."""

    def __init__(self) -> None:
        self._read_at = -1e9
        self._types: dict[str, str] = {}
        self._folders: dict[str, bool] = {}

    def network(self, folder: str) -> bool:
        """True if resolving this absolute path touches a network file system."""
        now = time.monotonic()
        if now - self._read_at > _MOUNTS_S:
            self._types, self._folders, self._read_at = _mount_types(), {}, now
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self._any_network and self._crosses_network(folder)
        return known

    @property
    def _any_network(self) -> bool:
        return any(_is_network(kind) for kind in self._types.values())

    def _crosses_network(self, folder: str) -> bool:
        here = "/"
        left = folder.split("/")[::-1]
        links = 0
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = os.path.dirname(here)
                continue
            path = os.path.join(here, name)
            kind = self._types.get(path)
            if kind is not None and _is_network(kind):
                return True
            try:
                target = os.readlink(path)
            except OSError:
                here = path  # not a link, or does not exist
                continue
            links += 1
            if links > _LINKS:
                return False
            left += target.split("/")[::-1]
            if target.startswith("/"):
                here = "/"
        return False


def _is_network(kind: str) -> bool:
    return kind in _NETWORK or kind.startswith("fuse")


def _mount_types() -> dict[str, str]:
    """Return mount point -> type of its latest file system."""
    found = {}
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                words = line.split(" ")
                if len(words) > 2:
                    found[words[1].replace("\\040", " ").rstrip("/") or "/"] = words[2]
    except OSError:
        return {}
    return found


_mounts = _Mounts()


def on_network(path: str) -> bool:
    """True if this file's path touches a network file system."""
    return _mounts.network(os.path.dirname(os.path.join("/", path)))


def folder_on_network(path: str) -> bool:
    """True if this folder's path touches a network file system."""
    return _mounts.network(os.path.join("/", path))


def may_block(path: str) -> bool:
    """True if opening may block: a FIFO, or a network file system."""
    if on_network(path):
        return True
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


class Opening:
    """A child process that opens files sequentially.

    Calls ``done(results)`` with a descriptor or an OSError for each file, unless ``cancel`` was called; with
    ``stop_at_error`` the child stops at the first error. ``check`` runs in the child before it opens files;
    ``check_result`` has the text that ``check`` returns (a working folder's fault).
    """

    def __init__(
        self,
        loop: Loop,
        openers: Sequence[Opener],
        done: Callable[[list[Result]], None],
        umask: int,
        check: Callable[[], str] = lambda: "",
        stop_at_error: bool = False,
    ) -> None:
        self._loop = loop
        self._done = done
        self._results: list[Result] = []
        self.check_result = ""
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._pid = os.fork()
        if self._pid == 0:
            _open_all(theirs, openers, umask, check, stop_at_error)
        theirs.close()
        self._open = True
        loop.child(self._pid, lambda status, usage: None)
        loop.watch(self._ours.fileno(), READ, self._ready)

    def cancel(self) -> None:
        """Kill the child; ``done`` is not called afterwards."""
        if self._open:
            self._close()
            process_tree.send([self._pid], signal.SIGKILL)
            close(self._results)
            self._results.clear()

    def _close(self) -> None:
        self._open = False
        self._loop.forget(self._ours.fileno())
        self._ours.close()

    def _ready(self, _events: int) -> None:
        try:
            data, ancillary, _, _ = self._ours.recvmsg(1 << 16, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ancillary = b"", []
        for _level, _kind, packed in ancillary:
            self._results += array.array("i", packed)
        reply: dict[str, Any] = json.loads(data) if data else {}
        if "errno" in reply:
            self._results.append(OSError(reply["errno"], os.strerror(reply["errno"]), reply["path"]))
        if reply and "end" not in reply:
            return
        self._close()
        self.check_result = reply.get("end", "")
        if not reply:  # the child was killed
            self._results.append(OSError(errno.EIO, os.strerror(errno.EIO)))
        self._done(self._results)


def close(results: Sequence[Result]) -> None:
    """Close the descriptors among the results."""
    for one in results:
        if isinstance(one, int):
            os.close(one)


def run_in_child(loop: Loop, work: Callable[[], object], limit_s: int = 60, keep: int = -1) -> None:
    """Run ``work``, which may block, in a child process.

    SIGALRM ends the child after ``limit_s`` (0: never). The child keeps the descriptor ``keep`` of the agent's.
    """
    pid = os.fork()
    if pid:
        loop.child(pid, lambda status, usage: None)
        return
    try:
        _detach(keep)
        signal.alarm(limit_s)
        work()
    finally:
        os._exit(0)


def append(loop: Loop, path: str, line: bytes) -> None:
    """Append a line to a file that a task or script has opened. A removed file or a full disk loses the line."""

    def write() -> None:
        try:
            # With O_NONBLOCK, open() fails for a FIFO without a reader; it has no effect on a regular file.
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return
        try:
            os.write(fd, line)
        except OSError as error:
            print("%s: %s" % (path, error), file=sys.stderr, flush=True)
        finally:
            os.close(fd)

    if on_network(path):
        run_in_child(loop, write)
    else:
        write()


def _open_all(
    theirs: socket.socket, openers: Sequence[Opener], umask: int, check: Callable[[], str], stop_at_error: bool
) -> NoReturn:
    try:
        _detach(theirs.fileno())
        os.umask(umask)
        check_result = check()
        for opener in openers:
            try:
                fd = opener()
            except OSError as error:
                _send(theirs, {"errno": error.errno or errno.EIO, "path": str(error.filename or "")})
                if stop_at_error:
                    break
                continue
            packed = array.array("i", [fd])
            theirs.sendmsg([b'{"opened":1}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)])
            os.close(fd)
        _send(theirs, {"end": check_result})
    finally:
        os._exit(0)


def _send(sock: socket.socket, message: dict[str, object]) -> None:
    sock.send(json.dumps(message).encode())


def _detach(keep: int) -> None:
    """Detach a long-lived child from the agent's descriptors and signals. It ends with the agent."""
    processes.close_others(keep)
    processes.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
