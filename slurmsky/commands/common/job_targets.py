"""Resolves typed job ids into records. Forms: ``7``, ``7_3``, ``7_[1-3]``, ``7+1``."""

from __future__ import annotations

from ...controller.app import Controller
from ...controller.slurm_errors import Errno, SlurmError
from ...language import jobids
from ...language.syntax_errors import LanguageError
from ...model.job import Job


def parse(text: str) -> jobids.JobId:
    """Parse one id. Raises SlurmError(INVALID_JOB_ID)."""
    try:
        return jobids.parse(text)
    except LanguageError as error:
        raise SlurmError(Errno.INVALID_JOB_ID) from error


def without_components(jobs: list[Job]) -> list[Job]:
    """Drop het components whose leader is in the list. A request to the leader covers all components."""
    here = {job.job_id for job in jobs}
    return [job for job in jobs if not job.het_offset or job.het_job_id not in here]


def records(controller: Controller, wanted: jobids.JobId, split: bool, cancels: bool = False) -> list[Job]:
    """Records of an id.

    A base id means the whole array, a het leader all components. ``split``: give named pending elements their own
    records, because the request is about to change them alone; ``cancels``: the request cancels them. Raises
    SlurmError(INVALID_JOB_ID) when no record matches.
    """
    job_table = controller.job_table
    task = wanted.task
    if task is not None and task != "*":
        tasks: tuple[object, ...] = (task,) if isinstance(task, int) else tuple(task)
        base = job_table.jobs.get(wanted.job_id)
        found = []
        for index in tasks:
            assert isinstance(index, int)
            job = job_table.element(wanted.job_id, index)
            if job is None and base is not None and any(index in part for part in base.pending_tasks):
                job = controller.life.element(base, index, cancels) if split else base
            if job is not None and job not in found:
                found.append(job)
        if not found:
            raise SlurmError(Errno.INVALID_JOB_ID)
        return found
    job = job_table.jobs.get(wanted.job_id)
    if wanted.job_id in job_table.members and (job is None or job.array_job_id == wanted.job_id):
        return list(job_table.array(wanted.job_id))
    if job is None:
        raise SlurmError(Errno.INVALID_JOB_ID)
    if wanted.het_offset is not None:
        parts = job_table.components(job)
        if wanted.het_offset >= len(parts):
            raise SlurmError(Errno.INVALID_JOB_ID)
        return [parts[wanted.het_offset]]
    if job.het_job_id == job.job_id:
        return job_table.components(job)
    return [job]
