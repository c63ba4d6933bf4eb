"""sacctmgr modify of jobs. Source: src/sacctmgr/job_functions.c."""

from __future__ import annotations

from collections.abc import Sequence

from ...controller.jobs.transitions import correct_derived_exit
from ...model.job import Job
from ...report.text.units import Clock
from ..common.report_settings import caller_zone
from .change_request import ChangeRequest
from .entity_options import ChangeRefused

JOB_TEXTS = {"comment": "comment", "admincomment": "admin_comment", "systemcomment": "system_comment"}


def modify_jobs(change: ChangeRequest) -> None:
    """set DerivedExitCode=, Comment=, AdminComment=, Extra=, SystemComment= of ended jobs."""
    for name in change.own:
        if name not in (*JOB_TEXTS, "derivedexitcode", "derivedes", "extra", "newwckey", "wckey"):
            raise ChangeRefused(f" Unknown option: {name}={change.own[name]}")
    ids = {int(name) for name in change.names if name.isdecimal()}
    jobs = change.job_table.jobs_with_ids(ids)
    if not jobs or not change.own or not change.matches(cluster=change.cluster):
        raise ChangeRefused(" Nothing modified")
    code = change.own.get("derivedexitcode", "0")
    if not code.isdecimal():
        raise ChangeRefused(f" Bad DerivedExitCode value: {code}")
    clock = Clock(change.ctx.controller.clock(), caller_zone(change.ctx), "standard")
    submitted = (f"  {job.job_id} submitted at {clock.text(job.submit_time)}" for job in jobs)
    change.lines = [" Modified jobs...", *submitted]
    change.commit(lambda: _correct_jobs(change, jobs))


def _correct_jobs(change: ChangeRequest, jobs: Sequence[Job]) -> None:
    for job in jobs:
        for name, text in change.own.items():
            if name in JOB_TEXTS:
                setattr(job, JOB_TEXTS[name], text)
            elif name == "derivedexitcode":
                # A bare number is a wait status, as in slurmdbd: 22 means 0:22.
                correct_derived_exit(job, int(text))
            elif name == "derivedes":
                job.comment = text
            elif name == "extra":
                job.spec = job.spec.evolve(extra=text)
            else:
                job.spec = job.spec.evolve(wckey=text)
        change.job_table.touch(job)
    change.ctx.controller.flush()
