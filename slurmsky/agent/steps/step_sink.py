"""Interface for events of a node's tasks, and frames of their streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ...model.step import NodeSeries
    from ...protocol.mpi_messages import MpiMessage

OUT, ERR = 1, 2
#: frames between agents: task output, stdin for tasks
TASK_OUTPUT = b"d"
TASK_INPUT = b"n"


class Sink(Protocol):
    """Receives the events of a node's tasks."""

    def started(self, pids: dict[int, int]) -> None:
        """Handle the start of the tasks: rank -> pid."""

    def output(self, rank: int, stream: int, data: bytes) -> None:
        """Handle a task's bytes of OUT or ERR."""

    def consumed(self, count: int, last: bool) -> None:
        """Handle ``count`` consumed bytes of stdin; more may follow. ``last``: all tasks have stopped reading stdin."""

    def exited(self, rank: int, status: int, usage: list[float]) -> None:
        """Handle a task's end: wait status, and TaskUsage as a list."""

    def mpi(self, message: MpiMessage) -> None:
        """Send a message of the node's MPI server to the head agent."""

    def step_ended(self, series: NodeSeries) -> None:
        """Handle the step's end on the node. ``series``: its usage series there."""
