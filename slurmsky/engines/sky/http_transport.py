"""A small HTTP/1.1 client on asyncio: one request per connection, answers whole or as a stream.

The standard library has none that does not block; one thread per followed log would not do for hundreds of
jobs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import SplitResult

MAX_HEAD = 64 * 1024


class TransportError(Exception):
    """No answer, or not one in HTTP; the text says what happened."""


@dataclass
class Answer:
    """Status, headers in lower case, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class StreamedAnswer:
    """Status and headers; ``chunks`` gives the body as it comes."""

    status: int
    headers: Mapping[str, str]
    _reader: asyncio.StreamReader = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Pieces of the body. Raises TransportError when the connection ends before the body does."""
        try:
            async for piece in self._pieces():
                yield piece
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise TransportError(f"the answer was cut off: {error}") from error

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.chunks()])

    async def _pieces(self) -> AsyncIterator[bytes]:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
                while size:
                    piece = await self._reader.read(min(size, 65536))
                    if not piece:
                        raise TransportError("the answer was cut off")
                    size -= len(piece)
                    yield piece
                await self._reader.readexactly(2)
        elif "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left:
                piece = await self._reader.read(min(left, 65536))
                if not piece:
                    raise TransportError("the answer was cut off")
                left -= len(piece)
                yield piece
        else:
            while piece := await self._reader.read(65536):
                yield piece


@asynccontextmanager
async def request(
    url: SplitResult,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    connect_s: float = 10.0,
    head_s: float | None = 60.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[StreamedAnswer]:
    """Send one request; the answer's head has come when the block is entered, within ``head_s`` seconds."""
    secure = url.scheme == "https"
    host = url.hostname or "127.0.0.1"
    port = url.port or (443 if secure else 80)
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(
                host, port, ssl=(tls or ssl.create_default_context()) if secure else None, limit=MAX_HEAD
            ),
            connect_s,
        )
    except (OSError, asyncio.TimeoutError) as error:
        raise TransportError(f"cannot connect to {host}:{port}: {error or 'no answer'}") from error
    try:
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {url.netloc.rpartition('@')[2]}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            await writer.drain()
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), head_s)
        except asyncio.TimeoutError as error:
            raise TransportError(f"no answer from {host}:{port} within {head_s} s") from error
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise TransportError(f"no answer from {host}:{port}: {error}") from error
        yield StreamedAnswer(*_head(head), reader)
    finally:
        writer.close()


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    first, *rest = raw.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise TransportError(f"not an HTTP answer: {first[:80]!r}")
    headers = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers
