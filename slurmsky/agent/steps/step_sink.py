"""Interface for the events of a node's tasks, and the frames of their output and input."""

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
        """The tasks have started: rank -> pid."""

    def output(self, rank: int, stream: int, data: bytes) -> None:
        """A task wrote to its OUT or ERR."""

    def consumed(self, count: int, last: bool) -> None:
        """The tasks have read ``count`` bytes of stdin; as many may follow. ``last``: no task reads stdin any more."""

    def exited(self, rank: int, status: int, usage: list[float]) -> None:
        """A task has ended, with a wait status and a TaskUsage as a list."""

    def mpi(self, message: MpiMessage) -> None:
        """The node's PMI or PMIx server sends a message to the head agent."""

    def over(self, series: NodeSeries) -> None:
        """The step has ended on the node; ``series``: its usage series there."""
