"""Changes of a job's times: limits, begin, end, deadline.

Source: slurmctld/job_mgr.c _update_job.
"""

from __future__ import annotations

from ...model.spec import INFINITE
from ...model.states import JobState
from ..slurm_errors import Errno, SlurmError
from . import transitions
from .size_changes import Sizes


class Times(Sizes):
    """The steps that change a job's times."""

    def time_limit(self) -> None:
        job, minutes = self.job, self.wanted["time_limit"]
        now = job.time_limit_min if job.time_limit_min is not None else INFINITE
        if minutes == now:
            return
        least = self.wanted.get("time_min", job.spec.time_min_min or 0)
        if minutes < least:
            raise SlurmError(Errno.INVALID_TIME_MIN)
        self.life.set_time_limit(job, minutes)
        self.evolve(time_limit_min=minutes)

    def time_min(self) -> None:
        if not self.pending:
            return
        limit = self.job.time_limit_min if self.job.time_limit_min is not None else INFINITE
        if self.wanted["time_min"] > limit:
            raise SlurmError(Errno.INVALID_TIME_MIN)
        self.evolve(time_min_min=self.wanted["time_min"])

    def end_time(self) -> None:
        job, when = self.job, self.wanted["end_time"]
        if not when:
            return  # a time that could not be parsed
        if job.state is not JobState.RUNNING:
            raise SlurmError(Errno.IS_NOT_RUNNING)
        if when < self.job_table.clock():
            raise SlurmError(Errno.INVALID_TIME)
        self.life.set_end_time(job, when)
        self.evolve(time_limit_min=job.time_limit_min)

    def deadline(self) -> None:
        if self.job.state is JobState.RUNNING:
            return
        if self.wanted["deadline"] < self.job_table.clock():
            raise SlurmError(Errno.INVALID_TIME)
        self.evolve(deadline=self.wanted["deadline"])

    def delay_boot(self) -> None:
        self.evolve(delay_boot_min=-(-self.wanted["delay_boot"] // 60))

    def begin_time(self) -> None:
        self.still_pending()
        when = max(self.wanted["begin_time"], int(self.job_table.clock()))
        self.evolve(begin=when)
        transitions.not_before(self.job, when)
