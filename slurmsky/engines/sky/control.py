"""Connections to a running job's first node, straight over TLS with the job's certificate, where it can be
reached.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

CONNECT_S = 5.0
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NoControl(Exception):
    """The node cannot be reached from here, or did not answer."""


async def open_line(address: str, certificates: Path, hello: dict[str, Any]) -> Line:
    """A connection that the node has welcomed. Raises NoControl."""
    if not address:
        raise NoControl("the node has told no address")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(certificates / "ca.crt"))
    context.check_hostname = False  # nodes have whatever address the cloud gave them
    context.load_cert_chain(certificates / "node.crt", certificates / "node.key")
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(host.strip("[]"), int(port), ssl=context, server_hostname=host), CONNECT_S
        )
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise NoControl(f"{address}: {error or 'no answer'}") from error
    try:
        await exchange((reader, writer), hello)
    except BaseException as error:  # a cancelled wait closes it too
        writer.close()
        if isinstance(error, NoControl):
            raise NoControl(f"{address}: {error}") from error
        raise
    return reader, writer


async def exchange(line: Line, message: dict[str, Any]) -> dict[str, Any]:
    """Send one object, get one. Raises NoControl."""
    reader, writer = line
    try:
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()
        answer = json.loads(await asyncio.wait_for(reader.readline(), CONNECT_S) or b"null")
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise NoControl(str(error) or "no answer") from error
    if not isinstance(answer, dict):
        raise NoControl("it closed the connection")
    return answer


async def send(address: str, certificates: Path, message: dict[str, Any]) -> None:
    """Send one request and wait until the node has taken it. Raises NoControl."""
    line = await open_line(address, certificates, {"role": "controller"})
    try:
        await exchange(line, message)
    finally:
        line[1].close()
