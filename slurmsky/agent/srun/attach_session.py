"""Serves sattach: attaches a client to the output and input of a running step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ...protocol import wire
from ..core.client_requests import address_for_job, end_session, parse_context, relay
from ..job.environment import node_list
from ..net.channel import Channel
from ..steps.step_sink import OUT

if TYPE_CHECKING:
    from ..core.agent import Agent
    from ..steps.step_run import StepRun

_UNKNOWN = "sattach: error: Could not get job step info: Invalid job id specified\n"
_STDIN_WINDOW = 1 << 16


def serve_sattach(agent: Agent, channel: Channel, request: wire.CommandRequest, payload: bytes) -> None:
    """Serve one sattach request."""
    from ...options.query import parse_sattach
    from ...options.usage_errors import CommandError

    try:
        query = parse_sattach(request.args, parse_context(request))
    except CommandError as error:
        end_session(channel, error.exit_code, "".join(line + "\n" for line in error.lines), error.stdout)
        return
    wanted = query.step
    job_id = wanted.job_id if wanted is not None else 0
    job = agent.jobs.get(job_id)
    if job is None or job.ended:
        address = address_for_job(agent, job_id)
        if address:
            relay(agent, channel, payload, address, "sattach")
        else:
            end_session(channel, 1, _UNKNOWN)
        return
    run = job.steps.get(str(wanted.step)) if wanted is not None else None
    if run is None:
        end_session(channel, 1, _UNKNOWN)
    elif query.layout:
        end_session(channel, 0, out=layout_text(run))
    else:
        _Attached(channel, run, query).begin()


def layout_text(run: StepRun) -> str:
    """The output of --layout."""
    shape = run.shape
    names = tuple(share.name for share in shape.shares)
    lines = [
        "Job step layout:",
        "\t%d tasks, %d nodes (%s)" % (sum(map(len, shape.ranks)), len(names), node_list(names)),
        "",
    ]
    for index, (name, ranks) in enumerate(zip(names, shape.ranks)):
        lines.append("\tNode %d (%s), %d task(s): %s " % (index, name, len(ranks), " ".join(map(str, ranks))))
    return "\n".join(lines) + "\n"


class _Attached:
    """An attached client as a watcher of a step."""

    def __init__(self, channel: Channel, run: StepRun, query: Any) -> None:
        self.channel = channel
        self.run = run
        self.query = query
        self._width = len(str(sum(map(len, run.shape.ranks)) - 1))
        self._code = 0  # the highest exit code of a task

    def begin(self) -> None:
        """Watch until the step ends or the client disconnects."""
        self.run.watchers.append(self)
        self.channel.on_close = self._gone
        self.channel.on_frame = self._from_client
        self.channel.on_drain = lambda: self.run.resume(self)
        if self.query.pty:
            self.channel.send(wire.TTY, b"1")
        if self.query.verbose:
            rows = {"job id": self.run.job.job_id, "step id": self.run.step_id, "verbose": self.query.verbose}
            lines = ["defined options", *("%-15s: %s" % row for row in rows.items()), "end of defined options"]
            self.channel.send(wire.STDERR, "".join("sattach: %s\n" % line for line in lines).encode())
        for rank, stream, data in tuple(self.run.recent):
            self.output(rank, stream, data)
        self.channel.send(wire.GRANT, b"%d" % _STDIN_WINDOW)

    def _from_client(self, kind: bytes, payload: bytes) -> None:
        # The end of the client's stdin does not end the tasks' stdin: their srun may still send input.
        if kind == wire.STDIN:
            self.run.write_stdin(payload)
            self.channel.send(wire.GRANT, b"%d" % len(payload))
        elif kind == wire.WINSIZE and self.query.pty:
            rows, _, columns = payload.partition(b"x")
            self.run.set_size(int(rows), int(columns))

    def _gone(self) -> None:
        if self in self.run.watchers:
            self.run.watchers.remove(self)
        self.run.resume(self)

    def output(self, rank: int, stream: int, data: bytes) -> None:
        """Send a task's output to the client, unless a filter excludes it."""
        wanted = self.query.output_filter if stream == OUT else self.query.error_filter
        if wanted is not None and wanted != rank:
            return
        if self.query.label:
            label = b"%*d: " % (self._width, rank)
            lines = data.split(b"\n")
            if not lines[-1]:
                lines.pop()
            data = b"".join(label + line + b"\n" for line in lines)
        self.channel.send(wire.STDOUT if stream == OUT else wire.STDERR, data)
        if self.channel.full:
            self.run.pause(self)

    def started(self, pids: dict[int, int]) -> None:
        """Do nothing: sattach joins a step whose tasks have started."""

    def exited(self, node: str, rank: int, status: int) -> None:
        """Report a task with an exit code; one ended by a signal is not reported. Source: sattach.c _exit_handler."""
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        if code:
            self.channel.send(wire.STDERR, b"sattach: error: task %d exited with exit code %d\n" % (rank, code))
        self._code = max(self._code, code)

    def cancelled(self) -> None:
        """Do nothing: sattach reports no cancellation."""

    def step_ended(self) -> None:
        """Send the end of the step."""
        self.channel.on_close = lambda: None
        if self.query.pty:
            self.channel.send(wire.TTY, b"0")
        end_session(self.channel, self._code)
