"""Parts of a running step: tasks here or on another node."""

from __future__ import annotations

import json
import signal
import struct
from typing import TYPE_CHECKING, Callable, Optional

from ...model.allocation import NodeShare
from ...model.step import NodeSeries
from ...protocol import wire
from ...protocol.messages import Hello
from ...protocol.mpi_messages import MpiMessage
from ...protocol.step_messages import (
    FromMpiServer,
    InputConsumed,
    ReadUsage,
    ResizeTerminal,
    SignalTasks,
    StartTasks,
    StepPartReport,
    TaskExited,
    TasksEnded,
    TasksStarted,
    TasksUsage,
    ToMpiServer,
    WriteError,
)
from ...protocol.step_plan import StepPlan
from .step_host import StepHost
from .step_sink import TASK_INPUT, TASK_OUTPUT

if TYPE_CHECKING:
    from .step_run import StepRun


class StepPart:
    """A node's part of a step."""

    def __init__(self, run: StepRun, index: int, share: NodeShare) -> None:
        self.run = run
        self.index = index
        self.name = share.name
        self.ended = False

    # events of the node (step_sink.Sink)
    def started(self, pids: dict[int, int]) -> None:
        self.run.started(pids)

    def output(self, rank: int, stream: int, data: bytes) -> None:
        self.run.output(rank, stream, data)

    def consumed(self, count: int, last: bool) -> None:
        self.run.consumed(self.index, count, last)

    def exited(self, rank: int, status: int, usage: list[float]) -> None:
        self.run.task_exited(self, rank, status, usage)

    def mpi(self, message: MpiMessage) -> None:
        self.run.mpi(self.index, message)

    def step_ended(self, series: NodeSeries) -> None:
        self.ended = True
        self.run.node_series.append(series)
        self.run.part_ended()


class LocalPart(StepPart):
    """The part of a step on this node."""

    def __init__(self, run: StepRun, index: int, share: NodeShare, plan: StepPlan) -> None:
        super().__init__(run, index, share)
        self.host = StepHost(run.job.agent, plan, self)
        self.start = self.host.start
        self.signal = self.host.signal
        self.complain = self.host.write_first_error
        self.write_stdin = self.host.write_stdin
        self.pause = self.host.pause
        self.resume = self.host.resume
        self.set_size = self.host.set_size
        self.on_mpi_message = self.host.on_mpi_message

    def read_usage(self, done: Callable[[dict[int, list[float]]], None]) -> None:
        """Pass the current usage to ``done``."""
        done(self.host.usage())


class RemotePart(StepPart):
    """Part of a step on another node, over its own connection. A full connection blocks only this part's tasks."""

    def __init__(self, run: StepRun, index: int, share: NodeShare, plan: StepPlan) -> None:
        super().__init__(run, index, share)
        self.plan = plan
        self.left = set(plan.ranks)
        self._on_usage: Optional[Callable[[dict[int, list[float]]], None]] = None
        agent = run.job.agent
        self.channel = agent.connect(share.address)
        self.channel.on_frame = self._received
        self.channel.on_close = self._lost
        self.pause = self.channel.pause
        self.resume = self.channel.resume

    def start(self) -> None:
        """Connect to the node and send the plan."""
        self.channel.send_json(Hello(role="agent").encode())
        self.channel.send_json(StartTasks(plan=self.plan).encode())

    def signal(self, number: int) -> None:
        """Send a signal to the node's tasks."""
        self.channel.send_json(SignalTasks(signal=int(number)).encode())

    def complain(self, text: str) -> None:
        """Write an error of slurmstepd to the first task's stderr."""
        self.channel.send_json(WriteError(text=text).encode())

    def write_stdin(self, data: bytes) -> None:
        """Send stdin to the node's tasks; empty: its end."""
        self.channel.send(TASK_INPUT, data)

    def set_size(self, rows: int, columns: int) -> None:
        """Send the terminal's size to the node."""
        self.channel.send_json(ResizeTerminal(rows=rows, columns=columns).encode())

    def on_mpi_message(self, message: MpiMessage) -> None:
        """Send a message to the node's PMI server."""
        self.channel.send_json(ToMpiServer(message=message).encode())

    def read_usage(self, done: Callable[[dict[int, list[float]]], None]) -> None:
        """Request the current usage."""
        self._on_usage = done
        self.channel.send_json(ReadUsage().encode())

    def _received(self, kind: bytes, payload: bytes) -> None:
        if kind == TASK_OUTPUT:
            rank, stream = struct.unpack(">IB", payload[:5])
            self.output(rank, stream, payload[5:])
            return
        if kind != wire.JSON:
            return
        report = StepPartReport.decode(json.loads(payload))
        if isinstance(report, TaskExited):
            self.left.discard(report.rank)
            self.exited(report.rank, report.status, report.usage)
        elif isinstance(report, TasksStarted):
            self.started(report.pids)
        elif isinstance(report, InputConsumed):
            self.consumed(report.count, report.last)
        elif isinstance(report, FromMpiServer):
            self.mpi(report.message)
        elif isinstance(report, TasksUsage) and self._on_usage is not None:
            self._on_usage(report.usage)
        elif isinstance(report, TasksEnded):
            self._finished(report.series)

    def _finished(self, series: NodeSeries) -> None:
        self.channel.on_close = lambda: None
        self.channel.close()
        self.step_ended(series)

    def _lost(self) -> None:
        # The node's agent has failed, and with it its tasks.
        self.run.node_failed(self.name)
        for rank in sorted(self.left):
            self.exited(rank, signal.SIGKILL, [0.0] * 7)
        self.step_ended(NodeSeries())
