"""Direct TLS connections to a running job's first node, with the job's certificate."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ...protocol.messages import AgentRequest

CONNECT_S = 5.0
ANSWER_S = 15.0
UNIX = "unix:"
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
#: opens a connection with the given hello; raises HeadUnreachable
OpenLine = Callable[[dict[str, Any]], Awaitable[Line]]


class HeadUnreachable(Exception):
    """The node is unreachable from here, or did not answer."""


async def open_line(address: str, certificates: Path, hello: dict[str, Any]) -> Line:
    """Open a connection and wait for the node's welcome.

    ``address``: host:port, or unix:/path of a tunnel to the node. Raises HeadUnreachable.
    """
    if not address:
        raise HeadUnreachable("the node has reported no address")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(certificates / "ca.crt"))
    context.check_hostname = False  # a node has an arbitrary address, which the cloud assigned
    context.load_cert_chain(certificates / "node.crt", certificates / "node.key")
    host, _, port = address.rpartition(":")
    try:
        if address.startswith(UNIX):
            connecting = asyncio.open_unix_connection(address[len(UNIX) :], ssl=context, server_hostname="node")
            patience = ANSWER_S  # the tunnel needs time to connect to the node
        else:
            connecting = asyncio.open_connection(host.strip("[]"), int(port), ssl=context, server_hostname=host)
            patience = CONNECT_S
        reader, writer = await asyncio.wait_for(connecting, patience)
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise HeadUnreachable(f"{address}: {str(error) or 'no answer'}") from error
    try:
        await exchange((reader, writer), hello)
    except BaseException as error:  # a cancelled wait also closes the connection
        hang_up((reader, writer))
        if isinstance(error, HeadUnreachable):
            raise HeadUnreachable(f"{address}: {error}") from error
        raise
    return reader, writer


def hang_up(line: Line) -> None:
    """Abort an idle connection at once. TLS's closing handshake may last longer than the event loop."""
    line[1].transport.abort()


async def exchange(line: Line, message: dict[str, Any]) -> dict[str, Any]:
    """Send one object and receive one. Raises HeadUnreachable."""
    reader, writer = line
    try:
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()
        answer = json.loads(await asyncio.wait_for(reader.readline(), ANSWER_S) or b"null")
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise HeadUnreachable(str(error) or "no answer") from error
    if not isinstance(answer, dict):
        raise HeadUnreachable("it closed the connection")
    return answer


async def send(open_one: OpenLine, request: AgentRequest) -> None:
    """Send one request and wait for its acknowledgement. Raises HeadUnreachable."""
    line = await open_one({"role": "controller"})
    try:
        await exchange(line, request.encode())
    finally:
        hang_up(line)
