"""Events of --mail-type, with subject and body of the mail.

Source: slurmctld/agent.c mail_job_info and _mail_body; the site's mail program is called as ``PROG -s SUBJECT USER``.
Slurm's mails have no body; sites that want a body configure contribs/seff/smail, which mails seff's summary of the job.
slurmsky always passes that summary on stdin.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...language import timelimit
from ...model.cluster import ClusterConfig
from ...model.job import Job
from ...model.states import JobState
from ...report.report_context import ReportContext
from ...report.text.seff_report import seff_text
from ...report.text.units import Clock

#: event -> words of --mail-type that request it
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

_WORDS = {
    "BEGIN": "Began",
    "END": "Ended",
    "FAIL": "Failed",
    "REQUEUE": "Requeued",
    "INVALID_DEPEND": "Invalid dependency",
    "TIME_LIMIT": "Reached time limit",
    "TIME_LIMIT_90": "Reached 90% of time limit",
    "TIME_LIMIT_80": "Reached 80% of time limit",
    "TIME_LIMIT_50": "Reached 50% of time limit",
}


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Mail:
    """One mail to send."""

    to: str
    subject: str
    body: str = ""


def requests_mail(event: str, job: Job) -> bool:
    """True if --mail-type names an event."""
    return bool({word.upper() for word in job.spec.mail_type} & EVENTS[event])


def is_one_message(job: Job) -> bool:
    """True for an array element without its own mail."""
    return bool(job.array_job_id) and "ARRAY_TASKS" not in {word.upper() for word in job.spec.mail_type}


def _summary(elements: Sequence[Job]) -> str:
    """Return an array's result: smallest and largest exit code."""
    signals = [job.exit_signal for job in elements if job.exit_signal]
    if signals:
        return f", Mixed, MaxSignal [{max(signals)}]"
    low, high = min(job.exit_code for job in elements), max(job.exit_code for job in elements)
    return f", {'Mixed' if high and not low else elements[-1].state.name}, ExitCode [{low}-{high}]"


def mail_for(
    event: str, job: Job, now: float, cluster: ClusterConfig | None = None, elements: Sequence[Job] = ()
) -> Mail | None:
    """Return the mail that a job requests for an event, or None.

    With the ``cluster``, the mail of an end has seff's summary. ``elements``: all elements of an array
    with a single mail, once all have ended.
    """
    if not requests_mail(event, job):
        return None
    as_one = is_one_message(job)
    if as_one:
        # Without ARRAY_TASKS an array has one mail for the begin of its first element and one for the end of its last.
        if event == "BEGIN" and job.array_task_id not in (None, job.array_min):
            return None
        who = f"Slurm Array Summary Job_id={job.array_job_id}_* ({job.array_job_id})"
    elif job.array_job_id:
        who = f"Slurm Array Task Job_id={job.array_job_id}_{job.array_task_id} ({job.job_id})"
    else:
        who = f"Slurm Job_id={job.job_id}"
    subject = f"{who} Name={job.name} {_WORDS[event]}"
    if as_one:
        subject += _summary(elements or (job,)) if event in ("END", "FAIL") else ""
    elif event == "BEGIN":
        subject += f", Queued time {timelimit.format_seconds(int(max(0, now - job.submit_time)))}"
    elif event in ("END", "FAIL"):
        run = int(max(0, (job.end_time or now) - (job.start_time or now)))
        subject += f", Run time {timelimit.format_seconds(run)}, {job.state.name}"
        # A job that reached its time limit counts as ended by a signal.
        if not job.exit_signal and job.state is not JobState.TIMEOUT:
            subject += f", ExitCode {job.exit_code}"
    body = ""
    if cluster is not None and event in ("END", "FAIL"):
        body = seff_text(job, ReportContext(Clock(now), cluster))
    # A newline in a job's name could add a header to the mail.
    return Mail(job.spec.mail_user or job.user, _CONTROL.sub(" ", subject), body)
