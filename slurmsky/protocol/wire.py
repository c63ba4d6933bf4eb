"""Frames between clients, the controller and the agents.

Runs on Python 3.9 and the standard library.

A frame is one type byte, the payload's length as four big-endian bytes, and the payload. A "list"
payload is a sequence of fields, each with its own four-byte length. `slurmsky/client.py` repeats the
client's half, because it must not import other modules; a test compares the two.

    client -> server                                server -> client
    R  the request (list, see CommandRequest)       O  bytes for stdout
    i  stdin bytes, up to the number granted        E  bytes for stderr
    e  stdin has ended                              X  exit code in ascii: the end
    s  a signal's number                            I  grants that many more stdin bytes
    w  the terminal's new size, b"ROWSxCOLS"        S  run this in the caller's terminal (list)
    c  wait status of what S started                k  a signal for what S started
    x  exit code of the session that F named        F  send the request there, too (list: socket, K=V...)
                                                    P  exec this program: the end (list, as S)
                                                    T  raw terminal: b"1" on, b"0" off
                                                    H  report signals from now on
    f  reply to Q (list: index, errno, bytes)       Q  read a file (list: most bytes, paths)
    D  continue a session over this connection      D  this session's token; or: the session continues after this
       (list: token, bytes received)                   number of the client's bytes
    a  bytes received of a session with a token     a  as the client's
                                                    A  the server exits: send the request to its successor
                                                    W  K=V: where this connection breaks, send the request with this
                                                       variable to the next controller; empty: no longer
Controller and agents send each other J frames, which hold one JSON object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

VERSION = b"1"

REQUEST = b"R"
STDIN = b"i"
STDIN_EOF = b"e"
SIGNAL = b"s"
WINSIZE = b"w"
CHILD_STATUS = b"c"
SESSION_EXIT = b"x"
FILE = b"f"

STDOUT = b"O"
STDERR = b"E"
EXIT = b"X"
GRANT = b"I"
SPAWN = b"S"
CHILD_SIGNAL = b"k"
REDIRECT = b"F"
BECOME = b"P"
TTY = b"T"
HANDLE_SIGNALS = b"H"
AGAIN = b"A"
RESUME = b"W"
READ_FILE = b"Q"

# A session with a token counts bytes from the frame with the token on (the client's: after its request).
SESSION = b"D"
ACK = b"a"
ACK_BYTES = 1 << 16  # received bytes after which an end sends an ACK

JSON = b"J"

# exit code that a client reports if the session of F ended without one, or was unreachable
SESSION_LOST = -1

HEADER_SIZE = 5
# A request holds a whole argv and environment, for which the kernel allows some MiB. The limit prevents a wait for
# gigabytes from a peer of another protocol.
MAX_PAYLOAD = 64 << 20


class WireError(ValueError):
    """The peer's bytes do not follow this protocol."""


class Frame(NamedTuple):
    """One message of a connection."""

    kind: bytes  # one of the constants above
    payload: bytes


def header(kind: bytes, length: int) -> bytes:
    """Encode the five bytes before a payload of ``length`` bytes. The caller sends the payload separately."""
    return kind + length.to_bytes(4, "big")


def encode(kind: bytes, payload: bytes = b"") -> bytes:
    """Encode a whole frame."""
    return header(kind, len(payload)) + payload


def encode_int(kind: bytes, number: int) -> bytes:
    """Encode a frame whose payload is an ascii number (kinds X, I, k, s, x)."""
    return encode(kind, b"%d" % number)


def encode_list(fields: Iterable[bytes]) -> bytes:
    """Encode a list payload; the inverse is ``decode_list``."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def decode_list(payload: bytes) -> list[bytes]:
    """Decode the fields of a list payload. Raises WireError if lengths and bytes disagree."""
    fields = []
    position, end = 0, len(payload)
    while position < end:
        start = position + 4
        position = start + int.from_bytes(payload[start - 4 : start], "big")
        if start > end or position > end:
            raise WireError("a list field runs past the end of its frame")
        fields.append(payload[start:position])
    return fields


class FrameReader:
    """Assembles frames from received bytes, in pieces of any size.

    >>> reader = FrameReader()
    >>> list(reader.feed(encode(STDOUT, b"ab")[:6]))
    []
    >>> list(reader.feed(b"b" + encode(EXIT, b"0")))
    [Frame(kind=b'O', payload=b'ab'), Frame(kind=b'X', payload=b'0')]
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of an unfinished frame; joined when the frame is complete
        self._held = 0
        self._wanted = HEADER_SIZE
        self._broken = False  # the bytes after a malformed frame cannot be decoded

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that ``data`` completes.

        Raises WireError for a length beyond MAX_PAYLOAD. The caller must take all frames before the next call.
        """
        if self._broken:
            raise WireError("after a frame that is none")
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._wanted:
            return
        block = b"".join(self._pieces) if len(self._pieces) > 1 else data
        position, end = 0, len(block)
        wanted = HEADER_SIZE
        while end - position >= HEADER_SIZE:
            start = position + HEADER_SIZE
            length = int.from_bytes(block[position + 1 : start], "big")
            if length > MAX_PAYLOAD:
                self._broken = True
                self._pieces.clear()
                raise WireError("a frame of %d bytes" % length)
            if end - start < length:
                wanted = HEADER_SIZE + length
                break
            yield Frame(block[position : position + 1], block[start : start + length])
            position = start + length
        self._pieces = [block[position:]] if position < end else []
        self._held = end - position
        self._wanted = wanted


def _text(field: bytes) -> str:
    # Not os.fsdecode: its error handler follows the locale of the process, and this must round-trip any byte.
    return field.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class CommandRequest:
    """A command with arguments, folder, terminals and environment.

    Strings hold bytes that are not UTF-8 as surrogate escapes, as ``os.fsdecode`` does.
    """

    command: str  # "sbatch"
    args: tuple[str, ...]  # without the command's own name
    cwd: str
    umask: int
    ttys: tuple[bool, bool, bool]  # which of stdin, stdout, stderr are terminals
    winsize: tuple[int, int] | None  # rows, columns; None: no terminal
    pid: int
    env: Mapping[str, str]

    @classmethod
    def from_payload(cls, payload: bytes) -> CommandRequest:
        """Decode a request. Raises WireError for an incomplete request and for another version's."""
        fields = decode_list(payload)
        if not fields or fields[0] != VERSION:
            raise WireError("a request of another version: stop the controller with `slurmsky stop`")
        try:
            command, cwd, umask, ttys, size, pid, count = fields[1:8]
            end = 8 + int(count)
            if end < 8 or end > len(fields) or len(ttys) != 3:
                raise ValueError
            rows, _, columns = size.partition(b"x")
            env: dict[str, str] = {}
            for field in fields[end:]:
                name, equals, value = field.partition(b"=")
                if equals:
                    env.setdefault(_text(name), _text(value))  # of two equal names getenv finds the first
            return cls(
                command=_text(command),
                args=tuple(map(_text, fields[8:end])),
                cwd=_text(cwd),
                umask=int(umask, 8),
                ttys=(ttys[0:1] == b"1", ttys[1:2] == b"1", ttys[2:3] == b"1"),
                winsize=(int(rows), int(columns)) if size else None,
                pid=int(pid),
                env=env,
            )
        except ValueError:
            raise WireError("a request with fields that do not fit") from None

    def to_payload(self) -> bytes:
        """The inverse of from_payload."""
        size = b"%dx%d" % self.winsize if self.winsize else b""
        fields = [
            VERSION,
            _bytes(self.command),
            _bytes(self.cwd),
            b"%o" % self.umask,
            b"".join(b"1" if tty else b"0" for tty in self.ttys),
            size,
            b"%d" % self.pid,
            b"%d" % len(self.args),
        ]
        fields += map(_bytes, self.args)
        fields += (_bytes(name) + b"=" + _bytes(value) for name, value in self.env.items())
        return encode_list(fields)
