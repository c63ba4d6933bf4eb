"""Cost of a job: the page's only access to that part of a record (report/text/spending.py has the sums)."""

from __future__ import annotations

from ..model.job import Job


def dollars(job: Job) -> float | None:
    """The cost of a job so far in dollars; None for a job that did not run on a cloud."""
    return job.cost if job.managed_job_id is not None or job.cost else None
