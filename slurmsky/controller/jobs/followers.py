"""Followers: array elements that an agent starts without the controller.

After a short element its CPUs would be idle until the controller has committed the end and sent the next launch. The
controller therefore sends the next elements of the same array ahead. The agent keeps them in memory, and starts one
when the element in front of it ends (``LaunchJob.behind``). One event reports the end and the start, so that no pass
gives the CPUs to another job in between (``Ended.follower``). Until its start a follower is a pending element. The
array's record, which is committed first, holds its job id (``Job.followers``), and the scheduler does not start it.

A follower is correct only if the next pass would start this very element there: the array is the first job that waits,
it waits for resources alone, and it requests what the running element has. If any of this changes, and before a command
changes jobs or nodes, agents drop the followers that they have not started (``DropFollowers``). An agent's reply
follows its events about followers that it has started. Agents also drop followers when the connection to the controller
closes. An element that ends without starting a follower releases its followers, too.
"""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ...engines.base import EngineError, background
from ...model.allocation import NodeShare
from ...model.job import Job
from ...model.states import JobFlag, JobState
from . import transitions
from .plan import Plan
from .submitter import split_element

if TYPE_CHECKING:
    from ...engines.router import Router
    from .job_table import JobTable
    from .lifecycle import LifeCycle

log = logging.getLogger("slurmsky.controller")

#: number of followers of a running element
FOLLOWERS = 2
#: limit for the run time of the array's last ended element, in seconds
SHORT_RUN_S = 0.25
#: run time in seconds after which an element loses its followers, which may then start elsewhere
LONG_RUN_S = 0.5
#: seconds that a command waits for the agents' answers
ANSWER_S = 2.0

#: commands that change jobs or nodes; jobs that are only added wait for the next pass
_CHANGING = frozenset({"scancel", "scontrol", "sacctmgr"})


class ArrayFollowers:
    """Sends followers to agents, and starts their records. A pass chooses the followers."""

    def __init__(self, job_table: JobTable, engine: Router, life: LifeCycle, alone: Callable[[], bool]) -> None:
        self._job_table, self._engine, self._life = job_table, engine, life
        self._no_other_user = alone  # True if no other user of the machine competes for its resources
        self._arrays: dict[int, int] = {}  # id of a follower -> id of its array's record
        self.chosen: list[int] = []  # followers that are sent after the commit
        self._dropping: set[str] = set()  # nodes whose agents have not answered yet
        self._answered = asyncio.Event()  # set by each reply
        self._changing = 0  # commands that are changing jobs or nodes
        self._short = 0  # the array whose last ended element was short
        self._timer: asyncio.TimerHandle | None = None
        for job_id in job_table.pending:
            for _, follower, _ in job_table.jobs[job_id].followers:
                self._arrays[follower] = job_id
        life.listeners.append(self._on_job_event)

    def _on_job_event(self, event: str, job: Job) -> None:
        if event == "ended" and job.array_job_id:
            short = job.state is JobState.COMPLETED and job.end_time - job.start_time < SHORT_RUN_S
            self._short = job.array_job_id if short else 0

    def _arrays_with_followers(self) -> Iterator[Job]:
        """The arrays with followers."""
        for job_id in set(self._arrays.values()):
            yield self._job_table.jobs[job_id]

    def _keep_followers(self, base: Job, keeps: Callable[[tuple[int, int, int]], bool]) -> None:
        """Return the other followers of an array to its pending elements."""
        for entry in base.followers:
            if not keeps(entry):
                self._arrays.pop(entry[1], None)
        kept = tuple(filter(keeps, base.followers))
        if kept != base.followers:
            base.followers = kept
            self._job_table.touch(base)

    def _node(self, behind: int) -> str:
        job = self._job_table.jobs.get(behind)
        return job.shares[0].name if job is not None and job.shares else ""

    # --- sending

    def release(self) -> None:
        """Release followers whose element in front ended without a successor. Called before a pass."""
        for base in list(self._arrays_with_followers()):
            pending = base.state is JobState.PENDING
            self._keep_followers(base, lambda entry, pending=pending: pending and entry[2] in self._job_table.active)  # type: ignore[misc]

    def plan(self, plan: Plan) -> None:
        """Choose the next followers, or drop the present ones. Called after a pass."""
        wait = plan.waits[0] if plan.waits else None
        base = wait.job if wait is not None and wait.reason == "Resources" and self._is_next(wait.job) else None
        if base is None or set(self._arrays.values()) - {base.job_id}:
            self.drop()
            return
        if self._changing:
            return
        now = self._job_table.clock()
        left = base.pending_count - len(base.followers)
        if left < FOLLOWERS and base.followers:
            self.drop()  # the last elements take any free CPU, and the final one uses the array's own id
            return
        counts: dict[int, int] = {}
        for _, _, behind in base.followers:
            counts[behind] = counts.get(behind, 0) + 1
        planned = {task for task, _, _ in base.followers}
        free = (task for part in base.pending_tasks for task in part if task not in planned)
        added = []
        for job_id in sorted(self._job_table.members[base.array_job_id] & self._job_table.active):
            job = self._job_table.jobs[job_id]
            if self._holds_same_resources(job, base) and now - job.start_time < SHORT_RUN_S:
                for _ in range(min(FOLLOWERS - counts.get(job_id, 0), left - FOLLOWERS)):
                    left -= 1
                    added.append((next(free), self._job_table.take_job_id(), job_id))
        if not added:
            return
        base.followers += tuple(added)
        self._arrays.update((follower, base.job_id) for _, follower, _ in added)
        self.chosen += [follower for _, follower, _ in added]
        self._job_table.touch(base)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LONG_RUN_S, self._drop_if_long)

    def _is_next(self, base: Job) -> bool:
        """True if the array's next element is first in line for resources."""
        spec, table = base.spec, self._job_table
        plain = base.is_batch and base.state is JobState.PENDING and base.array_job_id == self._short
        limited = (
            base.array_max_running or base.dependency or spec.licenses or spec.deadline or spec.time_min_min
            or spec.reservation or "," in base.partition or base.restarts
            or table.policy.active or table.reservations.all
        )  # fmt: skip
        return plain and bool(base.pending_tasks) and not limited and self._no_other_user()

    def _holds_same_resources(self, job: Job, base: Job) -> bool:
        """True if a running element holds exactly the next element's resources."""
        return (
            job.state is JobState.RUNNING
            and job.flags is JobFlag.NONE
            and self._engine.of_job(job).this_machine
            and len(job.shares) == 1
            and job.shares[0].name not in self._dropping
            and (use := self._job_table.uses.get(job.shares[0].name)) is not None
            and use.available
            and (job.partition, job.time_limit_min) == (base.partition, base.time_limit_min)
            and (job.spec is base.spec or job.spec == base.spec)
        )

    def send(self) -> None:
        """Send the chosen followers to the agents. Called after the commit."""
        chosen, self.chosen = self.chosen, []
        for follower in chosen:
            base = self._job_table.jobs.get(self._arrays.get(follower, 0))
            for task, job_id, behind in base.followers if base is not None else ():
                front = self._job_table.jobs.get(behind)
                if base is None or front is None or job_id != follower:
                    continue
                element = base.copy(job_id=follower, array_task_id=task, pending_tasks=(), followers=(), steps={})
                transitions.begin(element, list(front.shares), front.engine, self._job_table.clock(), 0.0)
                if not self._engine.follow(self._life.launches.launch_of(element), behind):
                    self._keep_followers(base, lambda entry, follower=follower: entry[1] != follower)  # type: ignore[misc]

    def _drop_if_long(self) -> None:
        """Drop the followers of elements that run for long."""
        self._timer = None
        if not self._arrays:
            return
        since = self._job_table.clock() - LONG_RUN_S
        fronts = {behind for base in self._arrays_with_followers() for _, _, behind in base.followers}
        if any((job := self._job_table.jobs.get(behind)) is None or job.start_time <= since for behind in fronts):
            self.drop()
        self._timer = asyncio.get_running_loop().call_later(LONG_RUN_S, self._drop_if_long)

    # --- dropping

    def drop(self) -> None:
        """Make the agents drop all followers; ``dropped`` handles their replies."""
        for node in {self._node(behind) for base in self._arrays_with_followers() for _, _, behind in base.followers}:
            if node not in self._dropping:
                self._dropping.add(node)
                self._engine.drop_followers(node)

    def dropped(self, node: str) -> None:
        """Make followers pending again that this agent did not start."""
        for base in list(self._arrays_with_followers()):
            self._keep_followers(base, lambda entry: self._node(entry[2]) not in (node, ""))
        if node in self._dropping:
            self._dropping.discard(node)
            self._life.schedule_soon()
        self._answered.set()

    def must_drop(self, command: str, args: Sequence[str]) -> bool:
        """True if there are followers and the command changes jobs or nodes."""
        return bool(self._arrays) and command in _CHANGING and "show" not in args

    @asynccontextmanager
    async def all_dropped(self) -> AsyncIterator[None]:
        """Drop the followers, and choose none until the end of the block."""
        self._changing += 1
        try:
            self.drop()
            try:
                await asyncio.wait_for(self._wait_until_dropped(), ANSWER_S)
            except asyncio.TimeoutError:
                log.warning("no answer about followers on %s", ", ".join(sorted(self._dropping)))
            yield
        finally:
            self._changing -= 1
            self._life.schedule_soon()

    async def _wait_until_dropped(self) -> None:
        while self._arrays:
            self._answered.clear()
            await self._answered.wait()

    # --- starting

    def start_follower(self, follower: int, front: Job, shares: list[NodeShare], at: float) -> None:
        """Start the record of a follower that an agent has started."""
        table = self._job_table
        base = table.jobs.get(self._arrays.pop(follower, 0))
        task = next((task for task, job_id, _ in base.followers if job_id == follower), None) if base else None
        self._engine.adopt(follower, front.engine)
        if base is None or base.state is not JobState.PENDING or not any(task in part for part in base.pending_tasks):
            log.warning("an agent has started job %d, which was changed meanwhile: the job is ended", follower)
            background(self._end(follower))
            return
        base.followers = tuple(
            (one, job_id, follower if behind == front.job_id else behind)
            for one, job_id, behind in base.followers
            if job_id != follower
        )
        assert task is not None
        element = split_element(table, base, task, job_id=follower)
        element.sched_main = front.sched_main
        transitions.dependency_met(element, at)
        transitions.begin(element, shares, front.engine, at, 0.0)
        table.counters.started += 1
        table.book_shares(element)
        table.touch(element)
        self._life.began(element)
        self._life.mailer.watch_limit(element)
        self._life.mailer.notify("BEGIN", element)

    async def _end(self, follower: int) -> None:
        try:
            await self._engine.terminate(follower, "CANCELLED", signals.SIGTERM, self._job_table.cluster.kill_wait_s)
        except EngineError as error:
            log.warning("job %d: %s", follower, error)
