"""Accounting index: columns of each run for SQL filters and sums.

Decoding a record takes about fifty microseconds; SQLite reads an index row (table ``facts``) in one. So a query selects
its jobs by index columns and decodes only the records of those jobs, and SQLite computes sums (sreport). An index row
is committed in one transaction with its record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...model.job import Job
from ...model.spec import NO_VAL
from ...model.states import JobState
from ...report.fields.sacct_fields import ever_had_nodes
from ...report.text.spending import Charge
from ...report.text.utilization import Use

COLUMNS = (
    "job_id", "restarts", "superseded", "array_id", "task", "state", "uid", "gid", "user", "account", "partition",
    "qos", "wckey", "name", "submit", "eligible", "start", "finish", "suspended", "cpus", "nodes", "memory_mib",
    "managed", "cost", "born", "spent", "waited", "started", "limit_min", "by_main", "node_list", "reason", "features",
)  # fmt: skip
INSERT = f"INSERT OR REPLACE INTO facts ({','.join(COLUMNS)}) VALUES ({','.join('?' * len(COLUMNS))})"

#: sacct's order: by submit time; within a second arrays last, elements in order
ORDER = f"CAST(submit AS INTEGER), array_id, ifnull(task, {NO_VAL}), job_id, restarts"


def row(job: Job, superseded: bool) -> tuple[object, ...]:
    """Index row of a run, in the order of COLUMNS."""
    finish = job.end_time if job.state.finished or superseded else 0.0
    return (
        job.job_id, job.restarts, int(superseded), job.array_job_id, job.array_task_id, job.state.value, job.uid,
        job.gid, _text(job.user), _text(job.account), _text(job.partition), _text(job.qos),
        _text(job.spec.wckey or ""), _text(job.name), job.submit_time, job.eligible_time, job.start_time,
        finish, job.suspended_s, job.num_cpus, job.num_nodes,
        sum([share.memory_mib for share in job.shares]), int(job.managed_job_id is not None), job.cost,
        min([moment for moment in (job.submit_time, job.eligible_time, job.start_time) if moment > 0], default=0.0),
        *_whole(job, finish), int(ever_had_nodes(job)), job.time_limit_min, int(job.sched_main), ",".join(job.nodes),
        _text(job.reason), _text((job.spec.constraint or "").replace("&", ",")),
    )  # fmt: skip


def _whole(job: Job, finish: float) -> tuple[float, float]:
    """Seconds that a finished run held resources, and that it waited.

    These are the values that ``_USES`` computes for a period that includes the whole run.
    """
    if not finish or not job.start_time:
        return 0.0, 0.0
    waited = max(0.0, job.start_time - job.eligible_time) if job.eligible_time > 0 else 0.0
    return max(0.0, int(finish) - int(job.start_time) - job.suspended_s), waited


def _text(value: str) -> str | bytes:
    """Return a text for SQLite: as bytes if it is not valid UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def _decoded_text(value: Any) -> Any:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Where:
    """Conditions on index columns, joined by AND."""

    terms: tuple[str, ...] = ()
    values: tuple[object, ...] = ()

    def __and__(self, other: Where) -> Where:
        return Where(self.terms + other.terms, self.values + other.values)

    @property
    def text(self) -> str:
        """Return the condition in SQL."""
        return " AND ".join(self.terms) or "1"


#: runs a statement with named values
Ask = Callable[[str, dict[str, object]], Iterable[tuple[Any, ...]]]
#: no condition, and a condition that is never met
ANY = Where()
NOTHING = Where(("0",))


def among(column: str, values: Iterable[object]) -> Where:
    """Condition: a column has one of these values. ANY without values."""
    found = tuple([_text(value) if isinstance(value, str) else value for value in values])
    return Where((f"{column} IN ({','.join('?' * len(found))})",), found) if found else ANY


def shares_one(column: str, values: Iterable[str]) -> Where:
    """Condition: a column's comma list shares an item with ``values``. ANY without values."""
    wanted = ",".join(values)
    return Where((f"shares_one({column}, ?)",), (_text(wanted),)) if wanted else ANY


@lru_cache(maxsize=1000)
def _words(texts: str | bytes) -> frozenset[str]:
    return frozenset(_decoded_text(texts).split(","))


@lru_cache(maxsize=1000)
def _shares_one(texts: str | bytes, wanted: str | bytes) -> bool:
    return not _words(wanted).isdisjoint(_words(texts))


#: SQL functions that the conditions use, by name, each with two arguments
FUNCTIONS: dict[str, Callable[[Any, Any], bool]] = {"shares_one": _shares_one}


def one_holds(texts: Iterable[str]) -> Where:
    """Condition: at least one of these SQL conditions is met. NOTHING without conditions."""
    return Where((f"({' OR '.join(texts) or '0'})",))


def between(column: str, low: float, high: float) -> Where:
    """Condition: low <= column <= high."""
    return Where((f"{column} BETWEEN ? AND ?",), (low, high))


def unless_ended(where: Where) -> Where:
    """Condition: the conditions hold, or the run has not ended.

    The columns of a run that has not ended may still change.
    """
    return Where((f"(finish=0 OR ({where.text}))",), where.values) if where.terms else ANY


def in_states(names: Iterable[str], since: float, until: float) -> Where:
    """Condition: sacct's meaning of these states of -s.

    Some states hold for a time in the run's life, not for its last state. Runs that have not ended are included if they
    may match.
    """
    words = set(names)
    if not words:
        return ANY
    live = among("state", [state.value for state in JobState if state.name in words])
    terms = [*live.terms]
    if "PENDING" in words:
        terms.append("eligible>0")
    ended = [state.value for state in JobState if state.name in words and state.finished]
    ended += [JobState.PENDING.value] if "REQUEUED" in words else []
    over = among("state", ended) & between("CAST(finish AS INTEGER)", since, until) if ended else NOTHING
    past, values = [f"({over.text})"], [*over.values]
    if "PENDING" in words:
        past.append(f"(CAST(eligible AS INTEGER)>0 AND CAST(eligible AS INTEGER)<? "
                    f"AND ?<CASE WHEN {_BEGAN} THEN {_BEGAN} ELSE CAST(finish AS INTEGER) END)")  # fmt: skip
        values += [until, since]
    if "RUNNING" in words:
        past.append(f"({_BEGAN}>0 AND {_BEGAN}<? AND ?<CAST(finish AS INTEGER))")
        values += [until, since]
    text = f"CASE WHEN finish=0 THEN {' OR '.join(terms) or '0'} ELSE {' OR '.join(past)} END"
    return Where((text,), (*live.values, *values))


#: SQL of an ended run's start time; 0: the run did not start. A requeued run (superseded) had started
_BEGAN = "(CASE WHEN started OR superseded THEN CAST(start AS INTEGER) ELSE 0 END)"


def could_run(until: float) -> Where:
    """Condition: the run was eligible before ``until``, or has not ended."""
    return Where(("(finish=0 OR (eligible>0 AND CAST(eligible AS INTEGER)<?))",), (until,))


def window(since: float, until: float, duplicates: bool) -> Where:
    """Condition: the run's time from submit to end overlaps [since, until]."""
    life = Where(("submit<=?", "(finish=0 OR finish>=?)"), (until, since))
    return life if duplicates else Where(("superseded=0",)) & life


_OVER = f"(superseded OR state>={JobState.COMPLETED.value})"
_RAN = f"(superseded OR state>{JobState.PENDING.value})"
# the whole run is in the period, and its index columns have the sums
_INSIDE = "(finish>0 AND finish<=:end AND finish<=:now AND born>=:start)"
# Of the other runs the part in the period counts. Times are whole seconds, as slurmdbd stores them, so that the sums
# equal sacct's output for the jobs. Suspended time is subtracted in proportion. A run waits for resources from its
# eligible time to its start. Both parts are read in the order of facts_by_owner, so that no sort is needed.
_USES = f"""
WITH lives AS (
    SELECT *, CAST(start AS INTEGER) AS began, CAST(CASE WHEN {_OVER} THEN finish ELSE :now END AS INTEGER) AS until,
        CASE WHEN {_RAN} THEN start ELSE :now END AS waited_until
    FROM facts INDEXED BY facts_by_owner WHERE NOT {_INSIDE} AND %s
), parts AS (
    SELECT *,
        CASE WHEN {_RAN} AND start>0 AND start<=:now AND until>began AND min(until, :end)>max(began, :start)
            THEN (min(until, :end) - max(began, :start)) * max(0.0, until - began - suspended) / (until - began)
            ELSE 0.0 END AS seconds,
        CASE WHEN eligible>0 AND NOT (start=0 AND {_OVER})
            THEN max(0.0, min(waited_until, :end, :now) - max(eligible, :start)) ELSE 0.0 END AS waits
    FROM lives
), sums AS (
    SELECT account, user, qos, wckey, cpus, min(submit) AS submit, sum(spent>0) AS ran, total(spent) AS seconds,
        total(nodes*spent) AS node_seconds, total(memory_mib*spent) AS memory_seconds, total(waited) AS waited,
        min(job_id) AS job_id
    FROM facts INDEXED BY facts_by_owner WHERE {_INSIDE} AND %s GROUP BY account, user, qos, wckey, cpus
    UNION ALL
    SELECT account, user, qos, wckey, cpus, min(submit), sum(seconds>0), total(seconds), total(nodes*seconds),
        total(memory_mib*seconds), total(waits), min(job_id)
    FROM parts GROUP BY account, user, qos, wckey, cpus
)
SELECT account, user, qos, wckey, cpus, min(submit), sum(ran), total(seconds), total(node_seconds),
    total(memory_seconds), total(waited)
FROM sums GROUP BY account, user, qos, wckey, cpus ORDER BY min(job_id)
"""


def uses(ask: Ask, start: float, end: float, now: float, where: Where) -> list[Use]:
    """Resources used in a period, by owner and CPUs. An owner is an account, user, QOS and wckey."""
    return [Use._make(line) for line in _within(ask, _USES, start, end, now, where)]


# A run's cost counts in a period in proportion to the run's time in it; the cost of a run without run time counts at
# its end.
_CHARGES = f"""
WITH lives AS (
    SELECT *, CASE WHEN {_OVER} AND finish>0 THEN finish ELSE :now END AS until,
        CASE WHEN start>0 THEN start WHEN finish>0 THEN finish WHEN submit>0 THEN submit ELSE :now END AS moment
    FROM facts WHERE (managed OR cost>0) AND %s
), parts AS (
    SELECT *, CASE WHEN start>0 AND until>start
        THEN max(0.0, min(until, :end) - max(start, :start)) / (until - start)
        ELSE :start<=moment AND moment<:end END AS part
    FROM lives
)
SELECT account, user, qos, partition, count(*), total(CASE WHEN start>0 THEN max(0.0, until - start) * part END) / 3600,
    total(cost*part)
FROM parts WHERE part>0 GROUP BY account, user, qos, partition ORDER BY min(job_id)
"""


def charges(ask: Ask, start: float, end: float, now: float, where: Where) -> list[Charge]:
    """Cost of runs in a period, by account, user, QOS and partition."""
    return [Charge._make(line) for line in _within(ask, _CHARGES, start, end, now, where)]


def _within(ask: Ask, statement: str, start: float, end: float, now: float, where: Where) -> Iterator[list[Any]]:
    """Rows of a statement about a period, whose first four columns are texts."""
    chosen = window(start, end, duplicates=True) & where
    # A statement cannot mix named and numbered parameters: the parameters of the conditions get names, too.
    text, names = chosen.text, {f"v{number}": value for number, value in enumerate(chosen.values)}
    for name in names:
        text = text.replace("?", f":{name}", 1)
    for line in ask(statement.replace("%s", text), {"start": start, "end": end, "now": now, **names}):
        yield [*map(_decoded_text, line[:4]), *line[4:]]
