"""The engine interface, and the errors an engine may raise.

An engine receives a Launch (model.allocation), has agents run it, and passes the agents' events (protocol.messages)
to its callback ``on_event(event)``. Every coroutine returns when the request has been sent, not when it has taken
effect.
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

CANCEL_S = 5.0  # seconds that a shutdown waits for cancelled tasks
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
    """Run a coroutine whose result is never awaited; an exception is logged."""
    task = spawn(work)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s failed", getattr(task.get_coro(), "__qualname__", "a task"), exc_info=task.exception())


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks and wait for their ends, at most CANCEL_S.

    The cancellation is repeated: until Python 3.12 a wait_for that ends at the same moment swallows it (bpo-37658).
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
    await asyncio.gather(*tasks - left, return_exceptions=True)  # their exceptions count as read


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until an event is set, with a time limit, and clear it; return whether it was set.

    A cancellation ends the wait in any case, unlike that of a wait_for (see cancel_all).
    """
    waiting = spawn(event.wait())
    try:
        return bool((await asyncio.wait({waiting}, timeout=seconds))[0])
    finally:
        waiting.cancel()
        event.clear()


class EngineError(Exception):
    """The engine could not accept a request; the text gives the reason in one line."""

    #: the same request may succeed later
    passing = False


class NodeUnavailable(EngineError):
    """No agent can be started on a node; the engine reports the node as down and retries later."""


class Unable(EngineError):
    """The engine can never run such a job: Slurm's error text, and a hint by the engine."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


class Engine(Protocol):
    """The requests that the controller sends to an engine."""

    name: str
    #: True: the controller selects nodes itself (local); False: the engine provides nodes for each job (sky)
    places: bool

    async def start(self, launch: Launch) -> None:
        """Start the job. Raises EngineError when its nodes cannot be allocated."""

    def follow(self, launch: Launch, behind: int) -> bool:
        """Have the job started in the place of a running one, once that ends without a request (``Ended.follower``).

        False: it is not sent.
        """

    def drop_followers(self, node: str) -> None:
        """Forget the jobs of ``follow`` that have not started; the event FollowersDropped is the answer."""

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        """Send a signal to the job's "steps", "batch" shell, both ("full") or one step (its id)."""

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """End the job: signal, then SIGKILL after kill_wait_s; its final state is ``state``."""

    async def suspend(self, job_id: int) -> None:
        """Stop all processes of the job."""

    async def resume(self, job_id: int) -> None:
        """Continue all processes of the job."""

    async def shrink(self, job_id: int, nodes: Sequence[str]) -> None:
        """Release all nodes of a running job except these. Only engines that place jobs on nodes support this."""

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        """Set the time limit of the job, or of one of its steps, to an epoch second; None: no limit."""

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Raise Unable at submit for a job that the engine can never run.

        ``components``: (spec, partition) of each component; a job that is not heterogeneous has one.
        """

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """Whether all elements of such an array may be started at once; the engine then enforces %N."""

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """Acknowledge events of job runs.

        (job, run, number): the run's events from ``node`` are committed up to that number.
        """

    async def recover(self, jobs: Iterable[Job]) -> None:
        """Find running jobs again after a restart of the controller; their missed events follow.

        A job that never reached its node is reported as Missing; the controller must launch it again.
        """

    def agent_address(self, job_id: int) -> str | None:
        """Unix socket path through which a client reaches the job's head agent, if there is one."""

    def out_of_reach(self, job_id: int) -> str:
        """The known reason why a running job's nodes are unreachable; "" when they can be reached."""

    def awaited(self, job_id: int) -> str:
        """The reason why a running job's nodes are not connected yet, if the engine queues requests; else ""."""

    async def problem(self) -> str:
        """The problem that prevents the engine from starting jobs now, in one line; "" when none is known."""

    async def describe(self) -> list[tuple[bool, str]]:
        """Health of the services that an engine needs, for ``slurmsky status`` and doctor: (healthy, one line)."""

    def lingers(self) -> bool:
        """Whether ended jobs still need this engine: an otherwise idle controller then keeps running."""

    def ready_in(self, nodes: Iterable[str]) -> float:
        """Seconds until these nodes are expected to be up and can start a job; 0.0: they are up."""

    async def close(self) -> None:
        """Close the engine; jobs keep running."""


class EngineDefaults:
    """Answers of an engine whose nodes are always reachable and which depends on no service."""

    def follow(self, launch: Launch, behind: int) -> bool:
        """False: each job waits for the end of the one before."""
        return False

    def drop_followers(self, node: str) -> None:
        """Nothing waits."""

    def out_of_reach(self, job_id: int) -> str:
        """Always empty."""
        return ""

    def awaited(self, job_id: int) -> str:
        """Always empty."""
        return ""

    async def problem(self) -> str:
        """Always empty."""
        return ""

    async def describe(self) -> list[tuple[bool, str]]:
        """No lines."""
        return []

    def lingers(self) -> bool:
        """False: an ended job leaves nothing that needs the engine."""
        return False

    def ready_in(self, nodes: Iterable[str]) -> float:
        """0.0: no job waits for a node that is off."""
        return 0.0


class Choice(NamedTuple):
    """An engine, "sky" or "local", and the reason; ``sure`` is False while a configured API server does not answer."""

    engine: str
    reason: str
    sure: bool = True
