"""The two PMI wire protocols as text: what a client sends, what a server answers. Pure.

PMI-1 is lines of ``key=value`` words; PMI-2 is six digits of length and ``key=value;`` pairs. Every
connection opens with PMI-1's ``cmd=init``, which says the version of all that follows. Sources: MPICH's
description of its "simple" PMI and of the PMI-2 wire protocol.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Sequence, Tuple

#: what a client may send at once; a put is at most 1.4 KB, a spawn with all its arguments more
MAX_REQUEST = 1 << 20
_LENGTH_DIGITS = 6

Pairs = Sequence[Tuple[str, str]]


class PmiError(ValueError):
    """What the client sent is neither protocol."""


class PmiRequest(NamedTuple):
    """One command with its arguments."""

    command: str
    fields: dict[str, str]


class PmiReader:
    """Bytes in, requests out. ``version`` is 1 until the server sets it."""

    def __init__(self) -> None:
        self.version = 1
        self._data = b""

    def feed(self, data: bytes) -> Iterator[PmiRequest]:
        """The requests that are complete now. Raises PmiError."""
        self._data += data
        while True:
            # The version may change between two requests of one read.
            request = self._line() if self.version == 1 else self._counted()
            if request is None:
                if len(self._data) > MAX_REQUEST:
                    raise PmiError("request of more than %d bytes" % MAX_REQUEST)
                return
            yield request

    def _line(self) -> PmiRequest | None:
        if self._data.startswith(b"mcmd="):
            # A command of many lines, which ends with "endcmd".
            block, end, rest = self._data.partition(b"endcmd\n")
            if not end:
                return None
            self._data = rest
            fields = _words(block.decode("latin-1").split("\n"))
            return PmiRequest(fields.pop("mcmd", ""), fields)
        line, end, rest = self._data.partition(b"\n")
        if not end:
            return None
        self._data = rest
        fields = _words(line.decode("latin-1").split())
        return PmiRequest(fields.pop("cmd", ""), fields)

    def _counted(self) -> PmiRequest | None:
        if len(self._data) < _LENGTH_DIGITS:
            return None
        digits = self._data[:_LENGTH_DIGITS].strip()
        if not digits.isdigit():
            raise PmiError("length %r" % self._data[:_LENGTH_DIGITS])
        end = _LENGTH_DIGITS + int(digits)
        if len(self._data) < end:
            return None
        text, self._data = self._data[_LENGTH_DIGITS:end].decode("latin-1"), self._data[end:]
        fields = _words(_unescaped(text))
        return PmiRequest(fields.pop("cmd", ""), fields)


def _words(words: Sequence[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words if "=" in word)


def _unescaped(text: str) -> list[str]:
    # A semicolon in a value is doubled.
    words = text.replace(";;", "\0").split(";")
    return [word.replace("\0", ";") for word in words]


def line(command: str, pairs: Pairs) -> bytes:
    """A PMI-1 answer.

    >>> line("barrier_out", [("rc", "0")])
    b'cmd=barrier_out rc=0\\n'
    """
    return (" ".join("%s=%s" % pair for pair in [("cmd", command), *pairs]) + "\n").encode("latin-1")


def counted(command: str, pairs: Pairs) -> bytes:
    """A PMI-2 answer.

    >>> counted("kvs-fence-response", [("rc", "0")])
    b'    28cmd=kvs-fence-response;rc=0;'
    """
    text = "".join("%s=%s;" % (key, value.replace(";", ";;")) for key, value in [("cmd", command), *pairs])
    body = text.encode("latin-1")
    return b"%6d" % len(body) + body


def process_mapping(ranks: Sequence[Sequence[int]]) -> str:
    """``PMI_process_mapping``: which node each rank is on, as blocks (first node, nodes, ranks on each).

    >>> process_mapping([[0, 1], [2, 3]]), process_mapping([[0, 2, 3], [1]])
    ('(vector,(0,2,2))', '(vector,(0,2,1),(0,1,2))')
    """
    node_of = {rank: node for node, here in enumerate(ranks) for rank in here}
    runs: list[list[int]] = []  # node, ranks in a row
    for rank in range(len(node_of)):
        if runs and runs[-1][0] == node_of[rank]:
            runs[-1][1] += 1
        else:
            runs.append([node_of[rank], 1])
    blocks: list[list[int]] = []
    for node, count in runs:
        last = blocks[-1] if blocks else None
        if last and last[2] == count and last[0] + last[1] == node:
            last[1] += 1
        else:
            blocks.append([node, 1, count])
    return "(vector,%s)" % ",".join("(%d,%d,%d)" % tuple(block) for block in blocks)
