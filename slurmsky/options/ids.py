"""Lists of job and step ids as each command reads them:

Loosely, and each with its own words for a bad one.
"""

from __future__ import annotations

import re
from typing import Sequence

from ..language import jobids
from ..language.errors import JobIdError
from ..language.jobids import JobId
from .errors import failure
from .values import leading_int


def step_or_job(command: str, text: str) -> tuple[JobId, ...]:
    """Ids of sacct, sstat, sbcast: junk behind a number is not looked at, 0 selects nothing in particular.

    Source: slurm_protocol_defs.c slurm_parse_step_str, slurm_addto_step_list.
    """
    found = []
    for word in re.split("[, ]+", text.strip(", ")):
        if not word:
            continue
        match = re.match(
            r"([0-9]+)(?:_([0-9]+|\*)?|\+([0-9]+))?(?:\.(batch$|extern$|interactive$|[0-9]+)?)?", word
        )
        if match is None:
            raise failure(command, f"Bad job/step specified: {word}", level="fatal")
        job, task, het, step = match.groups()
        marks = word[len(job) :]
        if marks.startswith("_") and task is None:
            raise failure(command, f"Bad job array element specified: {job}", level="fatal")
        if "." in marks and step is None:
            raise failure(command, f"Bad step specified: {job}", level="fatal")
        number = leading_int(job)
        if number:
            found.append(
                JobId(
                    number,
                    "*" if task == "*" else None if task is None else int(task),
                    None if het is None else int(het),
                    int(step) if step and step.isdigit() else step,
                )
            )
    return tuple(found)


def squeue_jobs(text: str) -> tuple[JobId, ...]:
    """Source: squeue/opts.c _build_job_list: strtol for each part, what follows is not looked at."""
    found = []
    for word in jobids.split(text):
        number = leading_int(word)
        if number <= 0:
            raise failure("squeue", f"Invalid job id: {word}")
        try:
            found.append(jobids.parse(word))
        except JobIdError:
            mark = re.match(r"\s*\+?[0-9]+([_+]?)([0-9]*)", word)
            assert mark is not None
            index = int(mark.group(2) or 0)
            found.append(
                JobId(
                    number, index if mark.group(1) == "_" else None, index if mark.group(1) == "+" else None
                )
            )
    return tuple(found)


def squeue_steps(text: str) -> tuple[JobId, ...]:
    found = []
    for word in jobids.split(text):
        job, dot, step = word.partition(".")
        if not dot or not step:
            raise failure("squeue", f"Invalid job_step id: {job}.??")
        number = leading_int(job)
        if number <= 0:
            raise failure("squeue", f"Invalid job_step id: {job}.{step}")
        try:
            found.append(jobids.parse(word))
        except JobIdError:
            found.append(JobId(number, step=leading_int(step)))
    return tuple(found)


def scancel_jobs(words: Sequence[str]) -> tuple[JobId, ...]:
    """Source: scancel/opt.c _xlate_job_step_ids; a fault shows the rest of its word from the bad id on."""
    found = []
    for word in words:
        at = 0
        parts = re.split(r",(?![^\[]*\])", word)
        for part in parts:
            # An empty element or step number reads as 0; the batch and extern steps cannot be named.
            text = part + "0" if re.fullmatch(r"[0-9]+[_.]", part) else part
            try:
                job = jobids.parse(text)
                if isinstance(job.step, str) or re.search(r"\s", text):
                    raise JobIdError(text)
            except JobIdError:
                raise failure("scancel", f"Invalid job id {word[at:]}") from None
            found.append(job)
            at += len(part) + 1
    return tuple(found)
