"""A job's way through its states: start, end, requeue, and what users do to it."""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...agent.core.end_messages import SETUP_FAILED
from ...engines.base import EngineError, NodeUnavailable, background
from ...engines.router import Router
from ...engines.sky.foreign_jobs import NAME as FOREIGN
from ...model.allocation import NodeShare
from ...model.job import Job
from ...model.reservation import Reservation
from ...model.spec import INFINITE
from ...model.states import JobFlag, JobState, NodeFlag, NodeState
from ..schedule.advance_reservations import names_of, running_in
from ..schedule.scheduler import SYSTEM_FAILURE
from ..services.mailer import Mailer
from ..slurm_errors import Errno, SlurmError
from ..store.database import StoreError
from .deferred_termination import hear_out
from .job_table import JobTable, holds_allocation
from .launch_builder import LaunchBuilder
from .submitter import split_element

log = logging.getLogger("slurmsky.controller")

#: seconds that a requeued job waits before it may start again (slurmctld waits for the credential to expire)
REQUEUE_DELAY_S = 2
_YEAR_MIN = 365 * 24 * 60

_REQUEUE_FLAGS = {"requeue": JobFlag.REQUEUED, "hold": JobFlag.REQUEUE_HOLD, "special": JobFlag.SPECIAL_EXIT}
REQUEUE_ASKED = JobFlag.REQUEUED | JobFlag.REQUEUE_HOLD | JobFlag.SPECIAL_EXIT


class LifeCycle:
    """Changes jobs; every change is touched in the book and committed by the service's flush."""

    def __init__(
        self,
        book: JobTable,
        engine: Router,
        letters: LaunchBuilder,
        kick: Callable[[], None],
        mailer: Mailer,
    ) -> None:
        self.book = book
        self.engine = engine
        self.letters = letters
        self.kick = kick
        self.mailer = mailer
        #: told of each job that begins or ends: ("began" | "ended", job)
        self.listeners: list[Callable[[str, Job], None]] = []
        #: told of each node whose state a user sets: (name, word)
        self.node_listeners: list[Callable[[str, str], None]] = []
        self._watchers: dict[int, list[asyncio.Future[None]]] = {}

    # --- waiting for a job

    def changed(self, job: Job) -> None:
        """Wake those who wait for the job."""
        for waiter in self._watchers.pop(job.job_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, job: Job, until: Callable[[Job], bool]) -> None:
        """Return when the condition holds of the job."""
        while not until(job):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.setdefault(job.job_id, []).append(waiter)
            await waiter

    # --- starting

    def begin(self, job: Job, shares: list[NodeShare]) -> None:
        """Fill in what a job knows once it has nodes; ``launch`` follows after the commit."""
        now = self.book.clock()
        job.shares = shares
        job.engine = self.engine.engine_name(job.partition)
        if job.launched:
            job.reason, job.reason_desc = "None", ""
            job.num_nodes = len(shares)
            self.book.touch(job)  # it runs once its nodes are there
            return
        wait = self.engine.ready_in([share.name for share in shares], job.partition)
        job.state = JobState.RUNNING
        job.flags = JobFlag.CONFIGURING if wait else JobFlag.NONE
        job.reason, job.reason_desc = "None", ""
        job.start_time = now + wait
        job.end_time = 0.0
        job.planned_nodes = ()
        limit = job.time_limit_min
        if limit is not None and limit < INFINITE:
            job.end_time = job.start_time + limit * 60
        job.num_nodes = len(shares)
        job.num_cpus = sum(share.cpus for share in shares)
        if job.spec.ntasks is None:
            job.num_tasks = sum(share.tasks for share in shares) or job.num_tasks
        job.batch_host = shares[0].name
        job.suspended_s = job.pre_suspend_s = 0.0
        self.book.touch(job)
        self.book.counters.started += 1
        self._tell("began", job)

    async def launch(self, job: Job) -> None:
        """Hand a begun job to the engine; a failure requeues or fails it."""
        if job.het_job_id and job.het_offset:
            self.changed(job)  # its leader's agent starts steps here; nothing of its own runs
            return
        try:
            await self.engine.start(self.letters.launch_of(job))
        except NodeUnavailable as error:
            self.never_started(job, str(error))
            return
        except (EngineError, OSError) as error:
            log.error("job %d could not be started: %s", job.job_id, error)
            self.end(job, JobState.FAILED, 1, 0, reason="JobLaunchFailure", comment=str(error))
            return
        except Exception as problem:
            if job.state.active or job.launched:
                self.set_aside(job, problem)
            return
        self.changed(job)
        self.mailer.watch_limit(job)
        if not job.launched:
            self.mailer.tell("BEGIN", job)

    def never_started(self, job: Job, problem: str) -> None:
        """A node could not be had when the job was launched: a batch job is requeued, an allocation ends.

        Nothing of the job has run, so --no-requeue does not matter. Source: slurmctld agent.c, "Killing
        non-startable batch", which completes the job with requeue set.
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
        """The job is over: free its nodes, complete its record. ``began``: its script, or its steps, ran at all."""
        if holds_allocation(job):
            self.book.free_shares(job)
        job.launched = False
        was_cancelled = job.state is JobState.CANCELLED
        job.state = state
        job.flags = JobFlag.NONE
        if not (was_cancelled and job.end_time):
            job.end_time = at or self.book.clock()
        batch = job.steps.get("batch")
        if batch is not None and not (exit_code or exit_signal):
            exit_signal = batch.exit_signal  # a cancelled job shows what its script died of
        if state is JobState.NODE_FAIL:
            exit_code = exit_signal = 0  # nobody was there to tell
        job.exit_code, job.exit_signal = exit_code, exit_signal
        _give_reason(job, reason)
        if comment:
            job.system_comment = comment
            if not began or job.reason in _BEFORE_IT_BEGAN or state is JobState.BOOT_FAIL:
                # sacct shows the reason for which a job waited; for one that never ran, the reason for that.
                job.blocked_reason = job.reason if began else "JobLaunchFailure"
        if job.start_time == 0.0 or job.start_time > job.end_time:  # the latter: its nodes were still to come up
            job.start_time = job.end_time
        self.book.touch(job)
        self.book.finished(job)
        self.changed(job)
        if job.het_job_id and not job.het_offset:
            for part in self.book.components(job):
                if part is not job and (not part.state.finished or JobFlag.COMPLETING in part.flags):
                    self.end(part, state, exit_code, exit_signal, reason, at, comment, began)
        self.mailer.tell_end(job)
        self.book.counters.job_over(state)
        self._tell("ended", job)
        self.kick()

    # --- what users do

    def cancel(self, job: Job, uid: int) -> None:
        """scancel without a signal. Raises SlurmError(ALREADY_DONE) for a finished job."""
        if job.state.finished:
            raise SlurmError(Errno.ALREADY_DONE)
        leader = self.leader(job)
        if leader is not job and job.state is JobState.PENDING:
            raise SlurmError(Errno.NOT_WHOLE_HET_JOB)
        if leader is not job and leader.state.active:
            self.cancel(leader, uid)  # one component's end is the end of all
            return
        job.cancelled_by = uid
        if job.launched:
            self.terminate(job, JobState.CANCELLED)
            return
        if job.state is JobState.PENDING:
            for part in self.book.components(job) if job.het_job_id else [job]:
                if part.state is JobState.PENDING:
                    part.cancelled_by = uid
                    part.start_time = part.end_time = 0.0
                    reason = part.reason
                    self.end(part, JobState.CANCELLED, 0, 0)
                    part.reason = reason
                    if part.array_task_id is not None and not part.restarts:
                        # slurmctld only clears the element's bit: it never had a record in memory
                        self.book.drop(part)
            return
        self.terminate(job, JobState.CANCELLED)

    def terminate(self, job: Job, state: JobState, kill_wait_s: int | None = None) -> None:
        """End a running job; it shows ``state`` at once and is COMPLETING until its agent says it is over."""
        wait = self.book.cluster.kill_wait_s if kill_wait_s is None else kill_wait_s
        job.end_time = self.book.clock()
        job.state = state
        job.flags |= JobFlag.COMPLETING
        self.book.touch(job)
        self.changed(job)
        self._to_engine(job, self.engine.terminate(job.job_id, state.name, signals.SIGTERM, wait))
        if job.het_job_id and not job.het_offset:
            for part in self.book.components(job):
                if part is not job and (part.state.active or part.launched):
                    part.state, part.end_time = state, job.end_time
                    part.flags |= JobFlag.COMPLETING
                    part.cancelled_by = job.cancelled_by
                    self.book.touch(part)

    def leader(self, job: Job) -> Job:
        """Whose agents run the job: a component of a het job runs nothing of its own."""
        return self.book.jobs.get(job.het_job_id, job) if job.het_job_id else job

    def _end_of_all(self, job: Job) -> float | None:
        """When the first time limit of its components is over; None: there is no limit."""
        return min((part.end_time for part in self.book.components(job) if part.end_time), default=None)

    def _to_engine(self, job: Job, request: Any) -> None:
        async def send() -> None:
            await hear_out(job.job_id)
            try:
                await request
            except EngineError as error:
                log.warning("job %d: %s", job.job_id, error)
                job.system_comment = str(error)
                self.book.touch(job)

        background(send())

    def _in_reach(self, job: Job) -> None:
        """Raise SlurmError for a running job whose nodes cannot be told anything: nothing would come of it."""
        problem = self.engine.out_of_reach(self.leader(job).job_id) if job.state.active else ""
        if problem:
            raise SlurmError(Errno.UNREACHABLE, problem)

    def _ours(self, job: Job) -> None:
        """Raise SlurmError for a job that others launched: all that can be done with it is to cancel it."""
        if job.engine == FOREIGN:
            raise SlurmError(Errno.NOT_SUPPORTED)

    def signal(self, job: Job, number: int, target: str) -> None:
        """scancel --signal."""
        if job.state.finished:
            raise SlurmError(Errno.ALREADY_DONE)
        if number == signals.SIGKILL and job.engine == FOREIGN:
            self.cancel(job, job.uid)
            return
        self._ours(job)
        if job.state is JobState.PENDING:
            if number == signals.SIGKILL:
                self.cancel(job, job.uid)
                return
            raise SlurmError(Errno.NOT_RUNNING)
        self._in_reach(job)
        # The steps of all components, whichever is named (slurm 22.05).
        self._to_engine(job, self.engine.signal(self.leader(job).job_id, number, target))
        if number in (signals.SIGSTOP, signals.SIGCONT):
            self._show_stopped(job, number == signals.SIGSTOP)

    def _show_stopped(self, job: Job, stopped: bool) -> None:
        """A running job that was sent SIGSTOP is shown as STOPPED until SIGCONT. Source: slurmctld's agent.c."""
        for part in self.book.components(job):
            part.flags = part.flags | JobFlag.STOPPED if stopped else part.flags & ~JobFlag.STOPPED
            self.book.touch(part)

    def set_aside(self, job: Job, problem: Exception) -> None:
        """Hold a job that an error of our own keeps from starting, so that all others go on.

        The log has the traceback; ``scontrol release`` tries the job again.
        """
        log.error("job %d is held, its scheduling failed: %s", job.job_id, problem, exc_info=problem)
        for part in self.book.components(job):
            if part.shares:
                self.book.free_shares(part)
            part.shares, part.launched = [], False
            part.state, part.flags = JobState.PENDING, JobFlag.NONE
            part.start_time = part.end_time = 0.0
            part.priority, part.reason = 0, SYSTEM_FAILURE
            part.reason_desc = f"{SYSTEM_FAILURE}: internal error, see the controller's log"
            self.book.touch(part)
        self.changed(job)

    def reservation_over(self, one: Reservation) -> None:
        """Jobs that run in it end with it (ResvOverRun=0); those that wait for it alone are held."""
        for job in running_in(one, self.book.jobs.values()):
            self.terminate(job, JobState.TIMEOUT)
        if one.name in self.book.reservations.all:
            return  # it comes again
        for job in [self.book.jobs[job_id] for job_id in self.book.pending]:
            if names_of(job.spec) == (one.name,):
                if "NO_HOLD_JOBS_AFTER_END" in one.flags:
                    job.spec = job.spec.evolve(reservation=None)
                else:
                    job.priority, job.reason, job.reason_desc = 0, "ReservationDeleted", ""
                self.book.touch(job)

    def hold(self, job: Job, by_user: bool) -> None:
        """scontrol hold/uhold. Raises SlurmError for a finished job; a running one keeps running."""
        self._ours(job)
        if job.state.finished:
            raise SlurmError(Errno.JOB_FINISHED)
        job.priority = 0
        job.reason, job.reason_desc = ("JobHeldUser" if by_user else "JobHeldAdmin"), ""
        if job.state is JobState.PENDING and not job.spec.begin:
            job.eligible_time = 0.0
        self.book.touch(job)
        self.kick()

    def release(self, job: Job) -> None:
        """scontrol release: of a held job, of a het job all of it."""
        self._ours(job)
        if job.state.finished:
            raise SlurmError(Errno.JOB_FINISHED)
        for part in self.book.components(job) if job.het_job_id else [job]:
            part.priority = self.book.take_priority()
            part.flags &= ~(JobFlag.REQUEUE_HOLD | JobFlag.SPECIAL_EXIT)
            part.reason, part.reason_desc = "None", ""
            if part.state is JobState.PENDING:
                part.eligible_time = max(self.book.clock(), part.spec.begin or 0)
            self.book.touch(part)
        self.kick()

    def requeue(self, job: Job, how: str = "requeue") -> None:
        """scontrol requeue/requeuehold. ``how``: requeue, hold or special."""
        self._ours(job)
        if self.leader(job) is not job:
            raise SlurmError(Errno.INVALID_JOB_ID)
        if not job.is_batch:
            raise SlurmError(Errno.DISABLED)
        if job.spec.requeue is False:
            raise SlurmError(Errno.DISABLED)
        if job.state is JobState.PENDING:
            raise SlurmError(Errno.JOB_PENDING)
        # Asked for in the record itself: a controller that starts again knows what becomes of the job.
        job.flags = job.flags & ~REQUEUE_ASKED | _REQUEUE_FLAGS[how]
        if job.state.finished:
            if JobFlag.COMPLETING not in job.flags:
                self.run_again(job, job.state)
            return
        for part in self.book.components(job):
            part.flags |= JobFlag.COMPLETING
            self.book.touch(part)
        self._end_run(job)

    def _end_run(self, job: Job) -> None:
        self._to_engine(
            job,
            self.engine.terminate(
                job.job_id,
                "REQUEUED" if job.state.active else job.state.name,
                signals.SIGTERM,
                self.book.cluster.kill_wait_s,
            ),
        )

    def repeat_wishes(self, job: Job) -> None:
        """After a restart: tell the agent again what users wanted of a job; it may have missed the first time."""
        if JobFlag.COMPLETING in job.flags:
            self._end_run(job)
            return
        if job.state is JobState.SUSPENDED:
            self._to_engine(job, self.engine.suspend(job.job_id))
        if job.time_limit_min is not None and job.time_limit_min < INFINITE and job.end_time:
            over = self.letters.over_time_limit_min(job) * 60
            self._to_engine(job, self.engine.limit(job.job_id, (self._end_of_all(job) or job.end_time) + over))

    def run_again(self, job: Job, old_state: JobState = JobState.PENDING) -> None:
        """This run is over and another is due: its record becomes a duplicate, the job pends again, with all its
        components."""
        try:
            self.book.flush()  # steps that were told so far belong to the run that ends here
        except StoreError as error:
            log.warning("%s", error)
        asked = job.flags & REQUEUE_ASKED
        for part in self.book.components(job):
            part.flags = part.flags & ~REQUEUE_ASKED | asked
            self._run_again(part, old_state)
        self.mailer.tell("REQUEUE", job)
        self.kick()

    def _run_again(self, job: Job, old_state: JobState) -> None:
        how = next((word for word, flag in _REQUEUE_FLAGS.items() if flag in job.flags), "requeue")
        now = self.book.clock()
        if holds_allocation(job):
            self.book.free_shares(job)
        job.launched = False
        earlier = replace(
            job,
            steps={},
            # A node's failure shows as itself, a user's wish as REQUEUED (job_mgr.c).
            flags=JobFlag.NONE if old_state.finished else JobFlag.REQUEUED,
            state=old_state if old_state.finished else JobState.PENDING,
        )
        if not earlier.state.finished:
            earlier.end_time = now
        self.book.supersede(earlier)
        job.restarts += 1
        job.submit_time = now  # the runs of a job have been submitted one after the other (job_mgr.c _job_requeue_op)
        job.state = JobState.PENDING
        job.flags = JobFlag.NONE
        job.shares, job.steps = [], {}
        job.start_time = job.end_time = 0.0
        job.exit_code = job.exit_signal = job.derived_exit_code = 0
        job.batch_host = ""
        job.cancelled_by = None
        job.eligible_time = now + REQUEUE_DELAY_S
        job.start_time = job.eligible_time
        if how == "requeue":
            job.priority = self.book.take_priority() if job.priority == 0 else job.priority
            job.reason, job.reason_desc = "BeginTime", ""
        else:
            job.priority = 0
            job.reason, job.reason_desc = "job requeued in held state", ""
            # JOB_REQUEUE_HOLD goes once the job is back in the queue; JOB_SPECIAL_EXIT stays to be seen.
            job.flags = JobFlag.SPECIAL_EXIT if how == "special" else JobFlag.NONE
        self.book.touch(job)
        self.changed(job)

    def again_at(self, job: Job, start: int) -> None:
        """A job that has just ended comes back, not before an epoch second (scrontab)."""
        self.run_again(job, job.state)
        job.spec = job.spec.evolve(begin=start)
        job.eligible_time = job.start_time = float(start)
        self.book.touch(job)

    def _tell(self, event: str, job: Job) -> None:
        for listener in tuple(self.listeners):
            listener(event, job)

    def suspend(self, job: Job) -> None:
        """scontrol suspend."""
        self._ours(job)
        self._whole(job)
        if job.state is JobState.PENDING:
            raise SlurmError(Errno.JOB_PENDING)
        if job.state is not JobState.RUNNING:
            raise SlurmError(Errno.ALREADY_DONE if job.state.finished else Errno.NOT_SUPPORTED)
        self._in_reach(job)
        now = self.book.clock()
        for part in self.book.components(job):
            part.state = JobState.SUSPENDED
            part.suspend_time = now
            part.pre_suspend_s = now - part.start_time - part.suspended_s
            part.priority = 0
            self.book.touch(part)
        self._to_engine(job, self.engine.suspend(job.job_id))

    def resume(self, job: Job) -> None:
        """scontrol resume."""
        self._whole(job)
        if job.state is not JobState.SUSPENDED:
            if job.state.finished:
                raise SlurmError(Errno.JOB_FINISHED)
            raise SlurmError(Errno.JOB_PENDING if job.state is JobState.PENDING else Errno.NOT_SUSPENDED)
        self._in_reach(job)
        now = self.book.clock()
        gap = now - job.suspend_time
        for part in self.book.components(job):
            part.state = JobState.RUNNING
            part.suspended_s += gap
            part.priority = self.book.take_priority()
            part.suspend_time = now
            if part.time_limit_min is not None and part.time_limit_min < INFINITE:
                part.end_time += gap
            self.book.touch(part)
        if job.time_limit_min is not None and job.time_limit_min < INFINITE:
            self._to_engine(job, self.engine.limit(job.job_id, self._end_of_all(job)))
        self._to_engine(job, self.engine.resume(job.job_id))

    def _whole(self, job: Job) -> None:
        """Raise SlurmError for a component of a het job, where only all of it can be meant."""
        if self.leader(job) is not job:
            raise SlurmError(Errno.NOT_WHOLE_HET_JOB)

    def set_time_limit(self, job: Job, minutes: int) -> None:
        """A new time limit, of a pending or running job."""
        self._ours(job)
        self._in_reach(job)
        job.time_limit_min = minutes
        if job.state.active:
            job.end_time = job.start_time + job.suspended_s + minutes * 60 if minutes < INFINITE else 0.0
            self._to_engine(job, self.engine.limit(self.leader(job).job_id, self._end_of_all(job)))
        self.book.touch(job)
        self.kick()

    def set_end_time(self, job: Job, when: float) -> None:
        """A new end of a running job, to the second; its time limit is what that makes in minutes."""
        limit = job.time_limit_min if job.time_limit_min is not None and job.time_limit_min < INFINITE else _YEAR_MIN
        end = job.end_time or job.start_time + job.suspended_s + _YEAR_MIN * 60
        self.set_time_limit(job, max(1, limit + int(when - end + 30) // 60))
        job.end_time = when
        self._to_engine(job, self.engine.limit(self.leader(job).job_id, self._end_of_all(job)))

    def element(self, base: Job, task: int) -> Job | None:
        """The record of an array's element, split off from the pending rest when it must differ from it."""
        found = self.book.element(base.array_job_id, task)
        if found is not None:
            return found
        if any(task in part for part in base.pending_tasks):
            return split_element(self.book, base, task)
        return None

    def node_state(self, name: str, word: str, reason: str, user: str) -> None:
        """scontrol update NodeName State=."""
        node = self.book.nodes[name]
        if word in ("DRAIN", "DRAINING", "DRAINED"):
            node.flags |= NodeFlag.DRAIN
        elif word in ("RESUME", "UNDRAIN", "IDLE"):
            node.flags &= ~(NodeFlag.DRAIN | NodeFlag.FAIL | NodeFlag.NOT_RESPONDING)
            if node.state is NodeState.DOWN:
                node.state = NodeState.IDLE
            node.reason, node.reason_user, node.reason_time = "", "", 0.0
        elif word in ("DOWN", "FAIL"):
            node.state = NodeState.DOWN
            for job_id in tuple(node.jobs):
                job = self.book.jobs[job_id]
                if job.state.active:
                    job.failed_node = name
                    if job.spec.requeue and job.is_batch:
                        self.requeue(job)
                    else:
                        self.terminate(job, JobState.NODE_FAIL)
        if reason:
            node.reason, node.reason_user, node.reason_time = reason, user, self.book.clock()
        self.book.refresh_node(node)
        self.book.keep_states()
        self.node_changed(name, word)

    def node_changed(self, name: str, word: str) -> None:
        """Report a node's new state to the listeners, and schedule by it."""
        for listener in tuple(self.node_listeners):
            listener(name, word)
        self.kick()


#: reasons of jobs that ended without having run
_BEFORE_IT_BEGAN = frozenset({"JobLaunchFailure", "BadConstraints", "SystemFailure"})
#: why a job is over, where its state says it
_REASONS = {JobState.TIMEOUT: "TimeLimit", JobState.NODE_FAIL: "NodeDown", JobState.COMPLETED: "None"}


def _give_reason(job: Job, told: str | None) -> None:
    """Why a job is over, in its record: from what its agent or engine ``told``, its state and its exit status."""
    failed = job.state is JobState.FAILED
    if failed and job.exit_signal == SETUP_FAILED:
        job.reason = "JobLaunchFailure"
    elif told and told != "None":
        job.reason = told
    elif failed and job.exit_code:
        job.reason = "NonZeroExitCode"
    elif failed and job.exit_signal:
        job.reason = "RaisedSignal"
        job.reason_desc = f"RaisedSignal:{job.exit_signal}({signal_name(job.exit_signal)})"
    elif job.state in _REASONS:
        job.reason, job.reason_desc = _REASONS[job.state], ""


def signal_name(number: int) -> str:
    """strsignal's text, as Slurm's RaisedSignal reason shows it."""
    try:
        return signals.strsignal(number) or f"Unknown signal {number}"
    except ValueError:
        return f"Unknown signal {number}"
