"""Interface between the head agent and a node of a step: the Plan, and the Sink for events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

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

    def mpi(self, message: dict[str, Any]) -> None:
        """The node's PMI or PMIx server sends a message to the head agent."""

    def over(self, series: dict[str, Any]) -> None:
        """The step has ended on the node; ``series``: its usage series there."""


@dataclass
class StepPlan:
    """One node's part of a step; JSON-ready."""

    job_id: int
    step_id: str
    node: str
    node_id: int
    ranks: list[int]
    argv: list[list[str]]  # per local task
    environment: dict[str, str]
    task_environment: list[dict[str, str]]  # per local task; overrides the common environment
    directory: str
    umask: int
    stdin: str = "stream"  # "stream", "null", or a file name with patterns
    stdin_rank: Optional[int] = None  # only this task reads the stream; the others get no input
    stdout: str = "stream"
    stderr: str = "stream"  # "=stdout": the same file
    open_mode: Optional[str] = None
    terminal: Optional[list[int]] = None  # rows, columns of the pseudo terminal of task 0
    unbuffered: bool = False
    rlimits: dict[str, list[int]] = field(default_factory=dict)
    bind: Optional[dict[str, Any]] = None  # CPUs and memory of the tasks: see task_binding.request
    task_prologs: list[list[str]] = field(default_factory=list)
    task_epilogs: list[list[str]] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)  # NameFacts less node and task
    head: str = ""  # address of the job's head agent
    label: int = 0  # srun -l: width of the task number in each line of a task's own file; 0: none
    notices: list[str] = field(default_factory=list)  # per local task: text for its stderr before it starts
    mpi: Optional[dict[str, Any]] = None  # how tasks connect to each other: see pmi.plan
    container: Optional[dict[str, Any]] = None  # see task_container.request
