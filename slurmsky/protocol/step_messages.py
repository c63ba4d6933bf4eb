"""Messages between the head agent of a step and other nodes.

Agents import this module with their first step on several nodes. Output and input of tasks are sent in frames of bytes
(``agent/steps/step_sink.py``).
"""

from __future__ import annotations

from typing import Dict, List, Optional

from ..model.step import NodeSeries
from .message_codec import Message, register_message, register_type
from .mpi_messages import MpiMessage
from .step_plan import StepPlan

register_type("NodeSeries", lambda value: NodeSeries(value[0], *map(tuple, value[1:])), list)
register_message(MpiMessage)


class StepPartRequest(Message, family="op"):
    """Base of a head agent's requests to another node."""


class StartTasks(StepPartRequest, kind="step"):
    """Start this node's tasks of a step."""

    plan: StepPlan


class SignalTasks(StepPartRequest, kind="signal"):
    """Send a signal to the tasks."""

    signal: int


class WriteError(StepPartRequest, kind="error"):
    """Write an error of slurmstepd to the first task's stderr."""

    text: str


class ResizeTerminal(StepPartRequest, kind="winsize"):
    """Set the size of the tasks' terminal."""

    rows: int
    columns: int


class ToMpiServer(StepPartRequest, kind="mpi"):
    """Message of the head agent's MPI server to this node's."""

    message: MpiMessage


class ReadUsage(StepPartRequest, kind="look"):
    """Answer with a TasksUsage."""


class ReceiveFile(StepPartRequest, kind="file"):
    """Write a file whose content follows. ``times``: its atime and mtime; ``folder``: create its folder."""

    path: str
    mode: int
    force: bool
    times: Optional[List[float]] = None
    folder: bool = False


class StepPartReport(Message, family="ev"):
    """Base of a node's reports to the head agent."""


class TasksStarted(StepPartReport, kind="started"):
    """The tasks run. ``pids``: process ids by rank."""

    pids: Dict[int, int]


class InputConsumed(StepPartReport, kind="consumed"):
    """The tasks have read ``count`` bytes of stdin. ``last``: all tasks have stopped reading stdin."""

    count: int
    last: bool


class TaskExited(StepPartReport, kind="exit"):
    """A task has ended: wait status, and TaskUsage as a list."""

    rank: int
    status: int
    usage: List[float]


class FromMpiServer(StepPartReport, kind="mpi"):
    """Message of this node's MPI server to the head agent's."""

    message: MpiMessage


class TasksUsage(StepPartReport, kind="look"):
    """Current resource use of the tasks, by rank."""

    usage: Dict[int, List[float]]


class TasksEnded(StepPartReport, kind="over"):
    """All tasks of this node have ended. ``series``: the usage series of the step on this node."""

    series: NodeSeries


class FileWritten(StepPartReport, kind="file"):
    """A file is complete, or failed with ``errno``."""

    errno: int
