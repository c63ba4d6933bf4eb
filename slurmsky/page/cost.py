"""Cost of a job: the page's only reader of that part of a record (report/text/spending.py has the sums)."""

from __future__ import annotations

from ..model.job import Job


def dollars(job: Job) -> float | None:
    """Dollars that a job cost so far; None for one that no cloud has run."""
    return job.cost if job.managed_job_id is not None or job.cost else None
