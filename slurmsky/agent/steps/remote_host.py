"""Runs a step's tasks on this node for a head agent on another node, over a connection.

The head agent sends the plan; this node sends the tasks' output and exit statuses.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Optional

from ...protocol import wire
from ..net.channel import Channel
from .file_writer import serve_file
from .step_host import StepHost
from .step_plan import TASK_INPUT, TASK_OUTPUT, StepPlan

if TYPE_CHECKING:
    from ..core.agent import Agent


class _Wired:
    """A sink that sends frames to the head agent; a full connection pauses the tasks' output."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.host: Optional[StepHost] = None

    def started(self, pids: dict[int, int]) -> None:
        self.channel.send_json({"ev": "started", "pids": {str(rank): pid for rank, pid in pids.items()}})

    def output(self, rank: int, stream: int, data: bytes) -> None:
        self.channel.send(TASK_OUTPUT, struct.pack(">IB", rank, stream) + data)
        if self.channel.full and self.host is not None:
            self.host.pause()

    def consumed(self, count: int, last: bool) -> None:
        self.channel.send_json({"ev": "consumed", "count": count, "last": last})

    def exited(self, rank: int, status: int, usage: list[float]) -> None:
        self.channel.send_json({"ev": "exit", "rank": rank, "status": status, "usage": usage})

    def mpi(self, message: dict[str, Any]) -> None:
        self.channel.send_json({"ev": "mpi", "message": message})

    def over(self, series: dict[str, Any]) -> None:
        self.channel.on_close = lambda: None
        self.channel.send_json({"ev": "over", "series": series})
        self.channel.close()


def serve_agent(agent: Agent, channel: Channel) -> None:
    """Serve a connection of a head agent: one step's tasks on this node. Its loss ends the tasks."""
    sink = _Wired(channel)

    def received(kind: bytes, payload: bytes) -> None:
        host = sink.host
        if kind == TASK_INPUT:
            if host is not None:
                host.write_stdin(payload)
            return
        if kind != wire.JSON:
            return
        message = json.loads(payload)
        operation = message["op"]
        if operation == "step":
            plan = StepPlan(**message["plan"])
            host = sink.host = StepHost(agent, plan, sink)
            agent.hosting(plan.job_id, plan.head)
            channel.on_drain = host.resume
            host.start()
        elif operation == "file":
            serve_file(channel, message)
        elif host is None:
            return
        elif operation == "signal":
            host.signal(int(message["signal"]))
        elif operation == "mpi":
            host.on_mpi_message(message["message"])
        elif operation == "winsize":
            host.set_size(message["rows"], message["columns"])
        elif operation == "look":
            channel.send_json({"ev": "look", "usage": {str(rank): usage for rank, usage in host.look().items()}})

    def lost() -> None:
        if sink.host is not None:
            sink.host.resume()
            sink.host.kill()

    channel.on_frame = received
    channel.on_close = lost
