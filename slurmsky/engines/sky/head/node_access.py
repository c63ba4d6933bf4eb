"""Connects to a job's first node, directly or through ssh.

A direct connection is fast and works if this machine can reach the nodes' addresses: the same network, a VPN, a local
Slurm. Elsewhere SkyPilot gives the users of a cluster ssh to it (for Kubernetes and Slurm through a websocket of the
API server): ``sky status NAME`` writes its ssh configuration for the cluster, and one ssh process holds a tunnel during
the allocation. Both carry the job's own mutual TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ...base import background
from ...relay.head_connection import UNIX, HeadUnreachable, Line, open_line

log = logging.getLogger("slurmsky.sky")

CONFIGURE_S = 300.0  # sky status starts a Python with SkyPilot, and queries the server
TUNNEL_S = 120.0  # on a Slurm infra an sshd is started in the allocation first
_LONGEST_PATH = 85  # longest path of a socket: ssh appends a suffix while it creates it

#: where SkyPilot writes its ssh configuration of each cluster. Source: sky/utils/cluster_utils.py
SSH_CONFIGS = Path("~/.sky/generated/ssh").expanduser()
SSH_OPTIONS = (
    "BatchMode=yes",
    "ConnectTimeout=60",
    "ControlPath=none",
    "ExitOnForwardFailure=yes",
    "LogLevel=ERROR",
    "ServerAliveCountMax=4",
    "ServerAliveInterval=15",
    "StreamLocalBindUnlink=yes",
)

#: Sends SIGTERM to the program once this process has ended, also by SIGKILL. exec keeps the setting, and a helper
#: process avoids Python code between fork and exec of a process with threads.
_TIE_TO_CALLER = """import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
os.getppid() == int(sys.argv[1]) and os.execv(sys.argv[2], sys.argv[2:])
"""


def tied_to_caller(command: list[str]) -> list[str]:
    """Return a command line that ends with the calling process.

    ``command`` begins with the program's whole path. Call from the main thread: the kernel counts the end of the thread
    that starts the process.
    """
    return [sys.executable, "-I", "-S", "-c", _TIE_TO_CALLER, str(os.getpid()), *command]


class NodeAccess:
    """Access to ``address`` (host:port in the node's network).

    ``cluster``: SkyPilot's name of the cluster; "" for a managed job, to which users have no ssh. ``how``: auto, direct
    or ssh.
    """

    def __init__(
        self,
        address: str,
        folder: Path,
        cluster: str,
        how: str = "auto",
        on_attempt: Callable[[bool], None] = lambda success: None,
    ) -> None:
        self.address = address
        self._on_attempt = on_attempt  # receives the success of each attempt
        self._certificates = folder / "ship" / "tls"
        self._tunnel = SshTunnel(cluster, address, folder) if cluster and how != "direct" else None
        self._direct = how != "ssh" or self._tunnel is None
        self.problem = ""  # why the last attempt failed

    async def line(self, hello: dict[str, Any]) -> Line:
        """Open a connection and wait for the node's welcome. Raises HeadUnreachable."""
        try:
            line = await self._line(hello)
        except HeadUnreachable as error:
            self.problem = str(error)
            self._on_attempt(False)
            raise
        self.problem = ""
        self._on_attempt(True)
        return line

    async def _line(self, hello: dict[str, Any]) -> Line:
        problem: HeadUnreachable | None = None
        if self._direct:
            try:
                return await open_line(self.address, self._certificates, hello)
            except HeadUnreachable as error:
                if self._tunnel is None:
                    raise
                problem = error
        assert self._tunnel is not None
        try:
            line = await open_line(UNIX + await self._tunnel.path(), self._certificates, hello)
        except HeadUnreachable as error:
            raise HeadUnreachable(f"{problem}; {error}" if problem else str(error)) from error
        self._direct = False  # a later direct attempt would also fail
        return line

    def close(self) -> None:
        """Close the tunnel and its connections."""
        if self._tunnel is not None:
            self._tunnel.close()


class SshTunnel:
    """A local unix socket that ssh forwards to ``address``. The cluster's first node resolves ``address``."""

    def __init__(self, cluster: str, address: str, folder: Path) -> None:
        self._cluster = cluster
        self._address = address
        self._folder = folder
        self._socket: Path | None = None
        self._own_folder = ""
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        #: since the latest tunnel; every third one has SkyPilot write its configuration again
        self._attempts = 1 if (SSH_CONFIGS / cluster).exists() else 0

    async def path(self) -> str:
        """Return the socket's path, once the tunnel is up. Raises HeadUnreachable."""
        async with self._lock:
            if self._process is None or self._process.returncode is not None:
                # The files of sky status outlast the tunnel; a server that has just started takes minutes to write
                # them.
                if self._attempts % 3 == 0:
                    await self._configure()
                self._attempts += 1
                await self._start_ssh()
                self._attempts = 1
            return str(self._socket)

    async def _start_ssh(self) -> None:
        ssh = shutil.which("ssh")
        if ssh is None:
            raise HeadUnreachable("there is no ssh on this machine")
        self._socket = self._place()
        with contextlib.suppress(FileNotFoundError):
            self._socket.unlink()
        options = [word for option in SSH_OPTIONS for word in ("-o", option)]
        with tempfile.TemporaryFile() as errors:
            command = [ssh, "-N", *options, "-L", f"{self._socket}:{self._address}", self._cluster]
            self._process = process = await _started(command, errors)
            loop = asyncio.get_running_loop()
            deadline = loop.time() + TUNNEL_S
            while not self._socket.exists():
                if process.returncode is not None:
                    raise HeadUnreachable(f"ssh {self._cluster}: {_tail(errors) or 'it ended at once'}")
                if loop.time() > deadline:
                    self.close()
                    raise HeadUnreachable(f"ssh {self._cluster}: no answer within {TUNNEL_S:.0f} s")
                await asyncio.sleep(0.1)
        log.info("cluster %s: reached through ssh", self._cluster)

    async def _configure(self) -> None:
        """Make SkyPilot write its ssh configuration for the cluster."""
        sky = shutil.which("sky")
        if sky is None:
            raise HeadUnreachable("its nodes are reached through SkyPilot's ssh only, and there is no sky command here")
        with tempfile.TemporaryFile() as errors:
            process = await _started([sky, "status", self._cluster], errors)
            try:
                await asyncio.wait_for(process.wait(), CONFIGURE_S)
            except asyncio.TimeoutError:
                raise HeadUnreachable(f"sky status {self._cluster}: no answer within {CONFIGURE_S:.0f} s") from None
            finally:
                _end(process)
            if process.returncode:
                raise HeadUnreachable(f"sky status {self._cluster}: {_tail(errors) or process.returncode}")

    def _place(self) -> Path:
        path = self._folder / "tunnel.sock"
        if len(os.fsencode(path)) <= _LONGEST_PATH:
            return path
        self._own_folder = self._own_folder or tempfile.mkdtemp(prefix="slurmsky-")  # 0700
        return Path(self._own_folder) / "tunnel.sock"

    def close(self) -> None:
        """End the ssh process."""
        if self._process is not None:
            _end(self._process)
        self._process = None
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.unlink()
        if self._own_folder:
            with contextlib.suppress(OSError):
                os.rmdir(self._own_folder)
            self._own_folder = ""


async def _started(command: list[str], errors: IO[bytes]) -> asyncio.subprocess.Process:
    """Start a program that ends with this process.

    It has a session of its own: Ctrl-C in the terminal must not end it. It writes errors to a file, because a pipe that
    is not read would stop ssh once it is full.
    """
    return await asyncio.create_subprocess_exec(
        *tied_to_caller(command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )


def _end(process: asyncio.subprocess.Process) -> None:
    """Terminate a program; a task of the event loop waits for its end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        background(_ended(process))


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await process.wait()
    except asyncio.CancelledError:  # the event loop is about to close
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise


def _tail(errors: IO[bytes]) -> str:
    """Return the end of a program's errors, in one line."""
    errors.seek(0)
    return " ".join(errors.read().decode("utf-8", "replace").split())[-300:]
