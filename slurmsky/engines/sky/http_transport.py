"""HTTP requests over httpx: answers whole or as a stream, connections that are reused, proxies of the environment.

httpx is imported with the first request: a controller without SkyPilot does not pay for it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

CONNECT_S = 10.0
#: servers close idle connections after 5 s (uvicorn); one that they are about to close is not used
KEEP_ALIVE_S = 2.0
#: never reached through a proxy
_LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")


def preload() -> None:
    """Import what the first request needs, which takes a moment."""
    import httpx

    del httpx


class TransportError(Exception):
    """No answer, or not one in HTTP; the text says what happened. ``refused``: nothing listens there."""

    def __init__(self, text: str, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


@dataclass
class Answer:
    """Status, headers (their names in any case), and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class StreamedAnswer:
    """Status and headers; ``chunks`` gives the body as it arrives."""

    status: int
    headers: Mapping[str, str]
    _response: httpx.Response = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Pieces of the body. Raises TransportError when the connection ends before the body does."""
        import httpx

        try:
            async for piece in self._response.aiter_bytes():
                yield piece
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise TransportError(f"the answer was cut off: {error}") from error

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self.chunks()])


class Transport:
    """Sends requests of one event loop.

    A GET uses the connection of an earlier one again, and is repeated where the server was just closing that. A POST
    must not be sent twice, so each has a connection of its own.
    """

    def __init__(self) -> None:
        self._clients: dict[tuple[str, bool], httpx.AsyncClient] = {}  # by method, and whether over TLS
        self._closed = False

    def _client(self, method: str, secure: bool) -> httpx.AsyncClient:
        if (method, secure) not in self._clients:
            import httpx

            for name in ("httpx", "httpcore"):
                logging.getLogger(name).setLevel(logging.WARNING)  # else a line for each request
            kept = 10 if method == "GET" and not self._closed else 0
            self._clients[method, secure] = httpx.AsyncClient(
                # The system's certificates, or those of SSL_CERT_FILE, and not the ones that httpx ships.
                verify=ssl.create_default_context() if secure else False,
                timeout=httpx.Timeout(None, connect=CONNECT_S),
                limits=httpx.Limits(
                    max_connections=None, max_keepalive_connections=kept, keepalive_expiry=KEEP_ALIVE_S
                ),
                mounts=dict.fromkeys(_LOOPBACK),
            )
        return self._clients[method, secure]

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", head_s: float = 60.0
    ) -> AsyncIterator[StreamedAnswer]:
        """Send one request; the head of its answer has arrived when the block is entered, within ``head_s`` seconds.

        Raises TransportError.
        """
        import httpx

        parts = urlsplit(url)
        place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        client = self._client(method, parts.scheme == "https")
        # Compressed streams would arrive late.
        headers = {"Accept-Encoding": "identity", **headers}
        request = client.build_request(method, url, headers=headers, content=body if method == "POST" else None)
        try:
            try:
                response = await asyncio.wait_for(client.send(request, stream=True), CONNECT_S + head_s)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if method != "GET":
                    raise
                response = await asyncio.wait_for(client.send(request, stream=True), CONNECT_S + head_s)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            cause = _cause(error)
            refused = isinstance(cause, ConnectionRefusedError)
            raise TransportError(f"cannot connect to {place}: {cause or 'no answer'}", refused) from error
        except asyncio.TimeoutError as error:
            raise TransportError(f"no answer from {place} within {head_s:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise TransportError(f"no answer from {place}: {error}") from error
        try:
            yield StreamedAnswer(response.status_code, response.headers, response)
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close the connections that are open; those of later requests are not kept."""
        self._closed = True
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()


def _cause(error: BaseException) -> BaseException:
    """The innermost cause of an error of httpx: that of the operating system where there is one."""
    found = error
    while True:
        inner = found.__cause__ or found.__context__
        several = getattr(inner, "exceptions", None)
        if several:
            inner = several[0]
        if inner is None:
            return found
        found = inner
