"""Thin client that bin/* run: `python -I -S client.py ROOT COMMAND ARGUMENTS...`.

The client sends a command to the controller (inside a job: to the node's agent) and prints the reply. The start time
of this file adds to every command, so it imports built-in modules and `_socket` only, loads two modules on demand
(`client_start`: no controller yet; `client_relay`: stdin, signals, terminals, child processes), and exits by `_exit`.
`slurmsky/protocol/wire.py` describes the frames; its constants are repeated here.

The module exceeds 400 lines because every command needs all of it, and another module would delay each command.
"""

from __future__ import annotations

import _signal
import _socket
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

VERSION = b"1"
REQUEST = b"R"
STDOUT = b"O"
STDERR = b"E"
EXIT = b"X"
READ_FILE = b"Q"
FILE = b"f"

# As in slurmsky/paths.py.
HOME = b"SLURMSKY_HOME"
AGENT = b"SLURMSKY_AGENT"
ENVIRON = b"SLURMSKY_ENVIRON"
SOCKET_NAME = b"controller.sock"

#: seconds in which a controller sends its first frame: a reply, or an empty frame as a sign of life
ANSWER_S = 100
_BUFFER_SIZE = 1 << 18  # a unix socket returns at most about 200 KiB per call
_SUN_PATH_MAX = 107


class NoAnswer(Exception):
    """Error: a controller accepted the request but sent nothing for ANSWER_S."""


class ControllerConnection:
    """A connection and the frames that arrive on it.

    Payloads of O and E frames are returned in the pieces in which they arrive, because they are only copied to stdout
    and stderr; other payloads are returned complete. Pieces are views of a buffer that the next `fill` overwrites.
    """

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray(_BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._kind = b""  # kind of the output frame that has arrived in part
        self._left = 0  # bytes of that frame that have not arrived
        self._received = 0

    def fill(self) -> bool:
        """Wait for more bytes; False if the peer closed the connection."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start:
            rest = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, len(rest)
            self._view[: self._end] = rest
        if self._end == len(self._buffer):
            self._buffer = self._buffer + bytearray(len(self._buffer))
            self._view = memoryview(self._buffer)
        try:
            count = self.sock.recv_into(self._view[self._end :])
        except ConnectionError:
            return False
        self._end += count
        self._received += count
        return count > 0

    def bytes_received(self) -> tuple[int, bytes, int]:
        """The number of bytes that `frames` has yielded; kind and missing bytes of an output frame that was cut."""
        return self._received - (self._end - self._start), self._kind, self._left

    def restart(self, sock: _socket.socket) -> None:
        """Receive from another connection."""
        self.sock = sock
        self._start = self._end = self._left = 0

    def resume(self, taken: int, kind: bytes, left: int) -> None:
        """Continue after `taken` bytes, in an output frame that was cut."""
        self._received = taken + self._end - self._start
        self._kind, self._left = kind, left

    def frames(self) -> Iterator[tuple[bytes, memoryview]]:
        """Arrived frames, piece by piece; a `break` loses no frame."""
        while self._start < self._end:
            start, held = self._start, self._end - self._start
            if self._left:
                size = min(self._left, held)
                self._left -= size
                self._start += size
                yield self._kind, self._view[start : self._start]
                continue
            if held < 5:
                return
            kind = bytes(self._view[start : start + 1])
            length = int.from_bytes(self._view[start + 1 : start + 5], "big")
            if kind in (STDOUT, STDERR):
                self._start += 5
                self._kind, self._left = kind, length
            elif held - 5 < length:
                return
            else:
                self._start += 5 + length
                yield kind, self._view[start + 5 : self._start]


def pack(fields: list[bytes]) -> bytes:
    """Encode a list payload."""
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def environment() -> list[bytes]:
    """The caller's environment as `K=V` entries.

    In the C locale the interpreter adds LC_CTYPE=C.UTF-8 (PEP 538), which a job must not see; the
    kernel still has the original block. If the launcher's shell would lose variables, the launcher
    passes a copy of its original block in a file.
    """
    environ = posix.environ
    copied = environ.pop(ENVIRON, None)
    if copied:
        try:
            entries = _block(copied)
            posix.unlink(copied)
            return entries
        except OSError:
            pass  # TMPDIR was full and there is no copy: use the variables that the shell kept
    if environ.get(b"LC_CTYPE") in (b"C.UTF-8", b"C.utf8", b"UTF-8"):
        try:
            return _block(b"/proc/self/environ")
        except OSError:
            pass  # no /proc: LC_CTYPE stays in the environment
    return [name + b"=" + value for name, value in environ.items()]


def _block(path: bytes) -> list[bytes]:
    """Read an environment block from a file. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    block = b""
    while piece := posix.read(fd, 1 << 20):
        block += piece
    posix.close(fd)
    return [entry for entry in block.split(b"\0") if b"=" in entry]


def request(command: str, args: list[str], env: list[bytes]) -> bytes:
    """The R frame of this process."""
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    try:
        cwd = posix.getcwdb()
    except OSError:
        cwd = posix.environ.get(b"PWD", b"/")  # the folder was removed; Slurm reports that later
    umask = posix.umask(0o077)
    posix.umask(umask)
    ttys = [posix.isatty(fd) for fd in (0, 1, 2)]
    size = b""
    for fd in (0, 1, 2):
        if ttys[fd]:
            columns, rows = posix.get_terminal_size(fd)
            size = b"%dx%d" % (rows, columns)
            break
    fields = [
        VERSION,
        command.encode(encoding, errors),
        cwd,
        b"%o" % umask,
        b"".join([b"1" if tty else b"0" for tty in ttys]),
        size,
        b"%d" % posix.getpid(),
        b"%d" % len(args),
    ]
    fields += [arg.encode(encoding, errors) for arg in args]
    fields += env
    return frame(REQUEST, pack(fields))


def home() -> bytes:
    """The state folder, as `slurmsky.paths.state` computes it."""
    environ = posix.environ
    folder = environ.get(HOME)
    if folder:
        return folder if folder.startswith(b"/") else posix.getcwdb() + b"/" + folder
    base = environ.get(b"XDG_STATE_HOME", b"")
    if not base.startswith(b"/"):
        user = environ.get(b"HOME")
        if not user:
            import pwd

            user = pwd.getpwuid(posix.geteuid()).pw_dir.encode(
                sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
            )
        base = user + b"/.local/state"
    return base + b"/slurmsky"


def limit(sock: _socket.socket, seconds: int) -> None:
    """Set the timeout after which calls raise BlockingIOError; 0: none."""
    span = seconds.to_bytes(8, sys.byteorder) + bytes(8)  # struct timeval
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, span)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, span)


def connect(path: bytes) -> _socket.socket:
    """Connect to this user's or root's socket. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    limit(sock, ANSWER_S)
    if len(path) <= _SUN_PATH_MAX:
        sock.connect(path)
    else:
        # The kernel accepts paths of 107 bytes: reach the folder through a descriptor.
        folder, _, name = path.rpartition(b"/")
        fd = posix.open(folder or b"/", posix.O_PATH | posix.O_CLOEXEC)
        try:
            sock.connect(b"/proc/self/fd/%d/%s" % (fd, name))
        finally:
            posix.close(fd)
    # Check the peer: the request holds the caller's whole environment, and the reply may start programs.
    peer = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    uid = int.from_bytes(peer[4:8], sys.byteorder)
    if uid not in (posix.geteuid(), 0):
        sock.close()
        raise PermissionError(1, "another user (uid %d) listens there" % uid)
    limit(sock, 0)
    return sock


def connect_home(path: bytes) -> _socket.socket:
    """Connect to the controller in a private folder. Raises OSError."""
    folder = path.rpartition(b"/")[0]
    metadata = posix.lstat(folder)
    if metadata.st_uid != posix.geteuid() or metadata.st_mode & 0o170022 != 0o040000:
        from slurmsky import paths

        paths.check_state(folder.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()))
    return connect(path)


def write(fd: int, data: memoryview) -> None:
    """Write all of `data`, also to a non-blocking descriptor."""
    while data:
        try:
            data = data[posix.write(fd, data) :]
        except BlockingIOError:
            import select

            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


def end_by_signal(signum: int) -> NoReturn:
    """End by the default action of a signal."""
    _signal.signal(signum, _signal.SIG_DFL)
    posix.kill(posix.getpid(), signum)
    posix._exit(128 + signum)


def unpack(payload: memoryview) -> list[bytes]:
    """Decode the fields of a list payload."""
    fields, position = [], 0
    while position < len(payload):
        start = position + 4
        position = start + int.from_bytes(payload[start - 4 : start], "big")
        fields.append(bytes(payload[start:position]))
    return fields


def read_file(payload: memoryview) -> bytes:
    """Reply to a Q frame: the first readable file. Files after the first must be regular."""
    limit, *paths = unpack(payload)
    problem = 2  # ENOENT
    for index, path in enumerate(paths):
        try:
            if index and posix.stat(path).st_mode & 0o170000 != 0o100000:
                continue
            fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            problem = problem if index else error.errno or problem
            continue
        data = b""
        try:
            while len(data) < int(limit) and (piece := posix.read(fd, int(limit) - len(data))):
                data += piece
        except OSError as error:
            if error.errno != 21:  # EISDIR: read a folder as an empty file
                return frame(FILE, pack([b"0", b"%d" % (error.errno or 5), b""]))
        finally:
            posix.close(fd)
        return frame(FILE, pack([b"%d" % index, b"0", data]))
    return frame(FILE, pack([b"0", b"%d" % problem, b""]))


def complain(command: str, text: str) -> None:
    try:
        posix.write(2, f"{command}: error: {text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # stderr has no reader; the exit code still shows the failure


def output_failed(command: str, error: OSError) -> NoReturn:
    """End by SIGPIPE for a broken pipe, else with an error."""
    if isinstance(error, BrokenPipeError):
        end_by_signal(_signal.SIGPIPE)
    complain(command, f"write error: {error.strerror}")
    posix._exit(1)


def print_reply(command: str, channel: ControllerConnection, again: bytes) -> int:
    """Print the reply and return its exit code.

    `again` is the request, for a relay that has to send the request to another server.
    """
    try:
        more = channel.fill()
    except BlockingIOError:
        raise NoAnswer from None
    limit(channel.sock, 0)
    while more:
        for kind, payload in channel.frames():
            if kind == STDOUT:
                write(1, payload)
            elif kind == STDERR:
                write(2, payload)
            elif kind == EXIT:
                return int(payload)
            elif kind == READ_FILE:
                channel.sock.sendall(read_file(payload))
            else:
                from slurmsky import client_relay

                return client_relay.Relay(command, channel, again).run(kind, payload)
        more = channel.fill()
    connection_lost(command)
    return 1


def connection_lost(command: str) -> None:
    at_agent = AGENT in posix.environ
    complain(command, "lost connection to the node's agent" if at_agent else "lost connection to the controller")


def no_answer(command: str, args: list[str], path: bytes) -> NoReturn:
    """End as a command that reaches no controller."""
    from slurmsky import client_start

    client_start.exit_without_answer(command, args, path)


def run(root: str, command: str, args: list[str]) -> NoReturn:
    """Run a command of the package below `root`, and exit."""
    # The socket must not get the number of a standard stream that the caller closed (>&-).
    while (fd := posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)) <= 2:
        pass
    posix.close(fd)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # Ctrl-C ends this process as it ends squeue
    if root not in sys.path:
        sys.path.append(root)
    if command == "slurmsky":
        from slurmsky import client_application

        client_application.run_local_command(args)
    payload = request(command, args, environment())
    agent = posix.environ.get(AGENT)
    path = agent or home() + b"/" + SOCKET_NAME
    try:
        sock = connect(path) if agent else connect_home(path)
    except OSError as error:
        from slurmsky import client_start

        sock = client_start.connect_or_start(root, command, args, path, bool(agent), error)
    try:
        limit(sock, ANSWER_S)
        sock.sendall(payload)
    except ConnectionError:
        pass  # the server closed the connection, but its last frames are unread
    except BlockingIOError:
        no_answer(command, args, path)
    try:
        code = print_reply(command, ControllerConnection(sock), payload)
    except NoAnswer:
        no_answer(command, args, path)
    except OSError as error:
        output_failed(command, error)
    posix._exit(code & 0xFF)


def main() -> NoReturn:
    """Entry point of console scripts, whose name is the command."""
    command = sys.argv[0].rpartition("/")[2]
    root = __file__.rpartition("/")[0].rpartition("/")[0]
    run(root, command, sys.argv[1:])


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], sys.argv[3:])
