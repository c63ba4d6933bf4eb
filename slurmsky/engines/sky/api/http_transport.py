"""HTTP requests over httpx: whole or streamed answers.

Connections are reused, and the environment's proxies apply. httpx is imported at the first request, because the import
is slow and a controller without SkyPilot does not need it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

CONNECT_S = 10.0
#: servers close idle connections after 5 s (uvicorn); an older idle connection is not reused
KEEP_ALIVE_S = 2.0
#: hosts never reached through a proxy
_LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")


def preload() -> None:
    """Import the slow modules of the first request in advance."""
    if "httpx" not in sys.modules:
        _forbid_imports()
    import httpx

    del httpx


def _forbid_imports() -> None:
    """Make two imports of httpx and httpcore fail immediately; both expect that.

    httpx imports rich and pygments for its command line, which take half of the time. httpcore imports sniffio, which
    anyio no longer requires, several times in each request; a missing package is searched in all folders.
    """
    for name in ("httpx._main", *(() if find_spec("sniffio") else ("sniffio",))):
        sys.modules[name] = None  # type: ignore[assignment]


class TransportError(Exception):
    """There is no valid HTTP answer, for the cause in the text. ``refused``: no server listens at the address."""

    def __init__(self, text: str, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


@dataclass
class HttpAnswer:
    """HTTP answer: status, headers (names in any case), whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class StreamedAnswer:
    """HTTP answer: status, headers, and ``chunks`` of the body."""

    status: int
    headers: Mapping[str, str]
    _response: httpx.Response = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield pieces of the body. Raises TransportError if the connection closes before the body is complete."""
        import httpx

        try:
            async for piece in self._response.aiter_bytes():
                yield piece
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise TransportError(f"the answer was cut off: {error}") from error

    async def read(self) -> bytes:
        """Read the whole body."""
        return b"".join([piece async for piece in self.chunks()])


class Transport:
    """Sends HTTP requests in one event loop.

    A GET reuses a connection of an earlier GET, and is retried if the server was closing that connection. A POST must
    not be sent twice, so each POST opens a new connection.
    """

    def __init__(self) -> None:
        self._clients: dict[tuple[str, bool], httpx.AsyncClient] = {}  # by method, and use of TLS
        self._closed = False

    def _client(self, method: str, secure: bool) -> httpx.AsyncClient:
        if (method, secure) not in self._clients:
            import httpx

            for name in ("httpx", "httpcore"):
                logging.getLogger(name).setLevel(logging.WARNING)  # otherwise httpx logs a line for each request
            kept = 10 if method == "GET" and not self._closed else 0
            self._clients[method, secure] = httpx.AsyncClient(
                # Use the system's certificates, or those of SSL_CERT_FILE, instead of those that httpx ships.
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
        """Send one request, and yield the answer after its headers.

        They must arrive within ``head_s`` seconds. Raises TransportError.
        """
        preload()
        import httpx

        parts = urlsplit(url)
        place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        client = self._client(method, parts.scheme == "https")
        # A compressed stream would be delayed by buffering.
        headers = {"Accept-Encoding": "identity", **headers}
        request = client.build_request(method, url, headers=headers, content=body if method == "POST" else None)
        try:
            try:
                response = await asyncio.wait_for(client.send(request, stream=True), CONNECT_S + head_s)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if method != "GET" or client.is_closed:
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
        """Close the open connections; later ones are not kept."""
        self._closed = True
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()


def _cause(error: BaseException) -> BaseException:
    """Return the innermost cause of an httpx error. It is the operating system's error if there is one."""
    found = error
    while True:
        inner = found.__cause__ or found.__context__
        several = getattr(inner, "exceptions", None)
        if several:
            inner = several[0]
        if inner is None:
            return found
        found = inner
