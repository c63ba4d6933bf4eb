"""State machine of a job: the only assignments of its state.

State includes flags, reason, times and exit status. A job is PENDING, then RUNNING (CONFIGURING until its nodes are up,
SUSPENDED in between), then in a final state (COMPLETING until its processes have ended), or PENDING again after a
requeue. Each function is one transition: it assigns the fields of the record that belong to the new state, and nothing
else. The caller books or frees nodes, calls ``JobTable.touch`` and informs the engine. Times are epoch seconds. Source:
slurmctld/job_mgr.c and node_scheduler.c.

The module exceeds 400 lines because a test verifies that no other module assigns these fields.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Sequence
from dataclasses import replace

from ...agent.job.end_messages import SETUP_FAILED
from ...model.allocation import NodeShare
from ...model.job import Job
from ...model.spec import INFINITE
from ...model.states import OOM_SIGNAL, JobFlag, JobState

#: requeue requests of ``scontrol requeue`` and ``requeuehold``, and the flag that records each
REQUEUE_FLAGS = {"requeue": JobFlag.REQUEUED, "hold": JobFlag.REQUEUE_HOLD, "special": JobFlag.SPECIAL_EXIT}
REQUEUE_REQUESTED = JobFlag.REQUEUED | JobFlag.REQUEUE_HOLD | JobFlag.SPECIAL_EXIT
#: Slurm's FAIL_SYSTEM: the reason of a job whose scheduling raised an internal error
SYSTEM_FAILURE = "SystemFailure"
#: reasons of jobs that ended without having run
NEVER_RAN = frozenset({"JobLaunchFailure", "BadConstraints", SYSTEM_FAILURE})
#: reasons that a final state implies
_FINAL_REASONS = {JobState.TIMEOUT: "TimeLimit", JobState.NODE_FAIL: "NodeDown", JobState.COMPLETED: "None",
                  JobState.OUT_OF_MEMORY: "OutOfMemory"}  # fmt: skip


def limited(job: Job) -> bool:
    """True for a job with a finite time limit."""
    return job.time_limit_min is not None and job.time_limit_min < INFINITE


# --- pending


def wait(job: Job, reason: str, desc: str, now: float) -> bool:
    """Record why the job waits; return True for a new reason."""
    job.last_sched_eval = now
    if (job.reason, job.reason_desc) == (reason, desc):
        return False
    job.reason, job.reason_desc = reason, desc
    return True


def plan_start(job: Job, when: float) -> None:
    """Record the planned start of a pending job."""
    job.start_time = float(when)


def plan_nodes(job: Job, names: Sequence[str]) -> None:
    """Record the nodes on which a pending job is planned to start."""
    job.planned_nodes = tuple(names)


def make_eligible(job: Job, now: float) -> None:
    """Make the job eligible from now on, unless it already is."""
    job.eligible_time = job.eligible_time or now


def dependency_met(job: Job, now: float) -> None:
    """Record that the dependencies are met; the job's age counts from now."""
    job.dependency = job.dependency_shown = ""
    job.eligible_time = max(now, job.eligible_time)
    job.accrue_time = job.accrue_time or job.eligible_time


def dependency_unmet(job: Job, rest: str, shown: str) -> None:
    """Record the unmet dependencies, and scontrol's form of them."""
    job.dependency, job.dependency_shown = rest, shown


def not_eligible(job: Job) -> None:
    """Make the job ineligible; its reason is not resources."""
    job.eligible_time = 0.0


def not_before(job: Job, when: float) -> None:
    """Set the earliest start of a pending job."""
    job.eligible_time = job.start_time = float(when)


def eligible_from(job: Job, when: float) -> None:
    """Postpone the eligible time, never bring it forward."""
    job.eligible_time = max(job.eligible_time, when)


def accrue(job: Job, now: float) -> None:
    """Count the job's age from now on."""
    job.accrue_time = now


def hold(job: Job, reason: str, desc: str = "") -> None:
    """Hold the job: priority 0 and a reason, until a release."""
    job.priority = 0
    job.reason, job.reason_desc = reason, desc
    if job.state is JobState.PENDING and not job.spec.begin and reason.startswith("JobHeld"):
        job.eligible_time = 0.0


def change_hold(job: Job, reason: str) -> None:
    """Record a new reason of a hold."""
    job.reason, job.reason_desc = reason, ""


def release(job: Job, priority: int, now: float) -> None:
    """End a hold."""
    job.priority = priority
    job.untested = False
    job.flags &= ~(JobFlag.REQUEUE_HOLD | JobFlag.SPECIAL_EXIT)
    job.reason, job.reason_desc = "None", ""
    if job.state is JobState.PENDING:
        job.eligible_time = max(now, job.spec.begin or 0)


def clear_reason(job: Job) -> None:
    """Clear the job's reason; the next scheduling pass sets the current one."""
    job.reason, job.reason_desc = "None", ""


def keep_pending_reason(job: Job) -> None:
    """Store the last pending reason except Priority and Resources, for sacct."""
    if job.reason not in ("None", "Priority", "Resources") and job.state is JobState.PENDING:
        job.blocked_reason = "JobHeldUser" if job.reason.endswith((" held", " held state")) else job.reason


# --- starting


def await_nodes(job: Job, shares: list[NodeShare], engine: str) -> None:
    """Keep the job PENDING until the engine has created its nodes."""
    job.shares, job.engine, job.awaits_nodes = shares, engine, True
    job.reason, job.reason_desc = "None", ""
    job.num_nodes = len(shares)


def begin(job: Job, shares: list[NodeShare], engine: str, now: float, nodes_in_s: float) -> None:
    """Start the job on its nodes, which are ready in ``nodes_in_s`` seconds (0: now)."""
    job.shares, job.engine, job.awaits_nodes = shares, engine, False
    job.state = JobState.RUNNING
    job.flags = JobFlag.CONFIGURING if nodes_in_s else JobFlag.NONE
    job.reason, job.reason_desc = "None", ""
    _start_clock(job, now + nodes_in_s)
    job.planned_nodes = ()
    job.num_nodes = len(shares)
    job.num_cpus = sum(share.cpus for share in shares)
    if job.spec.ntasks is None:
        job.num_tasks = sum(share.tasks for share in shares) or job.num_tasks
    job.batch_host = shares[0].name
    job.suspended_s = job.pre_suspend_s = 0.0


def configure(job: Job, now: float) -> None:
    """Show CONFIGURING: the engine brings up the job's nodes."""
    job.state, job.flags = JobState.RUNNING, JobFlag.CONFIGURING
    job.reason = "None"
    job.start_time = job.start_time or now


def back_to_pending(job: Job, reason: str, desc: str = "") -> None:
    """Return to PENDING: the engine has no nodes yet. ``desc``: text that is shown in place of the reason."""
    job.state, job.flags = JobState.PENDING, JobFlag.NONE
    job.reason, job.reason_desc = reason, desc
    job.start_time = 0.0


def run(job: Job, since: float) -> None:
    """Set the job RUNNING after its script has begun on new nodes."""
    job.awaits_nodes = False
    job.state, job.flags = JobState.RUNNING, JobFlag.NONE
    job.reason, job.reason_desc = "None", ""
    _start_clock(job, since)


def nodes_ready(job: Job, since: float) -> None:
    """Count a CONFIGURING job's time from ``since``, when its nodes were up."""
    job.flags &= ~JobFlag.CONFIGURING
    expected = job.end_time
    _start_clock(job, since)
    job.end_time = job.end_time or expected


def _start_clock(job: Job, since: float) -> None:
    """Start the run time, and with it the time limit."""
    job.start_time, job.end_time = since, 0.0
    if job.time_limit_min is not None and job.time_limit_min < INFINITE:
        job.end_time = since + job.time_limit_min * 60


# --- running


def suspend(job: Job, now: float) -> None:
    """Stop the job's clock."""
    job.state = JobState.SUSPENDED
    job.suspend_time = now
    job.pre_suspend_s = now - job.start_time - job.suspended_s
    job.priority = 0


def resume(job: Job, priority: int, now: float, gap_s: float) -> None:
    """Continue the clock of a suspended job. Its end is delayed by the seconds of the suspension."""
    job.state = JobState.RUNNING
    job.suspended_s += gap_s
    job.priority = priority
    job.suspend_time = now
    if limited(job):
        job.end_time += gap_s


def show_stopped(job: Job, stopped: bool) -> None:
    """Show STOPPED from SIGSTOP to SIGCONT; the job's clock continues."""
    job.flags = job.flags | JobFlag.STOPPED if stopped else job.flags & ~JobFlag.STOPPED


def shrink(job: Job, nodes: frozenset[str], now: float, failed: bool = False) -> None:
    """Release all other nodes of the job. ``failed``: the released nodes are down; NumTasks remains.

    Source: job_mgr.c excise_node_from_job, job_pre_resize_acctg.
    """
    job.shares = [share for share in job.shares if share.name in nodes]
    job.num_nodes = len(job.shares)
    job.num_cpus = sum(share.cpus for share in job.shares)
    if not failed:
        job.num_tasks = min(job.num_tasks, job.num_cpus // (job.spec.cpus_per_task or 1))
    job.resize_time = now


def set_time_limit(job: Job, minutes: int) -> None:
    """Set the time limit, and an active job's expected end."""
    job.time_limit_min = minutes
    if job.state.active:
        job.end_time = job.start_time + job.suspended_s + minutes * 60 if minutes < INFINITE else 0.0


def correct_derived_exit(job: Job, status: int) -> None:
    """Set DerivedExitCode to a wait status (sacctmgr modify job)."""
    job.derived_exit_code, job.derived_exit_signal = status >> 8 & 0xFF, status & 0x7F


def expect_end(job: Job, when: float) -> None:
    """Set a new expected end of a running job, to the second."""
    job.end_time = when


def note_step_end(job: Job, exit_code: int, exit_signal: int) -> None:
    """Update DerivedExitCode at a step's end.

    It is the largest exit code of the steps, unless a later one ran out of memory (stepmgr.c).
    """
    if exit_signal == OOM_SIGNAL:
        job.derived_exit_code, job.derived_exit_signal = 0, exit_signal
    elif exit_code > job.derived_exit_code:
        job.derived_exit_code, job.derived_exit_signal = exit_code, 0


def note_exit_code(job: Job, exit_code: int, exit_signal: int = 0) -> None:
    """Record the exit status of salloc's or srun's program. Its allocation has not ended yet."""
    job.exit_code, job.exit_signal = exit_code, exit_signal


def fail_node(job: Job, node: str) -> None:
    """Record the node whose failure ends this run."""
    job.failed_node = node


# --- ending


def set_completing_as(job: Job, state: JobState, now: float) -> None:
    """Set the final state, and COMPLETING until the agent reports the end."""
    job.end_time = now
    job.state = state
    job.flags |= JobFlag.COMPLETING


def request_requeue(job: Job, how: str) -> None:
    """Record a requeue request, which survives a restart of the controller. ``how``: see REQUEUE_FLAGS."""
    job.flags = job.flags & ~REQUEUE_REQUESTED | REQUEUE_FLAGS[how]


def completing(job: Job) -> None:
    """Set COMPLETING: the job's run ends; a requeue follows."""
    job.flags |= JobFlag.COMPLETING


def cancelled_by(job: Job, uid: int | None) -> None:
    """Record who cancelled the job, for sacct's CANCELLED by UID."""
    job.cancelled_by = uid


def never_started(job: Job) -> None:
    """Clear start and end of a job that is cancelled while pending."""
    job.start_time = job.end_time = 0.0


def end(
    job: Job,
    state: JobState,
    exit_code: int,
    exit_signal: int,
    now: float,
    reason: str | None = None,
    at: float | None = None,
    comment: str = "",
    began: bool = True,
) -> None:
    """Set the job's final state. ``began``: its script or one of its steps ran."""
    was_cancelled = job.state is JobState.CANCELLED
    job.awaits_nodes = False
    job.state, job.flags = state, JobFlag.NONE
    if not (was_cancelled and job.end_time):
        job.end_time = at or now
    batch = job.steps.get("batch")
    if batch is not None and not (exit_code or exit_signal):
        exit_signal = batch.exit_signal  # a cancelled job shows the signal that ended its script
    if state is JobState.NODE_FAIL:
        exit_code, exit_signal = 0, 1  # no agent was left to report any; slurmctld sets the wait status 1
    job.exit_code, job.exit_signal = exit_code, exit_signal
    _final_reason(job, reason)
    if comment:
        job.system_comment = comment
        if not began or job.reason in NEVER_RAN or state is JobState.BOOT_FAIL:
            # sacct's Reason: why a job waited, or why it did not run
            job.blocked_reason = job.reason if began else "JobLaunchFailure"
    if job.start_time == 0.0 or job.start_time > job.end_time:  # the latter: its nodes were not up yet
        job.start_time = job.end_time


def keep_reason(job: Job, reason: str) -> None:
    """Keep a reason that the final state does not imply. It is the pending reason of a cancelled job."""
    job.reason = reason


def _final_reason(job: Job, reported: str | None) -> None:
    """Set the reason of an ended job.

    It comes from its agent or engine, its exit status and its state, in this order.
    """
    failed = job.state is JobState.FAILED
    if failed and job.exit_signal == SETUP_FAILED:
        reported = None  # slurmctld takes the code for a signal's number
    if reported and reported not in ("None", "RaisedSignal"):
        job.reason = reported
    elif failed and job.exit_code:
        job.reason = "NonZeroExitCode"
    elif failed and job.exit_signal:
        job.reason = "RaisedSignal"
        job.reason_desc = f"RaisedSignal:{job.exit_signal}({signal_name(job.exit_signal)})"
    elif job.state in _FINAL_REASONS:
        job.reason, job.reason_desc = _FINAL_REASONS[job.state], ""


def signal_name(number: int) -> str:
    """Return strsignal's text, as in Slurm's RaisedSignal reason."""
    try:
        return signals.strsignal(number) or f"Unknown signal {number}"
    except ValueError:
        return f"Unknown signal {number}"


# --- running again


def ended_run(job: Job, state: JobState, now: float) -> Job:
    """Copy the job as the record of the requeued run.

    A node failure is the run's final state, a user's request makes it REQUEUED (job_mgr.c).
    """
    final = state.finished
    return replace(
        job,
        steps={},
        flags=JobFlag.NONE if final else JobFlag.REQUEUED,
        state=state if final else JobState.PENDING,
        end_time=job.end_time if job.state.finished else now,  # a running job's end_time is its time limit
    )


def lost_run(job: Job, now: float) -> Job:
    """Copy the job as the record of a run with lost nodes."""
    return replace(job, steps={}, flags=JobFlag.REQUEUED, end_time=now, state=JobState.NODE_FAIL)


def copy_requeue_request(job: Job, requested: JobFlag) -> None:
    """Copy the requeue request of the het job's leader."""
    job.flags = job.flags & ~REQUEUE_REQUESTED | requested


def requeue(job: Job, now: float, delay_s: int) -> None:
    """Queue the job for another run, by its requeue request. A job that was held while it ran stays held."""
    how = next((word for word, flag in REQUEUE_FLAGS.items() if flag in job.flags), "requeue")
    job.restarts += 1
    job.submit_time = now  # each run of a job has a later submit time (job_mgr.c _job_requeue_op)
    job.awaits_nodes = False
    job.state, job.flags = JobState.PENDING, JobFlag.NONE
    job.shares, job.steps, job.licenses_alloc = [], {}, ""
    job.end_time = 0.0
    job.exit_code = job.exit_signal = job.derived_exit_code = job.derived_exit_signal = 0
    job.batch_host = ""
    job.cancelled_by = None
    if (job.spec.begin or 0) <= now:
        # A begin time of the job, so that the delay outlasts a hold (job_mgr.c batch_requeue_fini).
        job.spec = job.spec.evolve(begin=int(now) + delay_s)
    job.eligible_time = job.start_time = job.spec.begin or now
    if how == "requeue":
        job.reason, job.reason_desc = "BeginTime" if job.priority else "JobHeldAdmin", ""
    else:
        job.priority = 0
        job.reason, job.reason_desc = "job requeued in held state", ""
        # JOB_REQUEUE_HOLD ends once the job is back in the queue; JOB_SPECIAL_EXIT stays visible.
        job.flags = JobFlag.SPECIAL_EXIT if how == "special" else JobFlag.NONE


def restart_on_new_nodes(job: Job, restarts: int, reason: str) -> None:
    """Return to PENDING after the engine lost the job's nodes. The engine starts the job again on other nodes."""
    job.restarts = restarts
    job.awaits_nodes = True
    job.state, job.flags, job.reason = JobState.PENDING, JobFlag.NONE, reason
    job.start_time = job.end_time = 0.0
    job.steps = {}


def hold_after_error(job: Job, why: str) -> None:
    """Hold a job after an internal error."""
    job.shares, job.awaits_nodes = [], False
    job.state, job.flags = JobState.PENDING, JobFlag.NONE
    job.start_time = job.end_time = 0.0
    hold(job, SYSTEM_FAILURE, f"{SYSTEM_FAILURE}: {why}")


# --- managed jobs of SkyPilot that were not submitted here


def show_foreign_end(job: Job, state: JobState, exit_code: int, reason: str, at: float) -> None:
    """Record an ended job of SkyPilot's history, first read now."""
    job.state, job.exit_code, job.reason, job.end_time = state, exit_code, reason, at
    job.flags, job.awaits_nodes = JobFlag.NONE, False
    job.start_time = job.start_time or at


def show_foreign_cancel(job: Job, now: float) -> None:
    """Mark a job that SkyPilot is ending."""
    job.state, job.flags = JobState.CANCELLED, JobFlag.COMPLETING
    job.end_time = job.end_time or now


def show_foreign_run(job: Job, flags: JobFlag, since: float) -> None:
    """Show a job that SkyPilot runs or prepares (CONFIGURING)."""
    job.state, job.flags, job.reason = JobState.RUNNING, flags, "None"
    job.awaits_nodes = JobFlag.CONFIGURING in flags
    job.start_time = since
    job.batch_host = "" if job.awaits_nodes or not job.shares else job.shares[0].name


def show_foreign_pending(job: Job, reason: str) -> None:
    """Show a job in SkyPilot's queue. ``awaits_nodes`` keeps our own scheduler from starting it."""
    job.state, job.flags, job.awaits_nodes = JobState.PENDING, JobFlag.NONE, True
    job.reason, job.start_time = reason, 0.0


def set_foreign_times(job: Job, submitted: float, started: float) -> None:
    """Set submit and start times from SkyPilot (0.0: unknown)."""
    if submitted:
        job.submit_time = job.eligible_time = min(job.submit_time, submitted)
    job.start_time = started or job.start_time
