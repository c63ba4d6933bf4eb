"""--mail-type: which events of a job make a mail, and what its subject says.

Source: slurmctld/agent.c mail_job_info and _mail_body; the site's mail program is called as ``PROG -s SUBJECT USER``.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..language import timelimit
from ..model.job import Job
from ..model.states import JobState

#: event -> words of --mail-type that ask for it
EVENTS: dict[str, frozenset[str]] = {
    "BEGIN": frozenset({"BEGIN", "ALL"}),
    "END": frozenset({"END", "ALL"}),
    "FAIL": frozenset({"FAIL", "ALL"}),
    "REQUEUE": frozenset({"REQUEUE", "ALL"}),
    "INVALID_DEPEND": frozenset({"INVALID_DEPEND", "ALL"}),
    "TIME_LIMIT": frozenset({"TIME_LIMIT"}),
    "TIME_LIMIT_90": frozenset({"TIME_LIMIT_90"}),
    "TIME_LIMIT_80": frozenset({"TIME_LIMIT_80"}),
    "TIME_LIMIT_50": frozenset({"TIME_LIMIT_50"}),
}

_WORDS = {"BEGIN": "Began", "END": "Ended", "FAIL": "Failed", "REQUEUE": "Requeued",
          "INVALID_DEPEND": "Invalid dependency", "TIME_LIMIT": "Reached time limit",
          "TIME_LIMIT_90": "Reached 90% of time limit", "TIME_LIMIT_80": "Reached 80% of time limit",
          "TIME_LIMIT_50": "Reached 50% of time limit"}


@dataclass(frozen=True)
class Mail:
    """One mail to send."""

    to: str
    subject: str


def mail_for(event: str, job: Job, now: float) -> Mail | None:
    """The mail that an event of a job asks for, or None."""
    asked = {word.upper() for word in job.spec.mail_type}
    if not asked & EVENTS[event]:
        return None
    each = "ARRAY_TASKS" in asked
    if job.array_job_id and not each:
        # Without ARRAY_TASKS an array is told of as one: when its first element begins and its last one ends.
        if event in ("END", "FAIL") and job.pending_tasks:
            return None
        who = f"Slurm Array Summary Job_id={job.array_job_id}_* ({job.job_id})"
    elif job.array_job_id:
        who = f"Slurm Array Task Job_id={job.array_job_id}_{job.array_task_id} ({job.job_id})"
    else:
        who = f"Slurm Job_id={job.job_id}"
    subject = f"{who} Name={job.name} {_WORDS[event]}"
    if event == "BEGIN":
        subject += f", Queued time {timelimit.format_seconds(int(max(0, now - job.submit_time)))}"
    elif event in ("END", "FAIL"):
        run = int(max(0, (job.end_time or now) - (job.start_time or now)))
        subject += f", Run time {timelimit.format_seconds(run)}, {job.state.name}"
        if job.state in (JobState.COMPLETED, JobState.FAILED):
            subject += f", ExitCode {job.exit_code}"
    return Mail(job.spec.mail_user or job.user, subject)
