"""--dependency: `afterok:1:2_3,singleton` <-> conditions.

Source: slurm src/slurmctld/job_scheduler.c _parse_dependency_str, _depend_list2str.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Optional, Union

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import DependencyError as DependencyError

TYPES = (
    "after",
    "afterany",
    "afterok",
    "afternotok",
    "aftercorr",
    "afterburstbuffer",
    "singleton",
    "expand",
)
# The maximum number of jobs in a dependency, which bounds memory.
_MAX_REFS = 100_000


@dataclass(frozen=True)
class JobRef:
    """One job of a dependency: `12`, `12_3`, `12_*`, `12+5`."""

    job_id: int
    task: Union[int, str, None] = None  # array element, "*" for all of them, None: not an element
    delay_min: int = 0
    failed: bool = False  # written as (failed), which scontrol show job prints

    def __post_init__(self) -> None:
        task_ok = not isinstance(self.task, str) or self.task == "*"
        if not 0 < self.job_id < 2**32 or self.delay_min < 0 or not task_ok:
            raise ValueError(f"no job reference: {self!r}")

    def __str__(self) -> str:
        task = "" if self.task is None else f"_{self.task}"
        delay = f"+{self.delay_min}" if self.delay_min else ""
        return f"{self.job_id}{task}{delay}" + ("(failed)" if self.failed else "")


@dataclass(frozen=True)
class Condition:
    """Condition on `jobs`, with a type of TYPES. singleton has no jobs, every other type has some."""

    type: str
    jobs: tuple[JobRef, ...] = ()

    def __post_init__(self) -> None:
        if self.type not in TYPES or bool(self.jobs) == (self.type == "singleton"):
            raise ValueError(f"no condition: {self!r}")

    def __str__(self) -> str:
        return ":".join((self.type, *map(str, self.jobs)))


@dataclass(frozen=True)
class Dependency:
    """Conditions that must all be met; with `any`, one suffices.

    >>> str(parse("AFTEROK:1:2_3,5"))
    'afterok:1:2_3,afterany:5'
    """

    conditions: tuple[Condition, ...] = ()
    any: bool = False

    def __bool__(self) -> bool:
        return bool(self.conditions)

    def __iter__(self) -> Iterator[tuple[str, Optional[JobRef]]]:
        """Iterate over (type, job) pairs; a singleton's job is None."""
        for condition in self.conditions:
            if not condition.jobs:
                yield condition.type, None
            for job in condition.jobs:
                yield condition.type, job

    def __str__(self) -> str:
        return ("?" if self.any else ",").join(map(str, self.conditions))


_Tasks = tuple[Union[range, str], ...]  # of an array: elements, "*"; empty: the job itself
_Ref = tuple[JobRef, _Tasks]


@dataclass(frozen=True)
class _Clause:
    """A condition as written, before elements are expanded. `bare_at` is the position of an id without type, or -1."""

    kind: str
    refs: tuple[_Ref, ...]
    bare_at: int


def _conditions(clauses: Iterable[_Clause]) -> Iterator[Condition]:
    """Expand clauses to one reference per element. Duplicates count once, as in Slurm."""
    seen: set[tuple[str, int, Union[int, str, None]]] = set()
    for clause in clauses:
        jobs: list[JobRef] = []
        for job, tasks in clause.refs:
            for part in tasks or (None,):
                for task in part if isinstance(part, range) else (part,):
                    if (clause.kind, job.job_id, task) not in seen:
                        seen.add((clause.kind, job.job_id, task))
                        jobs.append(replace(job, task=task))
        if jobs:
            yield Condition(clause.kind, tuple(jobs))
        elif not clause.refs and ("singleton", 0, None) not in seen:
            seen.add(("singleton", 0, None))
            yield Condition("singleton")


class _Build:
    def one(self, task: str) -> _Tasks:
        index = number(task) % 2**32
        return (range(index, index + 1),)

    def every(self) -> _Tasks:
        return ("*",)

    def some(self, token: str) -> _Tasks:
        tasks = []
        for part in token[1:-1].split(","):
            first, dash, last = part.partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()) or number(last or first) < number(first):
                raise Fault(token.start_pos)  # type: ignore[attr-defined]  # a lark Token
            tasks.append(range(number(first), number(last or first) + 1))
        return tuple(tasks)

    def ref(self, job: str, tasks: Optional[_Tasks], delay: Optional[str], state: Optional[str]) -> _Ref:
        job_id = number(job) % 2**32  # strtol into 32 bits: -1 is job 4294967295
        minutes = number(delay or "0")
        if job_id == 0 or (delay and not minutes):
            raise Fault(job.start_pos)  # type: ignore[attr-defined]
        failed = state is not None and state.lower() == "(failed)"
        return JobRef(job_id, None, minutes, failed), tasks or ()

    def condition(self, kind: str, *refs: _Ref) -> _Clause:
        return _Clause(kind.lower(), refs, -1)

    def singleton(self, word: str, state: Optional[str]) -> _Clause:
        return _Clause("singleton", (), -1)

    def bare(self, job: str, tasks: Optional[_Tasks]) -> _Clause:
        at: int = job.start_pos  # type: ignore[attr-defined]  # a lark Token
        return _Clause("afterany", (self.ref(job, tasks, None, None),), at)

    def start(self, *parts: Union[str, _Clause]) -> Dependency:
        clauses = [part for part in parts if isinstance(part, _Clause)]
        bare_at = -1
        for part in parts:
            # Only a comma may follow a bare id, and then no condition with a type: the parser expects a later `:`
            if bare_at >= 0 and (part == "?" or (isinstance(part, _Clause) and part.refs and part.bare_at < 0)):
                raise Fault(bare_at)
            bare_at = max(bare_at, part.bare_at if isinstance(part, _Clause) else -1)
        spans = (task for clause in clauses for _, tasks in clause.refs for task in tasks if task != "*")
        if sum(span.stop - span.start for span in spans if isinstance(span, range)) > _MAX_REFS:
            raise Fault(0)
        return Dependency(tuple(_conditions(clauses)), "?" in parts)


_GRAMMAR: Grammar[Dependency] = Grammar("dependency", _Build(), DependencyError)


def parse(text: str) -> Dependency:
    """Parse --dependency; an empty text or `0` has no conditions.

    Types may have any case, bare ids are afterany, a mix of `,` and `?` means any, `12_[1-3]` is three elements.
    Raises DependencyError with Slurm's text for the reason (slurm_errno ESLURM_DEPENDENCY). The caller decides whether
    expand and afterburstbuffer are supported.
    """
    if text in ("", "0"):
        return Dependency()
    try:
        return _GRAMMAR.parse(text)
    except DependencyError as exc:
        raise DependencyError(text, exc.pos, "Job dependency problem") from None


def format_with_state(dependency: Dependency) -> str:
    """Text of a pending job's dependency with states, for scontrol and squeue %E.

    >>> format_with_state(parse("afterok:1:2,singleton"))
    'afterok:1(unfulfilled),afterok:2(unfulfilled),singleton(unfulfilled)'
    """
    names = [kind if job is None else f"{kind}:{str(job).replace('(failed)', '')}" for kind, job in dependency]
    return ("?" if dependency.any else ",").join(f"{name}(unfulfilled)" for name in names)
