"""Ids of jobs, elements, components and steps: `12_[1-4]`, `12+1`, `12.batch`.

Source: slurm src/common/slurm_protocol_defs.c unfmt_job_id_string; lists as scancel, squeue, sacct accept them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from slurmsky.language import arrayspec, hostlist
from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.arrayspec import ArraySpec
from slurmsky.language.syntax_errors import ArraySpecError, HostlistError
from slurmsky.language.syntax_errors import JobIdError as JobIdError

_MAX_JOB_ID = 0xFFFFFFFE  # NO_VAL; later releases stop at MAX_FED_JOB_ID, 67108863
_MAX_HET = 128  # slurmctld MAX_HET_JOB_COMPONENTS
_MAX_ARRAY = 4_000_001  # the largest MaxArraySize that Slurm allows

Step = Union[int, str, None]  # number, "batch", "extern", "interactive"; None: the whole job


@dataclass(frozen=True)
class JobId:
    """Selection by one id. The id means a job, some of its elements, a het component, or a step of these."""

    job_id: int
    task: Union[int, str, ArraySpec, None] = None  # element, "*" for all, a list; None: no element
    het_offset: Optional[int] = None
    step: Step = None
    step_het: Optional[int] = None

    def __post_init__(self) -> None:
        if self.job_id <= 0 or (self.task is not None and self.het_offset is not None):
            raise ValueError(f"no job id: {self!r}")

    def __str__(self) -> str:
        task = "" if self.task is None else f"_{self.task}"
        if isinstance(self.task, ArraySpec):
            task = f"_[{self.task}]"
        het = "" if self.het_offset is None else f"+{self.het_offset}"
        step = "" if self.step is None else f".{self.step}"
        return f"{self.job_id}{task}{het}{step}" + ("" if self.step_het is None else f"+{self.step_het}")


class _Build:
    def one(self, index: str) -> int:
        return number(index)

    def every(self) -> str:
        return "*"

    def some(self, token: str) -> ArraySpec:
        try:
            spec = arrayspec.parse(token[2:-1], _MAX_ARRAY)
        except ArraySpecError:
            spec = None
        if spec is None:
            raise Fault(token.start_pos)  # type: ignore[attr-defined]  # a lark Token
        return spec

    def step(self, step: str, het: Optional[str]) -> tuple[Step, Optional[int]]:
        return (number(step) if step.isdecimal() else step.lower()), _component(het)

    def id(self, job: str, part: Union[int, str, ArraySpec, None], step: Optional[tuple[Step, Optional[int]]]) -> JobId:
        job_id = number(job)
        if not 0 < job_id < _MAX_JOB_ID:
            raise Fault(job.start_pos)  # type: ignore[attr-defined]
        het = _component(part) if isinstance(part, str) and part != "*" else None
        return JobId(job_id, part if het is None else None, het, *(step or (None, None)))


def _component(token: Optional[str]) -> Optional[int]:
    if token is None:
        return None
    value = number(token[1:])
    if value > _MAX_HET:
        raise Fault(token.start_pos)  # type: ignore[attr-defined]
    return value


_BUILD = _Build()
_ONE: Grammar[JobId] = Grammar("jobids", _BUILD, JobIdError, start="id")


def parse(text: str) -> JobId:
    """Parse one id.

    Raises JobIdError; each command has its own message for an invalid id.

    >>> parse("12_3").task, parse("12+1").het_offset, parse("12.batch").step, str(parse("12_[1-3,5]"))
    (3, 1, 'batch', '12_[1-3,5]')
    """
    # A plain number needs no grammar; it is by far the most common id.
    if text.isascii() and text.isdecimal() and 0 < len(text) < 8:
        value = int(text)
        if value:
            return JobId(value)
    return _ONE.parse(text)


def split(text: str) -> list[str]:
    """Split a list into the texts of its ids.

    A command can then name the invalid id or skip it.

    >>> split("1,12_[1,3],x")
    ['1', '12_[1,3]', 'x']
    """
    words: list[str] = []
    start = depth = 0
    for at, char in enumerate(text + ","):
        depth += (char == "[") - (char == "]" and depth > 0)
        if (char == "," and not depth) or at == len(text):
            if text[start:at].strip():
                words.append(text[start:at].strip())
            start = at + 1
    return words


def update_list(text: str) -> Optional[list[str]]:
    """Single ids in a list of scontrol's job commands, or None.

    Brackets before an underscore mean several jobs; brackets after it mean elements, and are not printed.

    Source: src/scontrol/update_job.c _is_job_id, _next_job_id.

    >>> update_list("7,8_[1-3]"), update_list("[7-8]_2"), update_list("7.0")
    (['7', '8_1-3'], ['7_2', '8_2'], None)
    """
    words, word, seen, depth = [], "", set(), 0
    for char in text:
        if char in "+_":
            if char in seen:
                return None
            seen.add(char)
        elif char in "[]":
            depth += 1 if char == "[" else -1
        elif char == "-":
            if not depth and "_" not in seen:
                return None
        elif char in ", ":
            if not depth:
                words.append(word)
                word, char = "", ""
                seen.clear()
        elif char not in "0123456789":
            return None
        word += char
    if depth:
        return None
    found: list[str] = []
    for one in filter(None, [*words, word]):
        jobs, under, tasks = one.partition("_")
        if under and tasks.startswith("["):
            tasks = tasks[1:].partition("]")[0]
        try:
            ids = hostlist.expand(jobs) if "[" in jobs else [jobs]
        except HostlistError:
            return found
        found += [job + under + tasks for job in ids]
    return found
