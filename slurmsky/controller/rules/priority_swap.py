"""scontrol top: reassigns priorities among one user's pending jobs.

Source: slurmctld/job_mgr.c _set_top.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...model.job import Job
from ...model.states import JobState
from ..slurm_errors import Errno, SlurmError


def to_top(wanted: Sequence[Job], jobs: Iterable[Job]) -> list[Job]:
    """Assign jobs the highest priorities among comparable pending jobs.

    Return the changed jobs. A gain is subtracted from the job's nice value, a loss added. Raises SlurmError if no
    wanted job can move.
    """
    first: list[Job] = []
    problem: Errno | None = None
    for job in wanted:
        if job.state is not JobState.PENDING:
            problem = Errno.NO_LONGER_PENDING
        elif "," in job.partition:
            raise SlurmError(Errno.PART_CONFIG_UNAVAILABLE)
        elif not job.priority:
            problem = Errno.HELD
        elif job not in first:
            first.append(job)
    if not first:
        if problem is not None:
            raise SlurmError(problem)
        return []
    leader = first[0]
    others = [job for job in jobs if _comparable(job, leader) and job not in first]
    places = sorted((job.priority for job in (*first, *others)), reverse=True)
    gained, last = 0, 0
    for job, place in zip(first, places, strict=False):
        if last > 2 and place == last:
            place = last - 1
        last = place
        by = min(job.nice, place - job.priority)
        gained += by
        job.priority, job.nice = place, job.nice - by
    for left, job in zip(range(len(others), 0, -1), others, strict=True):
        by = int(gained / left)
        if job.priority - by >= last:
            by = job.priority - (last - 1)
        job.priority, job.nice = job.priority - by, job.nice + by
        gained -= by
    return [*first, *others]


def _comparable(job: Job, leader: Job) -> bool:
    """True if a pending job may exchange its priority with the leader."""
    same = all(getattr(job, name) == getattr(leader, name) for name in ("user", "account", "qos", "partition"))
    return same and job.state is JobState.PENDING and job.priority > 1
