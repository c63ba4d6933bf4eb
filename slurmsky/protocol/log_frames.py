"""Exact bytes and events through a line-oriented, lossy text log; runs on Python 3.9.

SkyPilot's log of a job is text: lines get a prefix, ``\\r`` becomes ``\\n``, bytes that are not UTF-8 become
U+FFFD, stdout and stderr are mixed, and every reconnection starts from the beginning. So what a node writes
there is

* a *plain* line, for every line of ordinary text: the text as it is, followed by a mark that terminals do not
  show, an SGR sequence of numbers no terminal knows. The mark holds the stream, the offset, the text's length
  and a checksum, so that whatever comes before the text or after the mark is cut off, unknown as it is;
* a *framed* line for everything else (pieces without a newline, control characters, bytes that are not UTF-8,
  very long lines): ``~slurmsky=stream@offset...=base64=``;
* an *event* line, one JSON object: ``~slurmsky!seq...={...}=``.

A session is one run of the job on the nodes (a recovery starts another); within it each node (rank) numbers
its streams and events itself. The decoder gives each stream's bytes and each node's events in order and once,
whatever is replayed, cut, mixed with other lines or repeated.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

MAX_PLAIN = 4000  # bytes of text in a plain line
MAX_FRAME = 12 * 1024  # bytes of data in a framed line; base64 makes 16 KiB of it
MAX_SESSION = 8999

_BASE = 9000  # numbers in a mark are written as digits 1000..9999: far from every SGR code in use
_MAGIC = 7355
_MARK = re.compile(rb"\x1b\[%d((?:;[1-9]\d{3}){7,})m" % _MAGIC)
_FRAME = re.compile(rb"~slurmsky=(\d+)\.(\d+)\.(\d+)@(\d+)=([0-9a-f]{8})=([A-Za-z0-9+/]*)=")
EVENT = b"~slurmsky!"  # how an event's line begins
_EVENT = re.compile(rb"~slurmsky!(\d+)\.(\d+)\.(\d+)\.(\d+)=([0-9a-f]{8})=(\{)")

# Text that may travel as it is: no control character but tab and escape, none of the separators at which a
# reader in Python might split lines (str.splitlines), nothing that looks like our own marks.
_NOT_PLAIN = re.compile(
    "[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029\ufffd\ufeff]|~slurmsky[=!]|\x1b\\[%d" % _MAGIC
)
# SkyPilot's log reader drops these two lines and reads the third as a control line of its own
# (skylet/log_lib.py).
_SWALLOWED = ("bash: cannot set terminal process group", "bash: no job control in this shell", "<sky-payload")

Key = Tuple[int, int, int]  # session, rank, stream


@dataclass(frozen=True)
class Output:
    """Bytes of a stream; pieces of one stream follow each other without gap or overlap."""

    session: int
    rank: int
    stream: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Event:
    """What a node had to say."""

    session: int
    rank: int
    seq: int
    body: Dict[str, Any]


class Encoder:
    """One node's side of one session. What the methods return is written to the log as it is. ``seq``: the next
    event's number.
    """

    def __init__(self, session: int, rank: int, seq: int = 0) -> None:
        if not (0 <= session <= MAX_SESSION and 0 <= rank <= MAX_SESSION):
            raise ValueError((session, rank))
        self.session, self.rank = session, rank
        self._seq = seq
        self._offsets: Dict[int, int] = {}
        self._pending: Dict[int, bytes] = {}

    def data(self, stream: int, data: bytes) -> bytes:
        """Log lines for the next bytes of a stream; an unfinished line is kept back until flush or its
        newline.
        """
        data = self._pending.pop(stream, b"") + data
        *lines, rest = data.split(b"\n")
        out: List[bytes] = []
        framed = b""  # neighbours that cannot be plain share frames
        for line in lines:
            plain = self._plain(stream, line, len(framed))
            if plain is None:
                framed += line + b"\n"
                continue
            if framed:
                out.extend(self._frames(stream, framed))
                framed = b""
            out.append(plain)
            self._advance(stream, len(line) + 1)
        out.extend(self._frames(stream, framed))
        if len(rest) >= MAX_FRAME:
            whole = len(rest) - len(rest) % MAX_FRAME
            out.extend(self._frames(stream, rest[:whole]))
            rest = rest[whole:]
        if rest:
            self._pending[stream] = rest
        return b"".join(out)

    def flush(self, stream: Optional[int] = None) -> bytes:
        """Log lines for what data() kept back, of one stream or of all."""
        streams = list(self._pending) if stream is None else [stream]
        return b"".join(line for number in streams for line in self._frames(number, self._pending.pop(number, b"")))

    def event(self, body: Dict[str, Any]) -> bytes:
        """The log line of an event."""
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode("ascii")
        # DEL passes json unescaped and is the one character of it that a viewer could take offence at
        text = text.replace(b"\x7f", b"\\u007f")
        line = b"~slurmsky!%d.%d.%d.%d=%08x=%s=\n" % (
            self.session,
            self.rank,
            self._seq,
            len(text),
            binascii.crc32(text),
            text,
        )
        self._seq += 1
        return line

    def _advance(self, stream: int, length: int) -> int:
        offset = self._offsets.get(stream, 0)
        self._offsets[stream] = offset + length
        return offset

    def _plain(self, stream: int, line: bytes, ahead: int) -> Optional[bytes]:
        if len(line) > MAX_PLAIN or stream > MAX_SESSION:
            return None
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            return None
        if _NOT_PLAIN.search(text) or any(word in text for word in _SWALLOWED):
            return None
        offset = self._offsets.get(stream, 0) + ahead
        head = [self.session, self.rank, stream, len(line)]
        numbers = head + _digits(_sum(head, offset, line), 2) + _digits(offset, 1)
        return line + b"\x1b[%d" % _MAGIC + b"".join(b";%d" % (1000 + number) for number in numbers) + b"m\n"

    def _frames(self, stream: int, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), MAX_FRAME):
            piece = data[start : start + MAX_FRAME]
            offset = self._advance(stream, len(piece))
            text = base64.b64encode(piece).rstrip(b"=")
            check = _sum([self.session, self.rank, stream, len(piece)], offset, piece)
            yield b"~slurmsky=%d.%d.%d@%d=%08x=%s=\n" % (self.session, self.rank, stream, offset, check, text)


@dataclass
class _Stream:
    position: int = 0
    early: Dict[int, bytes] = field(default_factory=dict)  # pieces beyond a gap


@dataclass
class _Events:
    position: int = 0
    early: Dict[int, Dict[str, Any]] = field(default_factory=dict)


class Decoder:
    """Everything that a job's log says, in order and once. feed() takes it in pieces of any size.

    ``reconnect()`` is called when the log is read from its beginning again. A decoder can be made with the
    positions of an earlier one (``positions``), so that what was delivered before is not delivered again.
    """

    def __init__(self, positions: Optional[Dict[str, Any]] = None) -> None:
        self._rest = b""
        self._streams: Dict[Key, _Stream] = {}
        self._events: Dict[Tuple[int, int], _Events] = {}
        for key, position in (positions or {}).get("streams", {}).items():
            session, rank, stream = (int(part) for part in key.split("."))
            self._streams[session, rank, stream] = _Stream(position)
        for key, position in (positions or {}).get("events", {}).items():
            session, rank = (int(part) for part in key.split("."))
            self._events[session, rank] = _Events(position)

    @property
    def positions(self) -> Dict[str, Any]:
        """How far each stream and each node's events were delivered; JSON-ready."""
        return {
            "streams": {"%d.%d.%d" % key: state.position for key, state in self._streams.items()},
            "events": {"%d.%d" % key: state.position for key, state in self._events.items()},
        }

    @property
    def gaps(self) -> bool:
        """True while something has been seen that lies behind something that has not."""
        return any(state.early for state in self._streams.values()) or any(
            state.early for state in self._events.values()
        )

    def reconnect(self) -> None:
        """The log is about to be replayed: a line that was cut is forgotten, it comes whole."""
        self._rest = b""

    def feed(self, chunk: bytes) -> List[Union[Output, Event]]:
        """What the next piece of the log brings."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [item for line in lines for item in self._line(line)]

    def finish(self) -> List[Union[Output, Event]]:
        """What an unfinished last line brings, at the end of the log."""
        line, self._rest = self._rest, b""
        return list(self._line(line))

    def _line(self, line: bytes) -> Iterator[Union[Output, Event]]:
        if b"\x1b[%d;" % _MAGIC not in line and b"~slurmsky" not in line:
            return
        for mark in _MARK.finditer(line):
            numbers = [int(digits) - 1000 for digits in mark[1].split(b";")[1:]]
            session, rank, stream, length = numbers[:4]
            check, offset = _number(numbers[4:6]), _number(numbers[6:])
            start = mark.start() - length
            text = line[max(start, 0) : mark.start()]
            if start >= 0 and check == _number(_digits(_sum(numbers[:4], offset, text), 2)):
                yield from self._output((session, rank, stream), offset, text + b"\n")
        for frame in _FRAME.finditer(line):
            session, rank, stream, offset = (int(part) for part in frame.group(1, 2, 3, 4))
            try:
                data = base64.b64decode(frame[6] + b"=" * (-len(frame[6]) % 4), validate=True)
            except binascii.Error:
                continue
            if int(frame[5], 16) == _sum([session, rank, stream, len(data)], offset, data):
                yield from self._output((session, rank, stream), offset, data)
        for found in _EVENT.finditer(line):
            session, rank, seq, length = (int(part) for part in found.group(1, 2, 3, 4))
            text = line[found.start(6) : found.start(6) + length]
            if binascii.crc32(text) == int(found[5], 16) and len(text) == length:
                yield from self._event((session, rank), seq, json.loads(text))

    def _output(self, key: Key, offset: int, data: bytes) -> Iterator[Output]:
        state = self._streams.setdefault(key, _Stream())
        if len(data) > len(state.early.get(offset, b"")):
            state.early[offset] = data
        while state.early:
            offset = min(state.early)
            if offset > state.position:
                return
            new = state.early.pop(offset)[state.position - offset :]
            if new:
                yield Output(*key, state.position, new)
                state.position += len(new)

    def _event(self, key: Tuple[int, int], seq: int, body: Dict[str, Any]) -> Iterator[Event]:
        state = self._events.setdefault(key, _Events())
        if seq >= state.position:
            state.early[seq] = body
        while state.position in state.early:
            yield Event(*key, state.position, state.early.pop(state.position))
            state.position += 1


def _sum(head: List[int], offset: int, data: bytes) -> int:
    """Checksum over data and where it belongs."""
    return binascii.crc32(data, binascii.crc32(b"%d.%d.%d.%d.%d" % (*head, offset)))


def _digits(number: int, least: int) -> List[int]:
    """Digits of a number in base 9000, highest first, at least (for 2: exactly, the higher ones dropped)
    that many.
    """
    digits: List[int] = []
    while number or not digits:
        number, digit = divmod(number, _BASE)
        digits.insert(0, digit)
    return digits if least == 1 else ([0] * least + digits)[-least:]


def _number(digits: List[int]) -> int:
    value = 0
    for digit in digits:
        value = value * _BASE + digit
    return value
