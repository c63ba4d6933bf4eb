"""Exact bytes and authenticated events in a lossy text log.

SkyPilot's log of a job is text: lines get a prefix, ``\\r`` becomes ``\\n``, bytes that are not UTF-8 become
U+FFFD, stdout and stderr are mixed, and every reconnection starts from the beginning. Other processes of the node
and other users may write to the log, too. A node therefore writes three kinds of lines:

* a *plain* line, for each line of ordinary text: the unchanged text, followed by a mark that terminals do not
  show, an SGR sequence of numbers that no terminal knows. The mark holds the session, the rank, the stream, the
  text's length, a tag and the offset, so that the decoder cuts off any text before the line and after the mark;
* a *framed* line for all other output (pieces without a newline, control characters, bytes that are not UTF-8,
  very long lines): ``~slurmsky=stream@offset=tag=base64=``;
* an *event* line, one JSON object: ``~slurmsky!seq...=tag={...}=``.

A session is one run of the job on the nodes (a recovery starts another); within a session each node (rank) numbers
its own streams and events. The decoder returns each stream's bytes and each node's events in order and once, although
lines are replayed, cut, repeated or mixed with other lines.

A tag is a keyed BLAKE2b hash (RFC 7693) of the content and of its place: kind, session, rank, stream or sequence
number, offset and length. Each job has its own key, so a line of another job, run or place does not verify, and a
repeated line is a duplicate. Tags are cut to 52 bits in marks and 64 bits elsewhere: to forge one line takes 2**51
attempts, each of which must be a line of the log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from heapq import heappop, heappush
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

MAX_PLAIN = 4000  # bytes of text in a plain line
MAX_FRAME = 12 * 1024  # bytes of data in a framed line; base64 makes 16 KiB of it
MAX_LINE = 4 << 20  # bytes; the decoder skips longer lines, which no encoder writes
MAX_SESSION = 8999

_BASE = 9000  # digits of numbers in a mark are written as 1000..9999, unlike all SGR codes in use
_MAGIC = 7355
_MARK_START = b"\x1b[%d;" % _MAGIC
# session, rank, stream, length, four digits of the tag, up to five of the offset
_MARK = re.compile(rb"\x1b\[%d((?:;[1-9]\d{3}){9,13})m" % _MAGIC)
_TAGS = _BASE**4  # number of different tags that a mark can hold
_FRAME = re.compile(rb"~slurmsky=(\d{1,4})\.(\d{1,4})\.(\d{1,9})@(\d{1,18})=([0-9a-f]{16})=([A-Za-z0-9+/]{0,16384})=")
EVENT = b"~slurmsky!"  # start of an event's line
_NODE_NAME = b"\x1b[36m("  # start of a line in SkyPilot's log of several nodes (backends/task_codegen.py)
_EVENT = re.compile(rb"~slurmsky!(\d{1,4})\.(\d{1,4})\.(\d{1,18})\.(\d{1,7})=([0-9a-f]{16})=(\{)")

# Text that cannot be a plain line: control characters except tab and escape, the separators at which a reader in
# Python might split lines (str.splitlines), and text that resembles our marks and frames.
_NOT_PLAIN = re.compile(
    "[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029\ufffd\ufeff]|~slurmsky[=!]|\x1b\\[%d" % _MAGIC
)
# SkyPilot's log reader drops the first two lines and interprets the third as its control line (skylet/log_lib.py).
_SWALLOWED = ("bash: cannot set terminal process group", "bash: no job control in this shell", "<sky-payload")

Key = Tuple[int, int, int]  # session, rank, stream


class Output(NamedTuple):
    """Bytes of a stream, without gaps or overlaps."""

    session: int
    rank: int
    stream: int
    offset: int
    data: bytes


class LogEvent(NamedTuple):
    """An event of a node."""

    session: int
    rank: int
    seq: int
    body: Dict[str, Any]


Item = Union[Output, LogEvent]


def log_key(secret: bytes) -> bytes:
    """Derive the log's key from the secret shipped with the job."""
    return hmac.digest(secret, b"log", "sha256")


class _Tags:
    """Tags of one job's log, with a hash for each content type."""

    def __init__(self, key: bytes) -> None:
        line, data, event = (
            hashlib.blake2b(key=key, digest_size=8, person=person) for person in (b"line", b"data", b"event")
        )
        self._line, self._data, self._event = line, data, event

    def line(self, session: int, rank: int, stream: int, offset: int, text: bytes) -> int:
        """Return the tag of a plain line, as its mark's number."""
        state = self._line.copy()
        state.update(b"%d.%d.%d.%d.%d:%b" % (session, rank, stream, offset, len(text), text))
        return int.from_bytes(state.digest(), "big") % _TAGS

    def data(self, session: int, rank: int, stream: int, offset: int, data: bytes) -> bytes:
        """Return the tag of a framed line, in hexadecimal."""
        state = self._data.copy()
        state.update(b"%d.%d.%d.%d.%d:%b" % (session, rank, stream, offset, len(data), data))
        return binascii.hexlify(state.digest())

    def event(self, session: int, rank: int, seq: int, text: bytes) -> bytes:
        """Return the tag of an event, in hexadecimal."""
        state = self._event.copy()
        state.update(b"%d.%d.%d.%d:%b" % (session, rank, seq, len(text), text))
        return binascii.hexlify(state.digest())


class Encoder:
    """Encodes the streams and events of one node in one session.

    The caller writes the returned bytes to the log unchanged. ``key``: the job's ``log_key``; ``seq``: the next event's
    number.
    """

    def __init__(self, session: int, rank: int, key: bytes, seq: int = 0) -> None:
        if not (0 <= session <= MAX_SESSION and 0 <= rank <= MAX_SESSION):
            raise ValueError((session, rank))
        self.session, self.rank = session, rank
        self._tags = _Tags(key)
        self._seq = seq
        self._offsets: Dict[int, int] = {}
        self._pending: Dict[int, bytes] = {}

    def data(self, stream: int, data: bytes) -> bytes:
        """Return log lines for the next bytes of a stream. An unfinished line is held until its newline or flush()."""
        data = self._pending.pop(stream, b"") + data
        *lines, rest = data.split(b"\n")
        out: List[bytes] = []
        framed: List[bytes] = []  # adjacent lines that cannot be plain share frames
        for line in lines:
            if not _is_plain(line) or stream > MAX_SESSION:
                framed.append(line + b"\n")
                continue
            if framed:
                out.extend(self._frames(stream, b"".join(framed)))
                framed.clear()
            out.append(self._plain(stream, line))
        out.extend(self._frames(stream, b"".join(framed)))
        if len(rest) >= MAX_FRAME:
            whole = len(rest) - len(rest) % MAX_FRAME
            out.extend(self._frames(stream, rest[:whole]))
            rest = rest[whole:]
        if rest:
            self._pending[stream] = rest
        return b"".join(out)

    def flush(self, stream: Optional[int] = None) -> bytes:
        """Return log lines for the held unfinished lines, of one stream or of all."""
        streams = list(self._pending) if stream is None else [stream]
        return b"".join(line for number in streams for line in self._frames(number, self._pending.pop(number, b"")))

    def event(self, body: Dict[str, Any]) -> bytes:
        """Return the log line of an event."""
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode("ascii")
        # json leaves DEL unescaped, the only character of its output that a log viewer might alter
        text = text.replace(b"\x7f", b"\\u007f")
        place = self.session, self.rank, self._seq
        line = b"~slurmsky!%d.%d.%d.%d=%b=%b=\n" % (*place, len(text), self._tags.event(*place, text), text)
        self._seq += 1
        return line

    def _advance(self, stream: int, length: int) -> int:
        offset = self._offsets.get(stream, 0)
        self._offsets[stream] = offset + length
        return offset

    def _plain(self, stream: int, line: bytes) -> bytes:
        offset = self._advance(stream, len(line) + 1)
        tag = self._tags.line(self.session, self.rank, stream, offset, line)
        high, low = divmod(tag, _BASE * _BASE)
        return b"%b\x1b[%d;%d;%d;%d;%d;%d;%d;%d;%d%bm\n" % (
            line,
            _MAGIC,
            1000 + self.session,
            1000 + self.rank,
            1000 + stream,
            1000 + len(line),
            1000 + high // _BASE,
            1000 + high % _BASE,
            1000 + low // _BASE,
            1000 + low % _BASE,
            _digits(offset),
        )

    def _frames(self, stream: int, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), MAX_FRAME):
            piece = data[start : start + MAX_FRAME]
            place = self.session, self.rank, stream, self._advance(stream, len(piece))
            text = base64.b64encode(piece).rstrip(b"=")
            yield b"~slurmsky=%d.%d.%d@%d=%b=%b=\n" % (*place, self._tags.data(*place, piece), text)


class _Stream:
    __slots__ = ("early", "position", "starts")

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.early: Dict[int, bytes] = {}  # pieces beyond a gap, by offset
        self.starts: List[int] = []  # offsets of those pieces, a heap


class _Events:
    __slots__ = ("early", "position")

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.early: Dict[int, Dict[str, Any]] = {}


class Decoder:
    """Decodes the output and events of a job's log, in order and once.

    ``key``: the job's ``log_key``. The caller calls ``reconnect()`` when it reads the log from the beginning again. A
    decoder that gets the ``positions`` of an earlier decoder does not return items that the earlier one returned.

    SkyPilot writes the log in blocks: a line of one node can be inside a line of another node, whose rest follows as a
    line without the node's name. Such a line is joined and verified by its tag.
    """

    def __init__(self, key: bytes, positions: Optional[Dict[str, Any]] = None) -> None:
        self._tags = _Tags(key)
        self._pieces: List[bytes] = []  # pieces of an unfinished line
        self._held = 0
        self._skipping = False  # the unfinished line is too long to be from an encoder
        self._torn = b""  # start of a line that another node's line interrupts
        self._streams: Dict[Key, _Stream] = {}
        self._events: Dict[Tuple[int, int], _Events] = {}
        for key_text, position in (positions or {}).get("streams", {}).items():
            session, rank, stream = (int(part) for part in key_text.split("."))
            self._streams[session, rank, stream] = _Stream(position)
        for key_text, position in (positions or {}).get("events", {}).items():
            session, rank = (int(part) for part in key_text.split("."))
            self._events[session, rank] = _Events(position)

    @property
    def positions(self) -> Dict[str, Any]:
        """Positions up to which items were returned; JSON-ready."""
        return {
            "streams": {"%d.%d.%d" % key: state.position for key, state in self._streams.items()},
            "events": {"%d.%d" % key: state.position for key, state in self._events.items()},
        }

    @property
    def gaps(self) -> bool:
        """True if items have arrived whose predecessors are missing."""
        return any(state.early for state in self._streams.values()) or any(
            state.early for state in self._events.values()
        )

    def reconnect(self) -> None:
        """Discard an unfinished line before a replay of the log. The replay contains the whole line."""
        self._pieces, self._held, self._skipping, self._torn = [], 0, False, b""

    def feed(self, chunk: bytes) -> List[Item]:
        """Decode the next piece of the log; return the completed items."""
        *lines, rest = chunk.split(b"\n")
        items: List[Item] = []
        if lines:
            if self._pieces or self._skipping:
                lines[0] = b"" if self._skipping else b"".join([*self._pieces, lines[0]])
                self._pieces, self._held, self._skipping = [], 0, False
            for line in lines:
                if _MARK_START in line or b"~slurmsky" in line or self._torn:
                    self._join(line, items)
        if rest and not self._skipping:
            self._pieces.append(rest)
            self._held += len(rest)
            if self._held > MAX_LINE:
                self._pieces.clear()
                self._skipping = True
        return _joined(items) if len(items) > 1 else items

    def finish(self) -> List[Item]:
        """Decode an unfinished last line at the end of the log."""
        line = b"".join(self._pieces)
        self._pieces, self._held, self._skipping = [], 0, False
        items: List[Item] = []
        self._join(line, items)
        return _joined(items)

    def _join(self, line: bytes, items: List[Item]) -> None:
        """Decode a line. Another node's line can interrupt a line; its parts are joined."""
        if self._torn and not line.startswith(_NODE_NAME):
            line, self._torn = self._torn + line, b""
        self._line(line, items)
        cut = line.find(_NODE_NAME, 1)
        if cut > 0:
            self._torn = line[:cut]

    def _line(self, line: bytes, items: List[Item]) -> None:
        tags = self._tags
        for mark in _MARK.finditer(line):
            numbers = [int(digits) - 1000 for digits in mark[1][1:].split(b";")]
            session, rank, stream, length, tag1, tag2, tag3, tag4 = numbers[:8]
            offset = 0
            for digit in numbers[8:]:
                offset = offset * _BASE + digit
            end = mark.start()
            if length > end or length > MAX_PLAIN:
                continue
            text = line[end - length : end]
            tag = ((tag1 * _BASE + tag2) * _BASE + tag3) * _BASE + tag4
            if tag == tags.line(session, rank, stream, offset, text):
                self._output((session, rank, stream), offset, text + b"\n", items)
        if b"~slurmsky" not in line:
            return
        for frame in _FRAME.finditer(line):
            session, rank, stream, offset = (int(part) for part in frame.group(1, 2, 3, 4))
            try:
                data = base64.b64decode(frame[6] + b"=" * (-len(frame[6]) % 4), validate=True)
            except binascii.Error:
                continue
            if hmac.compare_digest(frame[5], tags.data(session, rank, stream, offset, data)):
                self._output((session, rank, stream), offset, data, items)
        for found in _EVENT.finditer(line):
            session, rank, seq, length = (int(part) for part in found.group(1, 2, 3, 4))
            text = line[found.start(6) : found.start(6) + length]
            if len(text) == length and hmac.compare_digest(found[5], tags.event(session, rank, seq, text)):
                self._event((session, rank), seq, text, items)

    def _output(self, key: Key, offset: int, data: bytes, items: List[Item]) -> None:
        state = self._streams.get(key)
        if state is None:
            state = self._streams[key] = _Stream()
        if offset + len(data) <= state.position:
            return  # a replay
        if offset > state.position:
            if offset not in state.early:
                heappush(state.starts, offset)
            if len(data) > len(state.early.get(offset, b"")):
                state.early[offset] = data
            return
        while True:
            new = data[state.position - offset :]
            if new:
                items.append(Output(*key, state.position, new))
                state.position += len(new)
            if not state.starts or state.starts[0] > state.position:
                return
            offset = heappop(state.starts)
            data = state.early.pop(offset)

    def _event(self, key: Tuple[int, int], seq: int, text: bytes, items: List[Item]) -> None:
        state = self._events.get(key)
        if state is None:
            state = self._events[key] = _Events()
        if seq >= state.position:
            state.early[seq] = json.loads(text)
        while state.position in state.early:
            items.append(LogEvent(*key, state.position, state.early.pop(state.position)))
            state.position += 1


def _joined(items: List[Item]) -> List[Item]:
    """Merge adjacent pieces of one stream."""
    out: List[Item] = []
    pieces: List[bytes] = []
    first: Optional[Output] = None
    for item in [*items, None]:
        if first is not None and isinstance(item, Output) and item[:3] == first[:3]:
            pieces.append(item.data)
            continue
        if first is not None:
            out.append(first if len(pieces) == 1 else first._replace(data=b"".join(pieces)))
            first = None
        if isinstance(item, Output):
            first, pieces = item, [item.data]
        elif item is not None:
            out.append(item)
    return out


def _is_plain(line: bytes) -> bool:
    """True if a line's text can be logged unchanged."""
    if len(line) > MAX_PLAIN:
        return False
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not (_NOT_PLAIN.search(text) or any(word in text for word in _SWALLOWED))


def _digits(number: int) -> bytes:
    """Encode a number as digits of a mark, highest first."""
    text = b""
    while number >= _BASE:
        number, digit = divmod(number, _BASE)
        text = b";%d%b" % (1000 + digit, text)
    return b";%d%b" % (1000 + number, text)
