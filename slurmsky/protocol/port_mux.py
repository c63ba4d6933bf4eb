"""Multiplexes TCP connections over one pair of byte streams.

Both ends of ``slurmsky tunnel`` run this module. The near end listens and sends OPEN for each connection; the far end,
``python3 -c SOURCE PORT`` as a step on the job's node, connects to the port there. Each direction of a connection has a
window, so that a slow reader does not block other connections. Standard library, Python 3.9; the module imports no
other module of slurmsky, because the near end sends this module's source to the node.
"""

import asyncio
import socket
import struct
import sys
from typing import Dict, Optional, Tuple

#: connection, kind, length of the payload
HEAD = struct.Struct("!IBI")
READY, OPEN, DATA, GRANT, CLOSE = range(5)
#: bytes in one direction of a connection that may be in transit
WINDOW = 1 << 20
_PIECE = 1 << 16


class Connection:
    """A TCP connection: data to write, and credit to send."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.arrived: asyncio.Queue[Optional[bytes]] = asyncio.Queue()
        self.credit = WINDOW
        self.granted = asyncio.Event()


class Mux:
    """One end of the multiplexer. ``port``: the port to which the far end connects; 0 at the near end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = 0) -> None:
        self._reader = reader
        self._writer = writer
        self._port = port
        self._connections: Dict[int, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next = 1
        #: the far end's READY frame: host name, whether the port accepts connections
        self.ready: asyncio.Future[Tuple[str, bool]] = asyncio.get_running_loop().create_future()

    async def _send(self, number: int, kind: int, payload: bytes = b"") -> None:
        self._writer.write(HEAD.pack(number, kind, len(payload)) + payload)
        await self._writer.drain()

    async def run(self) -> None:
        """Handle frames until the other end closes the streams."""
        try:
            while True:
                number, kind, length = HEAD.unpack(await self._reader.readexactly(HEAD.size))
                payload = await self._reader.readexactly(length)
                if kind == READY:
                    self.ready.set_result((payload[1:].decode(errors="replace"), payload[:1] == b"1"))
                elif kind == OPEN:
                    self._spawn(self._dial(self._known(number)))
                elif number in self._connections:
                    self._take(self._connections[number], kind, payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            for task in list(self._tasks):
                task.cancel()

    def _take(self, connection: Connection, kind: int, payload: bytes) -> None:
        if kind == DATA:
            connection.arrived.put_nowait(payload)
        elif kind == CLOSE:
            connection.arrived.put_nowait(None)
        elif kind == GRANT:
            connection.credit += int.from_bytes(payload, "big")
            connection.granted.set()

    def _known(self, number: int) -> Connection:
        found = self._connections[number] = Connection(number)
        return found

    def _spawn(self, work: "asyncio.coroutines.Coroutine[object, object, None]") -> None:  # type: ignore[name-defined]
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection to the local port (near end)."""
        connection = self._known(self._next)
        self._next += 1
        await self._send(connection.number, OPEN)
        await self._carry(connection, reader, writer)

    async def _dial(self, connection: Connection) -> None:
        """Connect to the port on this machine (far end)."""
        found = await dial(self._port)
        if found is None:
            self._connections.pop(connection.number, None)
            await self._send(connection.number, CLOSE)
            return
        await self._carry(connection, *found)

    async def _carry(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.gather(self._inwards(connection, reader), self._outwards(connection, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.pop(connection.number, None)
            writer.close()

    async def _inwards(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        """Copy data from the TCP connection to the other end."""
        try:
            while True:
                while connection.credit <= 0:
                    connection.granted.clear()
                    await connection.granted.wait()
                data = await reader.read(min(_PIECE, connection.credit))
                if not data:
                    return
                connection.credit -= len(data)
                await self._send(connection.number, DATA, data)
        except ConnectionError:
            return
        finally:
            await self._send(connection.number, CLOSE)

    async def _outwards(self, connection: Connection, writer: asyncio.StreamWriter) -> None:
        """Copy data from the other end to the TCP connection."""
        while True:
            data = await connection.arrived.get()
            if data is None:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
            await self._send(connection.number, GRANT, len(data).to_bytes(4, "big"))


async def dial(port: int) -> "Optional[Tuple[asyncio.StreamReader, asyncio.StreamWriter]]":
    """Connect to a port of this machine; on loopback or the host's address. None: no listener."""
    for host in ("127.0.0.1", "::1", socket.gethostname()):
        try:
            return await asyncio.open_connection(host, port)
        except OSError:
            continue
    return None


async def far_end(port: int) -> None:
    """Run the far end over standard input and output."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout.buffer)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    found = await dial(port)
    if found is not None:
        found[1].close()
    hello = (b"1" if found else b"0") + socket.gethostname().encode()
    writer.write(HEAD.pack(0, READY, len(hello)) + hello)
    await Mux(reader, writer, port).run()


if __name__ == "__main__":
    asyncio.run(far_end(int(sys.argv[1])))
