"""Replaces ssh and sky: ``ssh -N -L SOCKET:HOST:PORT CLUSTER`` forwards on this machine; ``sky`` does nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
from pathlib import Path


def install(folder: Path) -> None:
    """Write the two programs into a folder for PATH."""
    folder.mkdir()
    for name, line in {"ssh": f'exec "{sys.executable}" "{__file__}" "$@"', "sky": "exit 0"}.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)


async def forward(path: str, host: str, port: int) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async with await asyncio.start_unix_server(serve, path) as server:
        await server.serve_forever()


if __name__ == "__main__":
    socket, host, port = sys.argv[sys.argv.index("-L") + 1].rsplit(":", 2)
    os.umask(0o077)
    asyncio.run(forward(socket, host, int(port)))
