"""Runs a step's tasks here for a head agent on another node.

The head agent sends the plan; this node sends the tasks' output and exit statuses.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Optional

from ...model.step import NodeSeries
from ...protocol import wire
from ...protocol.mpi_messages import MpiMessage
from ...protocol.step_messages import (
    FromMpiServer,
    InputConsumed,
    ReadUsage,
    ReceiveFile,
    ResizeTerminal,
    SignalTasks,
    StartTasks,
    StepPartRequest,
    TaskExited,
    TasksEnded,
    TasksStarted,
    TasksUsage,
    ToMpiServer,
    WriteError,
)
from ..net.channel import Channel
from .file_writer import serve_file
from .step_host import StepHost
from .step_sink import TASK_INPUT, TASK_OUTPUT

if TYPE_CHECKING:
    from ..core.agent import Agent


class _RemoteSink:
    """Sends the events of tasks as frames to the head agent. A full connection pauses the tasks' output."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.host: Optional[StepHost] = None

    def started(self, pids: dict[int, int]) -> None:
        self.channel.send_json(TasksStarted(pids=pids).encode())

    def output(self, rank: int, stream: int, data: bytes) -> None:
        self.channel.send(TASK_OUTPUT, struct.pack(">IB", rank, stream) + data)
        if self.channel.full and self.host is not None:
            self.host.pause()

    def consumed(self, count: int, last: bool) -> None:
        self.channel.send_json(InputConsumed(count=count, last=last).encode())

    def exited(self, rank: int, status: int, usage: list[float]) -> None:
        self.channel.send_json(TaskExited(rank=rank, status=status, usage=usage).encode())

    def mpi(self, message: MpiMessage) -> None:
        self.channel.send_json(FromMpiServer(message=message).encode())

    def step_ended(self, series: NodeSeries) -> None:
        self.channel.on_close = lambda: None
        self.channel.send_json(TasksEnded(series=series).encode())
        self.channel.close()


def serve_agent(agent: Agent, channel: Channel) -> None:
    """Serve a connection of a head agent: one step's tasks here. The loss of the connection ends the tasks."""
    sink = _RemoteSink(channel)

    def received(kind: bytes, payload: bytes) -> None:
        host = sink.host
        if kind == TASK_INPUT:
            if host is not None:
                host.write_stdin(payload)
            return
        if kind != wire.JSON:
            return
        request = StepPartRequest.decode(json.loads(payload))
        if isinstance(request, StartTasks):
            plan = request.plan
            host = sink.host = StepHost(agent, plan, sink)
            agent.host_step(plan.job_id, plan.head)
            channel.on_drain = host.resume
            host.start()
        elif isinstance(request, ReceiveFile):
            serve_file(channel, request)
        elif host is None:
            return
        elif isinstance(request, SignalTasks):
            host.signal(request.signal)
        elif isinstance(request, WriteError):
            host.write_first_error(request.text)
        elif isinstance(request, ToMpiServer):
            host.on_mpi_message(request.message)
        elif isinstance(request, ResizeTerminal):
            host.set_size(request.rows, request.columns)
        elif isinstance(request, ReadUsage):
            channel.send_json(TasksUsage(usage=host.usage()).encode())

    def lost() -> None:
        if sink.host is not None:
            sink.host.resume()
            sink.host.kill()

    channel.on_frame = received
    channel.on_close = lost
