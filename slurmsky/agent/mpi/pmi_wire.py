"""Codec of the PMI-1 and PMI-2 wire protocols.

Pure functions. PMI-1 has lines of ``key=value`` words; PMI-2 has six digits of length and ``key=value;`` pairs. Every
connection starts with PMI-1's ``cmd=init``, which gives the version of all later messages. Sources: MPICH's description
of its "simple" PMI and of the PMI-2 wire protocol.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Sequence, Tuple

#: largest size of a request; a put has at most 1.4 KB, a spawn with its arguments more
MAX_REQUEST = 1 << 20
_LENGTH_DIGITS = 6

Pairs = Sequence[Tuple[str, str]]


class PmiError(ValueError):
    """The client's bytes follow neither protocol."""


class PmiRequest(NamedTuple):
    """One command with its arguments."""

    command: str
    fields: dict[str, str]


class PmiReader:
    """Assembles requests from received bytes. ``version`` is 1 until the server sets it."""

    def __init__(self) -> None:
        self.version = 1
        self._data = b""

    def feed(self, data: bytes) -> Iterator[PmiRequest]:
        """Yield the requests that ``data`` completes. Raises PmiError."""
        self._data += data
        while True:
            # The version may change between two requests that arrive together.
            request = self._line() if self.version == 1 else self._counted()
            if request is None:
                if len(self._data) > MAX_REQUEST:
                    raise PmiError("request of more than %d bytes" % MAX_REQUEST)
                return
            yield request

    def _line(self) -> PmiRequest | None:
        if self._data.startswith(b"mcmd="):
            # A multi-line command ends with "endcmd".
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
    """Encode a PMI-1 reply.

    >>> line("barrier_out", [("rc", "0")])
    b'cmd=barrier_out rc=0\\n'
    """
    return (" ".join("%s=%s" % pair for pair in [("cmd", command), *pairs]) + "\n").encode("latin-1")


def counted(command: str, pairs: Pairs) -> bytes:
    """Encode a PMI-2 reply.

    >>> counted("kvs-fence-response", [("rc", "0")])
    b'    28cmd=kvs-fence-response;rc=0;'
    """
    text = "".join("%s=%s;" % (key, value.replace(";", ";;")) for key, value in [("cmd", command), *pairs])
    body = text.encode("latin-1")
    return b"%6d" % len(body) + body


def process_mapping(ranks: Sequence[Sequence[int]]) -> str:
    """``PMI_process_mapping``: blocks of (first node, nodes, ranks on each).

    >>> process_mapping([[0, 1], [2, 3]]), process_mapping([[0, 2, 3], [1]])
    ('(vector,(0,2,2))', '(vector,(0,2,1),(0,1,2))')
    """
    node_of = {rank: node for node, here in enumerate(ranks) for rank in here}
    runs: list[list[int]] = []  # [node, number of consecutive ranks]
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
