"""The interface of an engine, and the errors it may raise.

An engine gets a Launch (model.allocation), has agents run it, and reports what they say through the
callback it was made with: ``on_event(event)`` with the agent's event dicts (docs/design.md, "Wire").
All coroutines return when the request was handed over, not when it took effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from ..model.allocation import Launch
from ..model.job import Job
from ..model.spec import JobSpec

Event = dict[str, Any]
OnEvent = Callable[[Event], None]


_BACKGROUND: set[asyncio.Task[None]] = set()


def background(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that nobody waits for; the event loop itself would keep no reference to it."""
    task = asyncio.ensure_future(work)
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)


class EngineError(Exception):
    """The engine could not take a request; the text says why, in one line."""


class NodeUnavailable(EngineError):
    """No agent can be started on a node; the engine reports the node as down and tries again later."""


class Unable(EngineError):
    """The engine can never run a job like this: Slurm's text for it, and a hint in the engine's words."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


class Engine(Protocol):
    """What the controller asks of an engine."""

    name: str
    #: the controller picks nodes itself (local); False: the engine brings its own (sky)
    places: bool

    async def start(self, launch: Launch) -> None:
        """Start the job. Raises EngineError when its nodes cannot be had."""

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        """Send a signal to the job's "steps", "batch" shell, both ("full") or one step (its id)."""

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        """End the job: signal, then SIGKILL after kill_wait_s; it ends in ``state``."""

    async def suspend(self, job_id: int) -> None:
        """Stop all processes of the job."""

    async def resume(self, job_id: int) -> None:
        """Continue them."""

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        """Move the time limit of the job, or of one of its steps, to an epoch second; None: no limit."""

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Raise Unable where it is plain at submit that the engine cannot run such a job. ``components``: (spec,
        partition) of each; of a job that is not heterogeneous there is one."""

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """Whether elements of such an array may all be started at once: the engine then keeps %N itself."""

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        """(job, run, number): all events of these runs up to these numbers, which came from ``node``, are
        committed."""

    async def recover(self, jobs: Iterable[Job]) -> None:
        """After a restart of the controller: find these running jobs again; their missed events follow. A job
        that never reached its node is told as ``{"ev":"missing"}``, and is to be started once more."""

    def agent_address(self, job_id: int) -> str | None:
        """Unix socket path through which a client reaches the job's head agent, if there is one."""

    def out_of_reach(self, job_id: int) -> str:
        """Why the nodes of a running job cannot be told anything, as far as is known; "" where they can."""

    async def problem(self) -> str:
        """What keeps the engine from starting jobs now, in one line; "" when nothing is known to."""

    async def describe(self) -> list[tuple[bool, str]]:
        """What the engine depends on: whether it is well, and a line about it, for ``slurmsky status`` and doctor."""

    def lingers(self) -> bool:
        """Whether ended jobs still need this engine: a controller with nothing else to do stays for them."""

    def ready_in(self, nodes: Iterable[str]) -> float:
        """Seconds until these nodes are expected to be up, so that a job placed there starts; 0.0: they are."""

    async def close(self) -> None:
        """Leave the engine; jobs go on."""
