"""Sentences of ``slurmsky why`` on a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..model.job import Job
from ..model.states import JobState
from ..report.fields import derived
from ..report.text.why import Explanation
from .html import Html, el
from .page_frame import section

#: maximum number of explained groups, and of named jobs of one group
MOST_KINDS, _MOST_NAMED = 12, 12


@dataclass(frozen=True)
class Similar:
    """Jobs with one explanation, and the answer for the first."""

    jobs: Sequence[Job]
    answer: Explanation


def similar_jobs(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs to explain, in groups: failed before pending, larger groups first.

    Jobs of one group have the same name, state, exit status, reason and cause; of a requeued job the last run counts.
    """
    last = {(job.job_id, job.array_task_id): job for job in sorted(jobs, key=lambda job: job.restarts)}
    found: dict[tuple[object, ...], list[Job]] = {}
    for job in last.values():
        if job.state is JobState.PENDING or (job.state.finished and job.state is not JobState.COMPLETED):
            reason = (job.reason, job.exit_code, job.exit_signal, derived.cause(job))
            found.setdefault((job.name, job.state, job.partition, *reason), []).append(job)
    return sorted(found.values(), key=lambda some: (some[0].state is JobState.PENDING, -_count(some), some[0].job_id))


def _count(jobs: Iterable[Job]) -> int:
    return sum(max(1, job.pending_count) for job in jobs)


def section_of_one(answer: Explanation) -> Html:
    """The section of a job's page."""
    return section("Why", *_content(answer), id="why")


def section_of_many(some: Sequence[Similar], omitted: int) -> Html | None:
    """Section of a page of several jobs. ``omitted``: the number of groups without sentences."""
    if not some:
        return None
    note = f"{omitted} more kinds; slurmsky why JOB explains each job." if omitted else None
    return section("Why", [[*_content(one.answer), _alike(one.jobs)] for one in some], note=note, id="why")


def _alike(jobs: Sequence[Job]) -> Html | None:
    count = _count(jobs)
    if count == 1:
        return None
    names = ", ".join(derived.job_id_text(job, 64) for job in jobs[:_MOST_NAMED])
    more = ", ..." if len(jobs) > _MOST_NAMED else ""
    return el("p", f"The same holds for {count:,} jobs: {names}{more}.", cls="note")


def _content(answer: Explanation) -> list[Html | None]:
    return [
        el("p", answer.headline),
        el("ul", (el("li", line) for line in answer.sentences)) if answer.sentences else None,
        el("p", f"The last lines of {answer.output}:", cls="note") if answer.tail else None,
        el("pre", "\n".join(answer.tail), cls="tail") if answer.tail else None,
        el("p", "What to do: ", (el("code", line) for line in answer.advice), cls="do") if answer.advice else None,
    ]
