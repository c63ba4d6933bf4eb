"""Sends the mails of --mail-type."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
from collections.abc import Mapping

from ...engines.base import background
from ...model.job import Job
from ...model.states import JobState
from ..jobs.job_table import JobTable
from .helper_programs import run_program
from .mail_events import Mail, is_one_message, mail_for, requests_mail

log = logging.getLogger("slurmsky.controller")

#: fractions of the time limit at which a mail can be requested
_LIMIT_MAILS = ((0.5, "TIME_LIMIT_50"), (0.8, "TIME_LIMIT_80"), (0.9, "TIME_LIMIT_90"), (1.0, "TIME_LIMIT"))
#: longest sleep of a timer in seconds, because limits and clocks may change
_LONGEST_SLEEP_S = 86400.0


class Mailer:
    """Mails users their jobs' events by the site's mail program. ``program`` "": "mail" on PATH."""

    def __init__(self, job_table: JobTable, program: str, environment: Mapping[str, str]) -> None:
        self._job_table = job_table
        self._program = shlex.split(program) if program else []
        self._environment = dict(environment)

    def notify(self, event: str, job: Job) -> None:
        """Send the mail of an event, if the job requests it. Events: ``mail_events.EVENTS``."""
        self._send(mail_for(event, job, self._job_table.clock()))

    def notify_end(self, job: Job) -> None:
        """Send the mail of an ended job. An array with a single mail sends it with its last element."""
        if not (requests_mail("END", job) or requests_mail("FAIL", job)):
            return
        now, job_table = self._job_table.clock(), self._job_table
        elements: list[Job] = []
        if is_one_message(job):
            live = {one.job_id: one for one in job_table.array(job.array_job_id)}
            if not all(one.state.finished for one in live.values()):
                return
            gone = {one.job_id: one for one in job_table.store.history(0, now, {job.array_job_id})}
            elements = list({**gone, **live}.values())
        failed = any(one.state is not JobState.COMPLETED for one in elements or [job])
        mail = mail_for("END", job, now, job_table.cluster, elements)
        if mail is None and failed:
            mail = mail_for("FAIL", job, now, job_table.cluster, elements)
        self._send(mail)

    def watch_limit(self, job: Job) -> None:
        """Schedule the next mail of --mail-type=TIME_LIMIT, _50, _80 or _90."""
        requested = [(part, event) for part, event in _LIMIT_MAILS if event in job.spec.mail_type]
        if not requested or not job.end_time or job.state is not JobState.RUNNING:
            return
        now, run = self._job_table.clock(), job.restarts
        span = job.end_time - job.start_time
        coming = [(job.start_time + span * part, event) for part, event in requested]
        due, event = min((pair for pair in coming if pair[0] > now), default=(0.0, ""))
        if not due:
            return

        def check() -> None:
            if job.state is JobState.RUNNING and job.restarts == run:
                if self._job_table.clock() >= due - 1:
                    self.notify(event, job)
                self.watch_limit(job)

        asyncio.get_running_loop().call_later(min(due - now + 0.5, _LONGEST_SLEEP_S), check)

    def _send(self, mail: Mail | None) -> None:
        if mail is None:
            return
        if mail.to.startswith("-"):
            log.warning("mail to %s was not sent: the mail program would take it for an option", mail.to)
            return
        argv = self._program
        if not argv:
            found = shutil.which("mail", path=self._environment.get("PATH", os.defpath))
            if found is None:
                log.warning("no mail program: %s to %s not sent", mail.subject, mail.to)
                return
            argv = [found]
        body = mail.body.encode("utf-8", "replace")

        async def send() -> None:
            problem = await run_program([*argv, "-s", mail.subject, mail.to], self._environment, stdin=body)
            if problem:
                log.warning("mail to %s failed: %s", mail.to, problem)

        background(send())
