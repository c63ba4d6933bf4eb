"""--deadline and --time-min: checks at submit, and limits at start.

Source: slurmctld's job_mgr.c _valid_job_part, job_scheduler.c deadline_ok and schedule, backfill.c.
"""

from __future__ import annotations

from ...model.cluster import PartitionConfig
from ...model.job import Job
from ...model.spec import INFINITE, JobSpec
from ..slurm_errors import Errno, SlurmError


def check(spec: JobSpec, partition: PartitionConfig, now: float, enforce: bool = False) -> None:
    """Raise SlurmError if limit, least time and deadline contradict each other.

    ``enforce``: the partition's limits refuse a job (EnforcePartLimits) instead of making it wait.
    """
    limit = spec.time_limit_min if spec.time_limit_min is not None else partition.default_time_min
    least = spec.time_min_min
    if least is not None and least > partition.max_time_min:
        raise SlurmError(Errno.INVALID_TIME_MIN)
    if enforce and least is None and limit is not None and limit > partition.max_time_min:
        raise SlurmError(Errno.INVALID_TIME_LIMIT)
    if least is not None and limit is not None and least > limit:
        raise SlurmError(Errno.INVALID_TIME_MIN)
    if spec.deadline is None:
        return
    room = spec.deadline - max(now, spec.begin or 0)
    if room < 0:
        raise SlurmError(Errno.INVALID_TIME_LIMIT)
    if least and room < least * 60:
        raise SlurmError(Errno.INVALID_TIME_MIN)
    if not least and limit and room < limit * 60:
        raise SlurmError(Errno.INVALID_TIME_LIMIT)


def latest_start(job: Job) -> float | None:
    """Latest start by which a job meets its deadline, in epoch seconds. None: no deadline."""
    if job.spec.deadline is None:
        return None
    limit = job.time_limit_min
    least = job.spec.time_min_min or (limit if limit is not None and limit < INFINITE else 0)
    return float(job.spec.deadline - least * 60)


def limit_until(job: Job, limit: int | None, now: float) -> int | None:
    """Return a job's limit in minutes, shortened to its deadline."""
    if job.spec.deadline is None:
        return limit
    room = max(1, (job.spec.deadline - int(now)) // 60)
    return room if limit is None else min(limit, room)
