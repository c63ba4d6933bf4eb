"""The engine interface, and an engine's errors.

An engine receives a Launch (model.allocation), has agents run it, and sends the agents' events (protocol.messages) to
its callback ``on_event(event)``. Every coroutine returns when the request has been sent, not when it has taken effect.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from ..model.allocation import Launch
from ..model.job import Job
from ..model.spec import JobSpec
from ..protocol.messages import Event

OnEvent = Callable[[Event], None]


log = logging.getLogger("slurmsky.background")

CANCEL_S = 5.0  # seconds for which a shutdown waits for cancelled tasks
_TASKS: set[asyncio.Task[Any]] = set()
T = TypeVar("T")


def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task whose result the caller awaits.

    The registry keeps a reference to the task, which the event loop itself does not.
    """
    task = asyncio.ensure_future(work)
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)
    return task


def background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run a coroutine without a caller; log its exception."""
    task = spawn(work)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s failed", getattr(task.get_coro(), "__qualname__", "a task"), exc_info=task.exception())


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks and wait for their ends, at most CANCEL_S.

    The cancellation is repeated: until Python 3.12 a wait_for that ends at the same moment ignores it (bpo-37658).
    """
    tasks = set(tasks)
    left = {task for task in tasks if not task.done()}
    deadline = time.monotonic() + CANCEL_S
    while left and time.monotonic() < deadline:
        for task in left:
            task.cancel()
        left = (await asyncio.wait(left, timeout=0.1))[1]
    for task in left:
        log.error("%s does not end", getattr(task.get_coro(), "__qualname__", "a task"))
    await asyncio.gather(*tasks - left, return_exceptions=True)  # retrieves their exceptions


async def wait_and_clear(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event and clear it; return whether it was set.

    The wait has a time limit. A cancellation ends it in any case, unlike that of a wait_for (see cancel_all).
    """
    waiting = spawn(event.wait())
    try:
        return bool((await asyncio.wait({waiting}, timeout=seconds))[0])
    finally:
        waiting.cancel()
        event.clear()


class EngineError(Exception):
    """The engine could not accept a request. The text gives the reason in one line."""

    #: the same request may succeed later
    may_succeed_later = False


class NodeUnavailable(EngineError):
    """No agent can be started on a node. The engine reports the node as down and retries later."""


class Unable(EngineError):
    """The engine can never run such a job. Has Slurm's error text and a hint by the engine."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


class Engine(Protocol):
    """The requests that the controller sends to an engine."""

    name: str
    #: True: the controller selects nodes itself (local); False: the engine provides nodes for each job (sky)
    places: bool
    #: True: the nodes are this machine, whose users share it; they cost nothing, and jobs use the submitter's files
    this_machine: bool

    async def start(self, launch: Launch) -> None:
        """Start the job. Raises EngineError if its nodes cannot be allocated."""

    def follow(self, launch: Launch, behind: int) -> bool:
        """Queue a job to start when a running one ends (``Ended.follower``).

        It does not start if a request ends the running one. Return False if it is not sent.
        """

    def drop_followers(self, node: str) -> None:
        """Forget the jobs of ``follow`` that have not started. The event FollowersDropped confirms it."""

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        """Send a signal to a part of the job.

        ``target``: "steps", the "batch" shell, "full" (both) or the id of a step. "steps+1" and "0+1" limit steps to a
        het job's component.
        """

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """End the job in ``state``: signal, then SIGKILL after kill_wait_s."""

    async def end_component(self, job_id: int, component: int, kill_wait_s: int) -> None:
        """End one component of a running het job. ``job_id``: the leader's id. The event ComponentEnded follows."""

    async def suspend(self, job_id: int) -> None:
        """Stop all processes of the job."""

    async def resume(self, job_id: int) -> None:
        """Continue all processes of the job."""

    async def shrink(self, job_id: int, nodes: Sequence[str], failed: bool = False) -> None:
        """Release all other nodes of a running job. Only engines that place jobs on nodes support this.

        ``failed``: the other nodes are down.
        """

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        """Set the time limit of the job or a step to an epoch second. None: no limit."""

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Raise Unable at submit for a job that the engine can never run.

        ``components``: (spec, partition) of each component; a job that is not heterogeneous has one.
        """

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """True if the engine starts all elements of an array at once. The engine then enforces %N."""

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Acknowledge events of job runs.

        (job, run, number): the run's events from ``node`` are committed up to that number.
        """

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Connect to running jobs after a restart of the controller.

        Their missed events follow. A job that did not reach its node is reported as Missing; the controller must launch
        it again.
        """

    def agent_address(self, job_id: int) -> str | None:
        """Path of the unix socket to the job's head agent, or None."""

    async def node_socket(self, node: str) -> str | None:
        """Wait until a node is connected; return its socket's path.

        ``node``: the last part of the path, the name of a warm node or of a run at SkyPilot. None for a lost node, or
        none of ours.
        """

    def out_of_reach(self, job_id: int) -> str:
        """Return the known reason why a job's nodes are unreachable, or ""."""

    def missing_connections(self, job_id: int) -> str:
        """Return why a job's nodes are not connected yet, or "". Only for engines that queue requests."""

    async def problem(self) -> str:
        """Return the problem that prevents starts now, in one line; or ""."""

    async def describe(self) -> list[tuple[bool, str]]:
        """Health of an engine's services for ``slurmsky status`` and doctor: (healthy, one line)."""

    def holds_nodes(self) -> bool:
        """True if ended jobs need this engine. An otherwise idle controller then keeps running."""

    def ready_in(self, nodes: Iterable[str]) -> float:
        """Seconds until these nodes are expected up; 0.0 if all are up."""

    async def close(self) -> None:
        """Close the engine; jobs keep running."""


class EngineDefaults:
    """Defaults of an engine with reachable nodes and no services, which are not this machine."""

    this_machine = False

    def follow(self, launch: Launch, behind: int) -> bool:
        """Return False: followers are not supported."""
        return False

    def drop_followers(self, node: str) -> None:
        """Do nothing."""

    async def node_socket(self, node: str) -> str | None:
        """Always None."""
        return None

    def out_of_reach(self, job_id: int) -> str:
        """Return ""."""
        return ""

    def missing_connections(self, job_id: int) -> str:
        """Return ""."""
        return ""

    async def problem(self) -> str:
        """Return ""."""
        return ""

    async def describe(self) -> list[tuple[bool, str]]:
        """Return no lines."""
        return []

    def holds_nodes(self) -> bool:
        """Return False."""
        return False

    def ready_in(self, nodes: Iterable[str]) -> float:
        """Return 0.0: all nodes are up."""
        return 0.0


class Choice(NamedTuple):
    """An engine, "sky" or "local", and the reason. ``sure`` is False while a configured API server does not answer."""

    engine: str
    reason: str
    sure: bool = True
