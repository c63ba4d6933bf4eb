"""The life cycle of jobs: start, end, requeue, and the requests of users.

The module exceeds 400 lines because each request takes the same few steps: transition, table, engine, event.
"""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...engines.base import EngineError, NodeUnavailable, background
from ...engines.foreign import FOREIGN
from ...engines.router import Router
from ...model.job import Job, Step
from ...model.reservation import Reservation
from ...model.spec import INFINITE
from ...model.states import JobFlag, JobState, NodeFlag, NodeState
from ..rules.advance_reservations import running_in
from ..rules.reservation_access import names_of
from ..slurm_errors import Errno, SlurmError
from ..store.database_file import StoreError
from . import transitions
from .deferred_termination import wait_for_reply
from .job_table import JobTable, holds_allocation
from .launch_builder import LaunchBuilder
from .submitter import split_element

if TYPE_CHECKING:
    from ..services.mailer import Mailer

log = logging.getLogger("slurmsky.controller")

_YEAR_MIN = 365 * 24 * 60


class LifeCycle:
    """Changes jobs, and marks each change in the job table. The service's flush commits the changes."""

    def __init__(
        self,
        job_table: JobTable,
        engine: Router,
        launches: LaunchBuilder,
        schedule_soon: Callable[[], None],
        mailer: Mailer,
        restore: Callable[[Job], bool] = lambda job: True,
    ) -> None:
        self.job_table = job_table
        self.engine = engine
        self.launches = launches
        self.schedule_soon = schedule_soon
        self.mailer = mailer
        #: called for each job that begins or ends: ("began" | "ended", job)
        self.listeners: list[Callable[[str, Job], None]] = []
        #: called for each node whose state a user sets: (name, word)
        self.node_listeners: list[Callable[[str, str], None]] = []
        #: restores the files with which a finished job can run again; False if they no longer exist
        self.restore = restore
        self._watchers: dict[int, list[asyncio.Future[None]]] = {}

    # --- waiting for a job

    def wake_waiting_commands(self, job: Job) -> None:
        """Wake the commands that wait for the job."""
        for waiter in self._watchers.pop(job.job_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, job: Job, until: Callable[[Job], bool]) -> None:
        """Return when the condition holds for the job."""
        while not until(job):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.setdefault(job.job_id, []).append(waiter)
            await waiter

    # --- starting

    def began(self, job: Job) -> None:
        """Report a job that has begun; ``launch`` follows the commit."""
        if not job.awaits_nodes:
            self._notify("began", job)

    async def launch(self, job: Job) -> None:
        """Send a begun job to the engine; requeue or fail it on error."""
        if job.het_job_id and job.het_offset:
            self.wake_waiting_commands(job)  # the leader's agent starts the steps of a component, which has no script
            return
        try:
            await self.engine.start(self.launches.launch_of(job))
        except NodeUnavailable as error:
            self.never_started(job, str(error))
            return
        except (EngineError, OSError) as error:
            log.error("job %d could not be started: %s", job.job_id, error)
            self.end(job, JobState.FAILED, 1, 0, reason="JobLaunchFailure", comment=str(error))
            return
        except Exception as problem:
            if job.state.active or job.awaits_nodes:
                self.hold_after_error(job, problem)
            return
        self.wake_waiting_commands(job)
        self.mailer.watch_limit(job)
        if not job.awaits_nodes:
            self.mailer.notify("BEGIN", job)

    def never_started(self, job: Job, problem: str) -> None:
        """Requeue or end a job whose node was unavailable at launch.

        A batch job is requeued, an allocation ends. Nothing of the job has run, so --no-requeue does not matter.
        Source: slurmctld agent.c, "Killing non-startable batch", which completes the job with requeue set.
        """
        log.warning("job %d could not be started: %s", job.job_id, problem)
        if job.state.finished:
            self.end(job, job.state, 0, 0)
        elif job.is_batch:
            self.run_again(job, JobState.NODE_FAIL)
        else:
            self.end(job, JobState.NODE_FAIL, 0, 0, comment=problem)

    def end(
        self,
        job: Job,
        state: JobState,
        exit_code: int,
        exit_signal: int,
        reason: str | None = None,
        at: float | None = None,
        comment: str = "",
        began: bool = True,
    ) -> None:
        """End the job: free its nodes and complete its record. ``began``: its script or one of its steps ran."""
        if holds_allocation(job):
            self.job_table.free_shares(job)
        transitions.end(job, state, exit_code, exit_signal, self.job_table.clock(), reason, at, comment, began)
        self.job_table.touch(job)
        self.job_table.finished(job)
        self.wake_waiting_commands(job)
        if job.het_job_id and not job.het_offset:
            for part in self.job_table.components(job):
                if part is not job and (not part.state.finished or JobFlag.COMPLETING in part.flags):
                    self.end(part, state, exit_code, exit_signal, reason, at, comment, began)
        self.mailer.notify_end(job)
        self.job_table.counters.job_ended(state)
        self._notify("ended", job)
        self.schedule_soon()

    # --- users' requests

    def cancel(self, job: Job, uid: int) -> None:
        """scancel without a signal. Raises SlurmError(ALREADY_DONE) for a finished job."""
        if job.state.finished:
            raise SlurmError(Errno.ALREADY_DONE)
        leader = self.leader(job)
        if leader is not job and job.state is JobState.PENDING:
            raise SlurmError(Errno.NOT_WHOLE_HET_JOB)
        transitions.cancelled_by(job, uid)
        if leader is not job:
            transitions.set_completing_as(job, JobState.CANCELLED, self.job_table.clock())
            self.job_table.touch(job)
            self.wake_waiting_commands(job)
            self._end_component(job)
            return
        if job.awaits_nodes:
            self.terminate(job, JobState.CANCELLED)
            return
        if job.state is JobState.PENDING:
            for part in self.job_table.components(job) if job.het_job_id else [job]:
                if part.state is JobState.PENDING:
                    transitions.cancelled_by(part, uid)
                    transitions.never_started(part)
                    reason = part.reason
                    self.end(part, JobState.CANCELLED, 0, 0)
                    transitions.keep_reason(part, reason)
                    if part.array_task_id is not None and not part.restarts and part.job_id != part.array_job_id:
                        # slurmctld only clears the element's bit in the array's record, which stays
                        self.job_table.drop(part)
            return
        self.terminate(job, JobState.CANCELLED)

    def terminate(self, job: Job, state: JobState, kill_wait_s: int | None = None) -> None:
        """End a running job. Its state is ``state`` at once, and COMPLETING until its agent reports the end."""
        wait = self.job_table.cluster.kill_wait_s if kill_wait_s is None else kill_wait_s
        transitions.set_completing_as(job, state, self.job_table.clock())
        self.job_table.touch(job)
        self.wake_waiting_commands(job)
        self._to_engine(job, self.engine.terminate(job.job_id, state.name, signals.SIGTERM, wait))
        if job.het_job_id and not job.het_offset:
            for part in self.job_table.components(job):
                if part is not job and (part.state.active or part.awaits_nodes):
                    transitions.set_completing_as(part, state, job.end_time)
                    transitions.cancelled_by(part, job.cancelled_by)
                    self.job_table.touch(part)

    def _end_component(self, job: Job) -> None:
        """End one running component; the others continue. Source: job_mgr.c, job_str_signal without whole_hetjob."""
        wait = self.job_table.cluster.kill_wait_s
        self._to_engine(job, self.engine.end_component(job.het_job_id, job.het_offset, wait))

    def leader(self, job: Job) -> Job:
        """Return a component's leader, whose agents run it; else the job."""
        return self.job_table.jobs.get(job.het_job_id, job) if job.het_job_id else job

    def _earliest_end(self, job: Job) -> float | None:
        """Epoch second of the first time limit among components; None: no limit."""
        return min((part.end_time for part in self.job_table.unfinished_components(job) if part.end_time), default=None)

    def _to_engine(self, job: Job, request: Any) -> None:
        async def send() -> None:
            await wait_for_reply(job.job_id)
            try:
                await request
            except EngineError as error:
                log.warning("job %d: %s", job.job_id, error)
                job.system_comment = str(error)
                self.job_table.touch(job)

        background(send())

    def _check_reachable(self, job: Job) -> None:
        """Raise SlurmError for a running job with unreachable nodes."""
        problem = self.engine.out_of_reach(self.leader(job).job_id) if job.state.active else ""
        if problem:
            raise SlurmError(Errno.UNREACHABLE, problem)

    def _check_launched_here(self, job: Job) -> None:
        """Raise SlurmError for a foreign job, which can only be cancelled."""
        if job.engine == FOREIGN:
            raise SlurmError(Errno.NOT_SUPPORTED)

    def signal(self, job: Job, number: int, target: str) -> None:
        """scancel --signal."""
        if job.state.finished:
            raise SlurmError(Errno.ALREADY_DONE)
        if number == signals.SIGKILL and job.engine == FOREIGN:
            self.cancel(job, job.uid)
            return
        self._check_launched_here(job)
        if job.state is JobState.PENDING:
            if number == signals.SIGKILL:
                self.cancel(job, job.uid)
                return
            raise SlurmError(Errno.NOT_RUNNING)
        self._check_reachable(job)
        leader = self.leader(job)
        if leader is not job:
            if target in ("batch", "full"):
                return  # slurmd signals the batch step, which only the leader has
            target += f"+{job.het_offset}"  # the id of the leader means all components
        self._to_engine(job, self.engine.signal(leader.job_id, number, target))
        if number in (signals.SIGSTOP, signals.SIGCONT):
            self._show_stopped(job, number == signals.SIGSTOP)

    def _show_stopped(self, job: Job, stopped: bool) -> None:
        """Show a running job as STOPPED from SIGSTOP to SIGCONT.

        Source: slurmctld's agent.c.
        """
        for part in self.job_table.unfinished_components(job) if self.leader(job) is job else [job]:
            transitions.show_stopped(part, stopped)
            self.job_table.touch(part)

    def hold_after_error(self, job: Job, problem: Exception) -> None:
        """Hold a job whose scheduling raised an internal error.

        All other jobs start as usual. The log has the traceback; after ``scontrol release`` the job is scheduled again.
        """
        log.error("job %d is held, its scheduling failed: %s", job.job_id, problem, exc_info=problem)
        for part in self.job_table.components(job):
            if part.shares:
                self.job_table.free_shares(part)
            transitions.hold_after_error(part, "internal error, see the controller's log")
            self.job_table.touch(part)
        self.wake_waiting_commands(job)

    def reservation_expired(self, one: Reservation) -> None:
        """End the jobs of an expired reservation (ResvOverRun=0).

        Pending jobs that request this reservation alone are held.
        """
        for job in running_in(one, self.job_table.jobs.values()):
            self.terminate(job, JobState.TIMEOUT)
        if one.name in self.job_table.reservations.all:
            return  # the reservation recurs
        for job in [self.job_table.jobs[job_id] for job_id in self.job_table.pending]:
            if names_of(job.spec) == (one.name,):
                if "NO_HOLD_JOBS_AFTER_END" in one.flags:
                    job.spec = job.spec.evolve(reservation=None)
                else:
                    transitions.hold(job, "ReservationDeleted")
                self.job_table.touch(job)

    def hold(self, job: Job, by_user: bool) -> None:
        """Hold a job (scontrol hold/uhold). Raises SlurmError for a finished job; a running job continues."""
        self._check_launched_here(job)
        if job.state.finished:
            raise SlurmError(Errno.JOB_FINISHED)
        transitions.hold(job, "JobHeldUser" if by_user else "JobHeldAdmin")
        self.job_table.touch(job)
        self.schedule_soon()

    def release(self, job: Job) -> None:
        """End the hold of a job, or of a het job's components (scontrol release)."""
        self._check_launched_here(job)
        if job.state.finished:
            raise SlurmError(Errno.JOB_FINISHED)
        for part in self.job_table.components(job) if job.het_job_id else [job]:
            transitions.release(part, self.job_table.take_priority(), self.job_table.clock())
            self.job_table.touch(part)
        self.schedule_soon()

    def requeue(self, job: Job, how: str = "requeue") -> None:
        """scontrol requeue/requeuehold. ``how``: requeue, hold or special."""
        self._check_launched_here(job)
        if self.leader(job) is not job:
            raise SlurmError(Errno.NOT_HET_JOB_LEADER)
        if not job.is_batch:
            raise SlurmError(Errno.DISABLED)
        if job.spec.requeue is False:
            raise SlurmError(Errno.DISABLED)
        if job.state is JobState.PENDING:
            raise SlurmError(Errno.JOB_PENDING)
        # The record itself holds the request: a controller that restarts knows that the job runs again.
        transitions.request_requeue(job, how)
        if job.state.finished:
            if JobFlag.COMPLETING not in job.flags:
                if not self.restore(job):
                    raise SlurmError(Errno.DISABLED)
                self.run_again(job, job.state)
            return
        for part in self.job_table.components(job):
            transitions.completing(part)
            self.job_table.touch(part)
        self._end_run(job)

    def _end_run(self, job: Job) -> None:
        self._to_engine(
            job,
            self.engine.terminate(
                job.job_id,
                "REQUEUED" if job.state.active else job.state.name,
                signals.SIGTERM,
                self.job_table.cluster.kill_wait_s,
            ),
        )

    def repeat_requests(self, job: Job) -> None:
        """Send users' requests to the agent again after a restart. The agent may have missed them before."""
        if JobFlag.COMPLETING in job.flags:
            self._end_run(job)
            return
        for part in self.job_table.components(job)[1:]:
            if JobFlag.COMPLETING in part.flags:
                self._end_component(part)
        if job.state is JobState.SUSPENDED:
            self._to_engine(job, self.engine.suspend(job.job_id))
        if job.time_limit_min is not None and job.time_limit_min < INFINITE and job.end_time:
            over = self.launches.over_time_limit_min(job) * 60
            self._to_engine(job, self.engine.limit(job.job_id, (self._earliest_end(job) or job.end_time) + over))

    def run_again(self, job: Job, old_state: JobState = JobState.PENDING) -> None:
        """End this run, and requeue the job with all its components. The ended run's record becomes a duplicate."""
        try:
            self.job_table.flush()  # steps reported until now belong to the run that ends
        except StoreError as error:
            log.warning("%s", error)
        requested = job.flags & transitions.REQUEUE_REQUESTED
        for part in self.job_table.components(job):
            transitions.copy_requeue_request(part, requested)
            self._run_again(part, old_state)
        self.mailer.notify("REQUEUE", job)
        self.schedule_soon()

    def _run_again(self, job: Job, old_state: JobState) -> None:
        now = self.job_table.clock()
        if holds_allocation(job):
            self.job_table.free_shares(job)
        self.job_table.supersede(transitions.ended_run(job, old_state, now))
        transitions.requeue(job, now, self.job_table.cluster.requeue_delay_s)
        self.job_table.touch(job)
        self.wake_waiting_commands(job)

    def requeue_at(self, job: Job, start: int) -> None:
        """Requeue an ended job with an earliest start in epoch seconds (scrontab)."""
        self.run_again(job, job.state)
        job.spec = job.spec.evolve(begin=start)
        transitions.not_before(job, start)
        self.job_table.touch(job)

    def _notify(self, event: str, job: Job) -> None:
        for listener in tuple(self.listeners):
            listener(event, job)

    def suspend(self, job: Job) -> None:
        """scontrol suspend."""
        self._check_launched_here(job)
        self._check_whole_job(job)
        if job.state is JobState.PENDING:
            raise SlurmError(Errno.JOB_PENDING)
        if job.state is JobState.SUSPENDED:
            return  # no error. Source: the oracle; job_mgr.c, _job_suspend_op
        if job.state is not JobState.RUNNING:
            raise SlurmError(Errno.ALREADY_DONE if job.state.finished else Errno.IS_NOT_RUNNING)
        self._check_reachable(job)
        now = self.job_table.clock()
        for part in self.job_table.unfinished_components(job):
            with self.job_table.rebook_resources(part):
                transitions.suspend(part, now)
        self._to_engine(job, self.engine.suspend(job.job_id))
        self.schedule_soon()

    def resume(self, job: Job) -> None:
        """scontrol resume."""
        self._check_whole_job(job)
        if job.state is not JobState.SUSPENDED:
            if job.state.finished:
                raise SlurmError(Errno.JOB_FINISHED)
            raise SlurmError(Errno.JOB_PENDING if job.state is JobState.PENDING else Errno.NOT_SUSPENDED)
        self._check_reachable(job)
        now = self.job_table.clock()
        gap = now - job.suspend_time
        for part in self.job_table.unfinished_components(job):
            with self.job_table.rebook_resources(part):
                transitions.resume(part, self.job_table.take_priority(), now, gap)
        if job.time_limit_min is not None and job.time_limit_min < INFINITE:
            self._to_engine(job, self.engine.limit(job.job_id, self._earliest_end(job)))
        self._to_engine(job, self.engine.resume(job.job_id))

    def _check_whole_job(self, job: Job) -> None:
        """Raise SlurmError for a het component; the request needs the whole job."""
        if self.leader(job) is not job:
            raise SlurmError(Errno.NOT_WHOLE_HET_JOB)

    def _can_shrink(self, job: Job) -> bool:
        return not job.het_job_id and self.engine.places_in(job.partition)

    def shrink(self, job: Job, nodes: frozenset[str]) -> None:
        """Release all nodes of a running job except these."""
        if not self._can_shrink(job):
            raise SlurmError(Errno.NOT_SUPPORTED)
        self._check_launched_here(job)
        self._check_reachable(job)
        self._release_nodes(job, nodes)

    def _release_nodes(self, job: Job, nodes: frozenset[str], failed: bool = False) -> None:
        self.job_table.shrink(job, nodes, failed)
        self._to_engine(job, self.engine.shrink(job.job_id, list(job.nodes), failed))
        self.wake_waiting_commands(job)
        self.schedule_soon()

    def release_failed_node(self, job: Job, name: str) -> bool:
        """Release a failed node of a job with --no-kill. False: the job ends with this node.

        The batch script ends with the first node. Source: job_mgr.c _foreach_kill_running_job_by_node.
        """
        if not job.spec.no_kill or name not in job.nodes[1:] or JobFlag.CONFIGURING in job.flags:
            return False
        if not self._can_shrink(job):  # a het job, or a managed job, which SkyPilot ends with any of its nodes
            return False
        log.error("Removing failed node %s from job %d", name, job.job_id)
        self._release_nodes(job, frozenset(job.nodes) - {name}, failed=True)
        return True

    def set_time_limit(self, job: Job, minutes: int) -> None:
        """Set the time limit of a pending or running job."""
        self._check_launched_here(job)
        self._check_reachable(job)
        transitions.set_time_limit(job, minutes)
        if job.state.active:
            self._to_engine(job, self.engine.limit(self.leader(job).job_id, self._earliest_end(job)))
        self.job_table.touch(job)
        self.schedule_soon()

    def set_step_limit(self, job: Job, step: Step, minutes: int) -> None:
        """Set the time limit of a running step."""
        self._check_reachable(job)
        step.time_limit_min = minutes
        end = step.start_time + minutes * 60 if minutes < INFINITE else None
        self._to_engine(job, self.engine.limit(self.leader(job).job_id, end, step.step_id))
        self.job_table.touch(job)

    def set_end_time(self, job: Job, when: float) -> None:
        """Set the end of a running job in epoch seconds. The time limit in minutes follows from it."""
        limit = job.time_limit_min if job.time_limit_min is not None and job.time_limit_min < INFINITE else _YEAR_MIN
        end = job.end_time or job.start_time + job.suspended_s + _YEAR_MIN * 60
        self.set_time_limit(job, max(1, limit + int(when - end + 30) // 60))
        transitions.expect_end(job, when)
        self._to_engine(job, self.engine.limit(self.leader(job).job_id, self._earliest_end(job)))

    def element(self, base: Job, task: int, cancels: bool = False) -> Job | None:
        """Return the record of an array's element, or None.

        A pending element that must differ from the others is split off. ``cancels``: the caller cancels it.
        """
        found = self.job_table.element(base.array_job_id, task)
        if found is not None:
            return found
        if any(task in part for part in base.pending_tasks):
            return split_element(self.job_table, base, task, cancels)
        return None

    def end_jobs_of_node(self, name: str) -> None:
        """End the jobs of a removed node; requeue those that allow it. With --no-kill they continue without the node.

        Source: kill_running_job_by_node_name.
        """
        for job_id in tuple(self.job_table.nodes[name].jobs):
            job = self.job_table.jobs[job_id]
            if job.state.active and not self.release_failed_node(job, name):
                transitions.fail_node(job, name)
                if job.spec.requeue and job.is_batch:
                    self.requeue(job)
                else:
                    self.terminate(job, JobState.NODE_FAIL)

    def node_state(self, name: str, word: str, reason: str, user: str) -> None:
        """scontrol update NodeName State=."""
        node = self.job_table.nodes[name]
        held = NodeFlag.DRAIN | NodeFlag.FAIL
        if word in ("DRAIN", "DRAINING", "DRAINED", "FAIL"):
            node.flags = node.flags & ~held | (NodeFlag.FAIL if word == "FAIL" else NodeFlag.DRAIN)
            if NodeFlag.POWERING_UP in node.flags:
                self.end_jobs_of_node(name)  # jobs that have not begun
        elif word in ("RESUME", "UNDRAIN", "IDLE"):
            node.flags &= ~((NodeFlag.DRAIN if word == "UNDRAIN" else held) | NodeFlag.NOT_RESPONDING)
            if node.state is NodeState.DOWN and word != "UNDRAIN":
                node.state = NodeState.IDLE
            if node.state is not NodeState.DOWN and not node.flags & NodeFlag.FAIL:
                node.reason, node.reason_user, node.reason_time = "", "", 0.0
        elif word == "DOWN":
            node.state = NodeState.DOWN
            self.end_jobs_of_node(name)
        if reason:
            node.reason, node.reason_user, node.reason_time = reason, user, self.job_table.clock()
        self.job_table.refresh_node(node)
        self.job_table.store_states()
        self.node_changed(name, word)

    def node_changed(self, name: str, word: str) -> None:
        """Report a node's new state to the listeners, and schedule a pass."""
        for listener in tuple(self.node_listeners):
            listener(name, word)
        self.schedule_soon()
