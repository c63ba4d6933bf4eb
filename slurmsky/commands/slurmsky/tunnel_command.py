"""slurmsky tunnel: forwards a local port to a job's node.

The remote end is a step of the job: ``srun --jobid=JOB --overlap`` runs ``protocol/port_mux.py`` on the node, and
the connections of the local port are multiplexed over that step's stdin and stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ... import client
from ...protocol import port_mux
from ...top.controller_client import ControllerClient, NoController
from ._base import SlurmskyCommand, failed

_POLL_S = 2.0
_READY_S = 120.0
_PREFIX = "slurmsky: tunnel: "


class Ports(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.2 only
    """Parameter ``PORT`` or ``LOCAL:PORT``."""

    name = "ports"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse to (local, remote). Local 0 means the remote number, or another port if that is in use."""
        local, _, remote = str(value).rpartition(":")
        numbers = [int(word) if word.isdecimal() else -1 for word in (local or "0", remote)]
        if not (0 <= numbers[0] < 65536 and 0 < numbers[1] < 65536):
            self.fail(f"{value} is not PORT or LOCAL:PORT", param, ctx)
        return numbers[0], numbers[1]


def srun_line(job: str, node: str, port: int) -> list[str]:
    """srun command line of the remote end. It runs with this interpreter's client."""
    source = Path(port_mux.__file__).read_text("utf-8")
    root = str(Path(client.__file__).resolve().parent.parent)
    words = [f"--jobid={job}", "--overlap", "-N1", "-n1", "--quiet", "--job-name=tunnel"]
    words += [f"--nodelist={node}"] if node else []
    return [sys.executable, "-I", client.__file__, root, "srun", *words, "python3", "-c", source, str(port)]


def wait_for(job: str, controller: ControllerClient) -> None:
    """Wait until the job runs; raise CommandError if it never will."""
    shown_reason = ""
    while True:
        try:
            controller.start()
            answer = controller.run_command("squeue", "-h", "-t", "all", "-j", job, "-o", "%T %r")
        except NoController as error:
            raise failed(f"{_PREFIX}{error}") from error
        state, _, reason = answer.out.strip().partition(" ")
        if answer.code or not reason:
            raise failed(f"{_PREFIX}there is no job {job}")
        if state == "RUNNING":
            return
        if state not in ("PENDING", "CONFIGURING", "SUSPENDED", "REQUEUED"):
            raise failed(f"{_PREFIX}job {job} is {state}")
        if reason != shown_reason:
            shown_reason = reason
            click.echo(f"job {job} is {state} ({reason}); waiting for it", err=True)
        time.sleep(_POLL_S)


@click.command(cls=SlurmskyCommand,
               example="slurmsky tunnel 42 8888             http://localhost:8888 is the job's Jupyter\n"
               "slurmsky tunnel --node n2 42 9006:6006", page="notebooks")  # fmt: skip
@click.option("-w", "--node", metavar="NAME", default="", help="The node (default: the job's first).")
@click.option("--bind", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Local address to listen on.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON.")
@click.argument("job")
@click.argument("ports", type=Ports(), metavar="[LOCAL:]PORT")
def command(job: str, ports: tuple[int, int], node: str, bind: str, as_json: bool) -> int:
    """Forward a local port to a job's node, for Jupyter or a debugger.

    The tunnel is a step of the job, and works with jobs on this machine and on SkyPilot's nodes. The command waits
    until a pending job runs. It ends with Ctrl-C or when the job ends. Every user of this machine can connect to the
    port, as with ssh -L.
    """
    wait_for(job, ControllerClient())
    return asyncio.run(_tunnel(srun_line(job, node, ports[1]), job, ports, bind, as_json))


async def _tunnel(line: Sequence[str], job: str, ports: tuple[int, int], bind: str, as_json: bool) -> int:
    local, remote = ports
    step = await asyncio.create_subprocess_exec(
        *line, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert step.stdin is not None and step.stdout is not None and step.stderr is not None
    mux = port_mux.Mux(step.stdout, step.stdin)
    carrying = asyncio.ensure_future(mux.run())
    complaints = asyncio.ensure_future(step.stderr.read())
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped: asyncio.Future[object] = asyncio.ensure_future(stop.wait())
    awaited: list[asyncio.Future[Any]] = [mux.ready, carrying, stopped]
    try:
        await asyncio.wait(awaited, timeout=_READY_S, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return 130
        if not mux.ready.done():
            raise failed(f"{_PREFIX}no step can be run in job {job}", *await _stderr_lines(complaints))
        host, answers = mux.ready.result()
        server = await _listen(mux, bind, local, remote)
        port = server.sockets[0].getsockname()[1]
        _announce(job, host, remote, bind, port, answers, as_json)
        if not local and port != remote:
            click.echo(f"port {remote} of this machine is in use; {port} is free", err=True)
        await asyncio.wait(awaited[1:], return_when=asyncio.FIRST_COMPLETED)
        server.close()
        if not stopped.done():
            click.echo(f"the tunnel's step in job {job} has ended", err=True)
            for text in await _stderr_lines(complaints):
                click.echo(text, err=True)
        return 0
    finally:
        carrying.cancel()
        stopped.cancel()
        step.stdin.close()
        with contextlib.suppress(ProcessLookupError, asyncio.TimeoutError):
            await asyncio.wait_for(step.wait(), 5)
        if step.returncode is None:
            step.terminate()


async def _listen(mux: port_mux.Mux, bind: str, local: int, remote: int) -> asyncio.Server:
    """Listen on the requested port, or on the default port. If the default port is in use, any free port is used."""
    try:
        return await asyncio.start_server(mux.accepted, bind, local or remote)
    except OSError as error:
        if local or error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise failed(f"{_PREFIX}cannot listen on {bind}:{local or remote}: {error.strerror}") from error
    return await asyncio.start_server(mux.accepted, bind, 0)


async def _stderr_lines(complaints: asyncio.Future[bytes]) -> tuple[str, ...]:
    """The last lines of srun's stderr."""
    try:
        text = await asyncio.wait_for(complaints, 3)
    except asyncio.TimeoutError:
        return ()
    return tuple(text.decode(errors="replace").splitlines()[-5:])


def _announce(job: str, host: str, remote: int, bind: str, port: int, answers: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"job": job, "node": host, "port": remote, "address": bind, "local_port": port}))
        return
    name = "localhost" if bind == "127.0.0.1" else bind
    click.echo(f"http://{name}:{port} is port {remote} on {host} (job {job}); Ctrl-C ends the tunnel")
    if not answers:
        click.echo(f"nothing listens on port {remote} of {host} yet", err=True)
