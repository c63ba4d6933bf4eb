"""Sends thousands of queries over connections of this process.

A shell and a client for each query would be slower.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from polling import PATIENCE_S

from slurmsky.protocol import wire

ASK = {"squeue", "sinfo", "sacct", "sprio", "sshare"}  # commands that only read
_PIECE = re.compile(r"""(?P<blank>[ ]+) | '(?P<quoted>[^']*)' | \$(?:(?P<name>\w+)|\{(?P<braced>\w+)\})
                      | (?P<plain>[\w@%+=:,./^\[\]-]+)""", re.VERBOSE)  # fmt: skip


def words(line: str, env: Mapping[str, str]) -> list[str] | None:
    """The words of a query's shell line; None: a shell must run it."""
    found, position, inside = [""], 0, False
    while position < len(line):
        piece = _PIECE.match(line, position)
        if piece is None:
            return None
        position = piece.end()
        if piece["blank"]:
            found += [""] if inside else []
            inside = False
            continue
        name, inside = piece["name"] or piece["braced"], True
        if name and name not in env:
            return None
        found[-1] += env[name] if name else piece["quoted"] or piece["plain"] or ""
    found = found if inside else found[:-1]
    reads = (found[:1] and found[0] in ASK) or found[:2] == ["scontrol", "show"]
    return found if reads else None


def ask(argv: list[str], folder: Path, env: Mapping[str, str]) -> tuple[bytes, bytes, int] | None:
    """A query's output and exit code; None: a client must send it."""
    request = wire.CommandRequest(
        argv[0], tuple(argv[1:]), str(folder), 0o022, (False, False, False), None, os.getpid(), env
    )
    reader, out, err = wire.FrameReader(), b"", b""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE_S)
        try:
            sock.connect(f"{env['SLURMSKY_HOME']}/controller.sock")
        except OSError:
            return None  # no controller yet
        sock.sendall(wire.encode(wire.REQUEST, request.to_payload()))
        while data := sock.recv(1 << 18):
            for frame in reader.feed(data):
                if frame.kind == wire.STDOUT:
                    out += frame.payload
                elif frame.kind == wire.STDERR:
                    err += frame.payload
                elif frame.kind == wire.EXIT:
                    return out, err, int(frame.payload) & 0xFF
                else:
                    return None  # the answer is another server's, or the controller leaves
    raise wire.WireError(f"{argv}: no exit code")
