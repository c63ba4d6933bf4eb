"""Lists of job and step ids in each command's syntax, with each command's errors."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Sequence

from ..language import jobids
from ..language.arrayspec import ArraySpec
from ..language.jobids import JobId
from ..language.syntax_errors import JobIdError
from .usage_errors import failure
from .values import leading_int


def step_or_job(command: str, text: str) -> tuple[JobId, ...]:
    """Ids for sacct, sstat and sbcast.

    Text after a number is ignored, and 0 selects no particular job.

    Source: slurm_protocol_defs.c slurm_parse_step_str, slurm_addto_step_list.
    """
    found = []
    for word in re.split("[, ]+", text.strip(", ")):
        if not word:
            continue
        if not word[0].isdecimal():
            raise failure(command, f"Bad job/step specified: {word}", level="fatal")
        found += _selected(command, word)
    return tuple(dict.fromkeys(found))


def _selected(command: str, word: str) -> list[JobId]:
    """Parse one id to a list, which is empty for 0. Errors are detected from the step on."""
    name, dot, step = word.partition(".")
    if dot and step not in ("batch", "extern", "interactive") and not step[:1].isdecimal():
        raise failure(command, f"Bad step specified: {name}", level="fatal")
    base, mark, part = re.match(r"([^_+]*)([_+]?)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
    every = mark == "_" and part == "*" and command in _OURS
    if mark and not every and not part[:1].isdecimal():
        what = "job array element" if mark == "_" else "hetjob offset"
        raise failure(command, f"Bad {what} specified: {base}", level="fatal")
    number = leading_int(base)
    if not number:
        return []
    task = "*" if every else leading_int(part) if mark == "_" else None
    return [
        JobId(
            number,
            task,
            leading_int(part) if mark == "+" else None,
            (leading_int(step) if step[0].isdecimal() else step) if dot else None,
        )
    ]


#: commands that Slurm lacks; they read ``12_*`` as the whole array
_OURS = ("seff", "swait")


def squeue_jobs(text: str) -> tuple[JobId, ...]:
    """Ids for squeue: jobs, or elements of an array.

    Text after the numbers is ignored.

    Source: squeue/opts.c _build_job_list: strtok at commas, then strtol.
    """
    return tuple(_job_or_element(word, f"Invalid job id: {word}") for word in text.split(",") if word)


def squeue_steps(text: str) -> tuple[JobId, ...]:
    """Steps for squeue, by number.

    A word such as "batch" reads as 0. Source: squeue/opts.c _build_step_list.
    """
    found = []
    for word in text.split(","):
        job, *steps = [part for part in word.split(".") if part] or [""]
        if not job:
            continue
        if not steps:
            raise failure("squeue", f"Invalid job_step id: {job}.??")
        bad = f"Invalid job_step id: {job}.{steps[0]}"
        step = leading_int(steps[0])
        if step < 0:
            raise failure("squeue", bad)
        found.append(replace(_job_or_element(job, bad), step=step))
    return tuple(found)


def _job_or_element(word: str, bad: str) -> JobId:
    number = leading_int(word)
    if number <= 0:
        raise failure("squeue", bad)
    element = re.match(r"\s*\+?[0-9]+_(.*)", word, re.DOTALL)
    return JobId(number, None if element is None else leading_int(element[1]))


def scancel_jobs(words: Sequence[str]) -> tuple[JobId, ...]:
    """Ids for scancel.

    An error shows the rest of the word, from the bad id.

    Source: scancel/opt.c _xlate_job_step_ids.
    """
    found = []
    for word in words:
        at = 0
        parts = re.split(r",(?![^\[]*\])", word)
        for part in parts:
            # An empty element or step number reads as 0; the batch and extern steps cannot be named.
            text = part + "0" if re.fullmatch(r"[0-9]+[_.+]", part) else part
            try:
                job = jobids.parse(text)
                listed = isinstance(job.task, ArraySpec) and job.step is not None
                if isinstance(job.step, str) or job.step_het is not None or listed or re.search(r"\s", text):
                    raise JobIdError(text)
            except JobIdError:
                raise failure("scancel", f"Invalid job id {word[at:]}") from None
            found.append(job)
            at += len(part) + 1
    return tuple(found)
