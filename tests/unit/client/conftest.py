"""A server at the clients' socket, and clients in the background."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from thin_client import Peer, Server, argv


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server at the place where clients with SLURMSKY_HOME=tmp_path look."""
    servers: list[Server] = []

    def start(*plays: Callable[[Peer], object], path: Path = tmp_path / "controller.sock") -> Server:
        servers.append(Server(path, *plays))
        return servers[-1]

    yield start
    for server in servers:
        server.finish()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a client in the background; killed at the end if it still runs."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **options: object) -> subprocess.Popen[bytes]:
        settings: dict[str, object] = {
            "env": {"SLURMSKY_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        processes.append(subprocess.Popen(argv(*command), **(settings | options)))  # type: ignore[call-overload]
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()
