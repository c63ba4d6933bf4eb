"""Evaluates --dependency: met, waiting, or never satisfied.

A dependency on the end of a job that is unknown at submit is met; one on its result is refused. A known job stays in
memory until each pending job that depends on it has recorded its end: a failed reference is marked ``(failed)`` in the
dependency text. Source: slurmctld/job_scheduler.c test_job_dependency; job_mgr.c purge_old_job tests dependencies
before it purges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from ...language import dependency
from ...model.job import Job
from ...model.states import JobState

#: returns the records of a job, array or element; none if it is unknown
Lookup = Callable[[int, int | str | None], list[Job]]


@dataclass(frozen=True)
class DependencyVerdict:
    """Verdict on a dependency: ``state`` is "met", "wait" or "never".

    ``rest``: its unmet or failed parts; ``shown``: these parts with marks.
    """

    state: str
    rest: str = ""
    shown: str = ""
    #: epoch second at which a time part (after:id+min) may become true
    recheck: float | None = None


def requires_unknown_result(text: str, lookup: Lookup) -> bool:
    """True if a dependency requires the result of a job that is not in memory.

    Source: job_scheduler.c _update_job_dependency.
    """
    return any(
        kind in ("afterok", "afternotok") and target is not None and not lookup(target.job_id, target.task)
        for kind, target in dependency.parse(text)
    )


def _succeeded(job: Job) -> bool:
    return job.state is JobState.COMPLETED


def _one(kind: str, target: dependency.JobRef, own: Job, lookup: Lookup, now: float) -> tuple[str, float | None]:
    if target.failed:
        return "never", None  # recorded when the job ended; a later run of that job has no effect
    task: int | str | None = target.task
    if kind == "aftercorr" and own.array_job_id and task is None:
        whole = lookup(target.job_id, None)
        if whole and whole[0].array_job_id:
            task = own.array_task_id
            if task is None:
                return _corresponding(target.job_id, own, lookup), None
            if not lookup(target.job_id, task):  # no such element, or cancelled before it had a record
                return ("never" if all(job.state.finished for job in whole) else "wait"), None
    records = lookup(target.job_id, task)
    if not records:
        return "met", None
    if kind == "after":
        begun = all(
            (job.start_time and job.state is not JobState.PENDING) or job.state.finished for job in records
        ) and not any(job.pending_count and not job.state.finished for job in records)
        if not begun:
            return "wait", None
        due = max(job.start_time or job.end_time for job in records) + 60 * target.delay_min
        return ("met", None) if now >= due else ("wait", due)
    over = all(job.state.finished for job in records)
    # slurmctld accepts afterburstbuffer also without burst buffers: no data is staged out after the end.
    if kind == "afterany" or kind == "afterburstbuffer":
        return ("met" if over else "wait"), None
    if kind in ("afterok", "aftercorr"):
        # the result of an array is known when all its elements have ended (test_job_dependency)
        good = all(_succeeded(job) for job in records)
        return ("wait" if not over else "met" if good else "never"), None
    # afternotok: one bad element suffices, but it is only known when all have ended
    if any(job.state.finished and not _succeeded(job) for job in records):
        return ("met" if over else "wait"), None
    return ("never" if over else "wait"), None


def _corresponding(base: int, own: Job, lookup: Lookup) -> str:
    """Return the verdict on an array with aftercorr.

    The array is eligible as soon as one of its elements is; ``corresponding_ready`` finds that element.
    """
    for part in own.pending_tasks:
        for task in part:
            records = lookup(base, task)
            if records and all(_succeeded(job) for job in records):
                return "met"
    return "wait"


def corresponding_ready(text: str, task: int, lookup: Lookup) -> bool:
    """True if aftercorr lets element ``task`` of an array start."""
    for kind, target in dependency.parse(text):
        if kind == "aftercorr" and target is not None:
            records = lookup(target.job_id, task)
            missing = not records and any(job.array_job_id for job in lookup(target.job_id, None))
            if missing or not all(_succeeded(job) for job in records):
                return False
    return True


def _whole(target: dependency.JobRef, lookup: Lookup) -> dependency.JobRef:
    """Return an array reference as scontrol shows it: ``7_*``."""
    records = lookup(target.job_id, None) if target.task is None else []
    return replace(target, task="*") if records and records[0].array_job_id else target


def evaluate(text: str, own: Job, lookup: Lookup, singletons: Iterable[Job], now: float) -> DependencyVerdict:
    """Evaluate a dependency text. ``singletons``: the other jobs of the same name and user."""
    if not text:
        return DependencyVerdict("met")
    parsed = dependency.parse(text)
    rest: list[str] = []
    shown: list[str] = []
    never = met = 0
    total = 0
    recheck: float | None = None
    for kind, target in parsed:
        total += 1
        if target is None:
            state, due = (
                ("wait" if any(job.job_id < own.job_id and not job.state.finished for job in singletons) else "met"),
                None,
            )
        else:
            state, due = _one(kind, target, own, lookup, now)
        if due is not None:
            recheck = due if recheck is None else min(recheck, due)
        if state == "met":
            met += 1
            continue
        failed = state == "never"
        whole = None if target is None else _whole(replace(target, failed=False), lookup)
        word = kind if whole is None else f"{kind}:{whole}"
        rest.append(f"{word}(failed)" if failed else word)
        never += failed
        shown.append(f"{word}({'failed' if failed else 'unfulfilled'})")
    separator = "?" if parsed.any else ","
    done = met > 0 if parsed.any else met == total
    if done:
        return DependencyVerdict("met")
    hopeless = never == total if parsed.any else never > 0
    return DependencyVerdict("never" if hopeless else "wait", separator.join(rest), separator.join(shown), recheck)


@lru_cache(maxsize=1024)
def _targets(text: str) -> frozenset[int]:
    """Ids of the jobs whose end a dependency text requires."""
    parsed = dependency.parse(text)
    return frozenset(job.job_id for _, job in parsed if job is not None and not job.failed)


class Targets:
    """Jobs that pending jobs depend on, indexed by id."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}  # pending job -> its dependency text
        self._dependents: dict[int, set[int]] = {}  # target -> pending jobs

    def __iter__(self) -> Iterator[int]:
        return iter(self._dependents)

    def record_state(self, job: Job) -> bool:
        """Record a job's dependencies; True if a target lost its last dependent."""
        return self._set(job.job_id, job.dependency if job.state is JobState.PENDING else "")

    def forget(self, job_id: int) -> None:
        """Remove a pending job that was never committed."""
        self._set(job_id, "")

    def _set(self, job_id: int, text: str) -> bool:
        before = self._texts.pop(job_id, "")
        if text:
            self._texts[job_id] = text
        if text == before:
            return False
        old, new = _targets(before), _targets(text)
        for target in new - old:
            self._dependents.setdefault(target, set()).add(job_id)
        released = False
        for target in old - new:
            dependents = self._dependents[target]
            dependents.discard(job_id)
            if not dependents:
                del self._dependents[target]
                released = True
        return released

    def has_dependents(self, job: Job) -> bool:
        """True if a pending job depends on this job, array or het job."""
        ids = (job.job_id, job.array_job_id, job.het_job_id)
        return any(job_id in self._dependents for job_id in ids if job_id)
