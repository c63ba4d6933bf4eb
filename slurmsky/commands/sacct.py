"""sacct: what became of jobs, from the store. Source: src/sacct/sacct.c, options.c, process.c."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby

from ..controller.context import Context, Nobody
from ..controller.facts import Where, among, in_states
from ..controller.letters import spool_id
from ..controller.pages import Key, Page, digest
from ..controller.queue import Queue
from ..controller.store import Run, Store
from ..language import hostlist
from ..model.job import Job, Step
from ..model.spec import INFINITE
from ..model.states import JobState
from ..node.wire import Request
from ..options import help as helps
from ..options.filters import STATE_NAMES
from ..options.query import JobId, SacctQuery, parse_sacct
from ..report import accounting as report
from ..report.context import Context as Report
from ..report.print_fields import Column, InvalidField, Look
from ..report.tables import table as facts
from ..report.text import KILO, Scale
from ._command import streaming
from ._documents import check_style, send
from ._filters import in_partition, one_of
from ._report import caller_zone
from ._report import report as report_context
from ._surroundings import find_group, find_user, surroundings
from ._tables import table


@streaming
async def main(ctx: Context) -> int:
    """Select, and print."""
    query = parse_sacct(ctx.args, surroundings(ctx), table(ctx, "sacct"))
    check_style(ctx, query.json, query.yaml)
    for line in query.warnings:
        ctx.err(line)
    if query.helpformat or query.helpstate or query.helpreason:
        if query.helpreason:
            names = [row["printed_name"] for row in facts("job_reasons") if row["printed_name"]]
        else:
            names = list(STATE_NAMES) if query.helpstate else [row["name"] for row in facts("sacct_fields")]
        ctx.out(helps.in_columns(list(dict.fromkeys(names))))
        return 0
    problem = unknown(ctx, query)
    if problem:
        for line in problem:
            ctx.err(line)
        return 1
    if query.batch_script or query.env_vars:
        return _stored(ctx, query, select(ctx, query))
    if query.json is not None or query.yaml is not None:
        jobs = list(select(ctx, query))
        await send(ctx, query.json, query.yaml, lambda form, about: form.accounting_document(
            jobs, about, ctx.queue.clock(), ctx.queue.book.cluster))
        return 0  # sacct does not look at what became of it
    try:
        form = _form(ctx, query)
    except InvalidField as error:
        ctx.error(str(error))
        return 1
    if query.jobs:
        jobs = list(select(ctx, query, with_steps=form.with_steps))
        await ctx.out_lines(form.lines(jobs, _only_steps(query, jobs), header=True))
        return 0
    ctx.out("".join(form.lines([], header=True)))
    for page in pages(ctx, query, form):
        ctx.out_bytes(page)
        await ctx.drain()
        await asyncio.sleep(0)
    return 0


@dataclass(frozen=True)
class _Form:
    """How a query's jobs are printed."""

    query: SacctQuery
    columns: Sequence[Column[report.Record]]
    context: Report

    @property
    def with_steps(self) -> bool:
        """Whether anything is read of steps."""
        return not self.query.allocations or any(one.name.lower() in report.STEP_SUMS for one in self.columns)

    def lines(self, jobs: Iterable[Job], only_steps: frozenset[int] = frozenset(), header: bool = False
              ) -> Iterator[str]:  # fmt: skip
        """What is printed of them."""
        query = self.query
        parsable = 2 if query.parsable2 else 1 if query.parsable else 0
        look = Look(parsable=parsable, delimiter=query.delimiter or "|", header=header and not query.noheader)
        return report.sacct_pieces(
            jobs, self.columns, self.context, look, query.allocations, query.array, only_steps
        )


def _form(ctx: Context, query: SacctQuery) -> _Form:
    """The form that the query asks for. Raises InvalidField."""
    context = report_context(ctx, query, _scale(query), query.expand_patterns)
    text = query.format or (report.BRIEF if query.brief else report.LONG if query.long else report.DEFAULT)
    return _Form(query, report.sacct_columns(text, context), context)


def unknown(ctx: Context, query: SacctQuery) -> tuple[str, ...]:
    """Slurm's lines for a filter that names what does not exist; () when all is well."""
    for kind, names, find in (("user", query.users, find_user), ("group", query.groups, find_group)):
        for name in names:
            if find(name) is None:
                return (f"sacct: error: Invalid {kind} id: {name}",)
    if query.qos:
        known = {"normal", *ctx.queue.book.policy.qos, *ctx.queue.store.known("qos")}
        for name in query.qos:
            if name not in known:
                return (f"sacct: error: You gave a bad qos '{name}'. Valid QOS's are {','.join(sorted(known))}",
                        "sacct: fatal: problem processing qos list")
    if query.file is not None and not os.path.isfile(os.path.join(ctx.cwd, query.file)):
        return (f"{query.file} is not a valid file",)
    # There is no job completion log, neither as a file nor in the store.
    return ("Slurm job completion is disabled",) if query.completion or query.file is not None else ()


def _scale(query: SacctQuery) -> Scale:
    """--units and --noconvert."""
    unit = None if query.units is None else KILO + "KMGTP".index(query.units.upper())
    return Scale(unit, not query.noconvert)


def select(ctx: Context, query: SacctQuery, held: bool = False, with_steps: bool = True) -> Iterator[Job]:
    """The jobs that the query means, their steps already narrowed to those asked for.

    ``held``: in a window, too, those that could not have run yet. ``with_steps`` False: nobody looks at the steps.
    """
    queue = ctx.queue
    queue.flush()
    now = queue.clock()
    if not _meant(ctx, query):
        return
    if query.jobs:
        found: Iterable[Job] = queue.store.history(
            0, now, {one.job_id for one in query.jobs}, query.duplicates, with_steps
        )
        found = _het_components(ctx, query, found)
    else:
        start, end = _window(query, now)
        # slurmdbd looks for jobs by the time since which they could have run: one that is held never could.
        runs = sorted(queue.store.runs(start, end, query.duplicates, _where(query)))
        parts = (runs[first : first + _TOGETHER] for first in range(0, len(runs), _TOGETHER))
        stored = chain.from_iterable(_recall(ctx, part, with_steps) for part in parts)
        found = (job for job in stored if held or 0 < job.eligible_time <= end)
    test = _filter(ctx, query)
    for job in found:
        _take_live_steps(ctx, job)
        if query.jobs:
            wanted = [one for one in query.jobs if _means(one, job, query.whole_hetjob)]
            if not wanted:
                continue
            if all(one.step is not None for one in wanted):
                steps = {str(one.step) for one in wanted}
                job.steps = {name: step for name, step in job.steps.items() if name in steps}
        if test(job):
            yield _truncated(job, query) if query.truncate else job


def pages(ctx: Context, query: SacctQuery, form: _Form) -> Iterator[bytes]:
    """What is printed of the jobs in the query's window, page by page; where all are over, as it was printed before."""
    queue, store = ctx.queue, ctx.queue.store
    queue.flush()
    if not _meant(ctx, query):
        return
    start, end = _window(query, queue.clock())
    test = _filter(ctx, query)
    words = _words(ctx, query)
    chosen = store.runs(start, end, query.duplicates, _where(query))
    for runs in _leaves(chosen):
        key = None
        if words is not None and all(run.finish for run in runs):
            key = _key(words, runs)
            page = queue.pages.get(key, end)
            if page is not None:
                yield page.text()
                continue
        found = _recall(ctx, runs, form.with_steps)
        jobs = [job for job in found if 0 < job.eligible_time <= end]
        for job in jobs:
            _take_live_steps(ctx, job)
        text = "".join(form.lines([_truncated(job, query) if query.truncate else job for job in jobs if test(job)]))
        if key is not None:
            page = Page.of(text, _latest(found))
            if page.latest <= end:
                queue.pages.put(key, page)
        yield text.encode("utf-8", "surrogateescape")


def _leaves(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """Runs in their order, cut where another page or another array begins."""
    for _, group in groupby(runs, lambda run: (Store.page_of(run.job_id), run.array_id)):
        yield list(group)


def _key(words: bytes, runs: Sequence[Run]) -> Key:
    return Key(Store.page_of(runs[0].job_id), words, digest([tuple(run) for run in runs]))


def _words(ctx: Context, query: SacctQuery) -> bytes | None:
    """A query's name for its pages, whatever its window is; None where nothing of them stays as it is."""
    if query.truncate or query.time_format == "relative" or _MOMENTARY & set(query.states):
        return None
    return ctx.queue.pages.words((replace(query, starttime=None, endtime=None), str(caller_zone(ctx))))


def _latest(jobs: Iterable[Job]) -> float:
    """When the last of them could have run."""
    return max([job.eligible_time for job in jobs], default=0.0)


#: what most people ask for
_USUAL = ((), ("-l",), ("-X",), ("-X", "-l"))
#: lines that are made together in idle time
_LINES = 64


async def prepare(queue: Queue) -> AsyncGenerator[None, None]:
    """Make the pages of usual queries, of ids whose jobs are all over; one piece of work at a time."""
    store = queue.store
    for args in _USUAL:
        ctx = Context(Request("sacct", args, "/", 0o022, (False,) * 3, None, os.getpid(), {}), queue, Nobody())
        query = parse_sacct(args, surroundings(ctx), table(ctx, "sacct"))
        form, words = _form(ctx, query), _words(ctx, query)
        if words is None:
            continue
        for number in store.unprinted(words, store.page_of(queue.book.next_job_id)):
            if queue.pages.full:
                return
            edition, now = store.edition(number), queue.clock()
            for runs in _leaves(store.runs(0, now, where=store.ids_of(number) & _where(query))):
                found = _recall(ctx, runs, form.with_steps)
                for job in found:
                    _take_live_steps(ctx, job)
                yield
                lines: list[str] = []
                for line in form.lines([job for job in found if 0 < job.eligible_time <= now]):
                    lines.append(line)
                    if len(lines) % _LINES == 0:
                        yield
                # Others had their turn: what was committed meanwhile may not be in it.
                if store.edition(number) != edition or _latest(found) > now:
                    break
                queue.pages.put(_key(words, runs), Page.of("".join(lines), _latest(found)))
                yield


def _recall(ctx: Context, runs: Sequence[Run], with_steps: bool) -> list[Job]:
    """The jobs of these runs, in this order: those that wait as they are in memory, the others from the store."""
    found: dict[tuple[int, int], Job] = {}
    for run in runs:
        live = ctx.queue.book.jobs.get(run.job_id)
        if live is not None and live.state is JobState.PENDING and live.restarts == run.restarts:
            found[run.job_id, run.restarts] = live
    stored = [run for run in runs if run[:2] not in found]
    if stored:
        found.update({(job.job_id, job.restarts): job for job in ctx.queue.store.jobs_of(stored, with_steps)})
    return [found[run[:2]] for run in runs]


#: jobs that are read together
_TOGETHER = 500
#: what -s asks of a moment or a window, and not of a job that is over
_MOMENTARY = {"PENDING", "RUNNING", "SUSPENDED", "REQUEUED"}


def _meant(ctx: Context, query: SacctQuery) -> bool:
    """Whether -M means this cluster."""
    return not query.clusters or bool({ctx.queue.book.cluster.name, "all", "-1"} & set(query.clusters.split(",")))


def _window(query: SacctQuery, now: float) -> tuple[float, float]:
    """The times asked for. With --state and no times it is the present moment (sacct's manual, DEFAULT TIME WINDOW)."""
    usual = now if query.states and query.endtime is None else _midnight(now)
    return (
        query.starttime if query.starttime is not None else usual,
        query.endtime if query.endtime is not None else now,
    )


def _take_live_steps(ctx: Context, job: Job) -> None:
    live = ctx.queue.book.jobs.get(job.job_id)
    if live is not None and live.restarts == job.restarts:
        job.steps = dict(live.steps)  # a batch step that runs is not in the store


def _truncated(job: Job, query: SacctQuery) -> Job:
    """--truncate: what lay outside the window asked for did not happen."""
    since, until = query.starttime or 0, query.endtime or INFINITE

    def start(part: Job | Step) -> float:
        return max(part.start_time, since) if part.start_time else 0.0

    def end(part: Job | Step) -> float:
        return min(part.end_time, until)

    steps = {name: replace(step, start_time=start(step), end_time=end(step)) for name, step in job.steps.items()}
    return replace(job, steps=steps, start_time=start(job), end_time=end(job))


def _only_steps(query: SacctQuery, jobs: Iterable[Job]) -> frozenset[int]:
    """Ids of jobs of which only steps were asked for."""
    return frozenset(job.job_id for job in jobs if query.jobs and all(
        one.step is not None for one in query.jobs if _means(one, job, query.whole_hetjob)))


def _het_components(ctx: Context, query: SacctQuery, found: Iterable[Job]) -> Iterator[Job]:
    """A het leader's id means all its components, and so does any component's with --whole-hetjob."""
    seen: set[tuple[int, int]] = set()
    more: set[int] = set()
    for job in found:
        seen.add((job.job_id, job.restarts))
        if query.whole_hetjob if query.whole_hetjob is not None else job.het_job_id == job.job_id:
            more.update(job.het_ids)
        yield job
    if more:
        for job in ctx.queue.store.history(0, ctx.queue.clock(), more, query.duplicates):
            if (job.job_id, job.restarts) not in seen:
                yield job


def _means(wanted: JobId, job: Job, whole: bool | None = None) -> bool:
    """Whether an id of -j means this record; ``whole`` is --whole-hetjob."""
    if whole and job.het_job_id:
        return wanted.job_id in (job.het_job_id, *job.het_ids)
    if whole is False and job.het_job_id and wanted.het_offset is None:
        return wanted.job_id == job.job_id
    if wanted.het_offset is not None:
        return job.het_job_id == wanted.job_id and job.het_offset == wanted.het_offset
    if isinstance(wanted.task, int):
        return job.array_job_id == wanted.job_id and (
            job.array_task_id == wanted.task or any(wanted.task in part for part in job.pending_tasks)
        )
    return wanted.job_id in (job.job_id, job.array_job_id, job.het_job_id)


def _midnight(now: float) -> int:
    local = time.localtime(now)
    return int(time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1)))


def _where(query: SacctQuery) -> Where:
    """What facts tell of ``_filter``: no other job passes it, and its record need not be read."""
    uids: Iterable[object] = [find_user(name) for name in query.users]
    if not uids and os.geteuid() != 0 and not query.allusers:
        uids = [os.geteuid()]
    return (among("uid", uids) & among("gid", [find_group(name) for name in query.groups])
            & among("account", query.accounts) & among("name", query.names) & among("qos", query.qos)
            & among("wckey", query.wckeys) & in_states(query.states))  # fmt: skip


def _filter(ctx: Context, query: SacctQuery) -> Callable[[Job], bool]:
    tests: list[Callable[[Job], bool]] = []
    if query.users:
        uids = {find_user(name) for name in query.users}
        tests.append(lambda job: job.uid in uids)
    if query.groups:
        gids = {find_group(name) for name in query.groups}
        tests.append(lambda job: job.gid in gids)
    tests += one_of(query.accounts, lambda job: job.account)
    tests += one_of(query.names, lambda job: job.name)
    tests += one_of(query.qos, lambda job: job.qos)
    tests += one_of(query.wckeys, lambda job: job.spec.wckey)
    tests += in_partition(query.partitions)
    if query.constraints:
        wanted = frozenset(query.constraints)
        tests.append(
            lambda job: (
                job.spec.constraint is not None
                and bool(wanted & set(job.spec.constraint.replace("&", ",").split(",")))
            )
        )
    if query.flags:
        tests.append(lambda job: bool(_flags(job) & set(query.flags)))
    if query.associations:
        # There is one association, and its id is what AssocID prints of each job.
        tests.append(lambda job: report.ASSOCIATION in query.associations)
    if query.reasons:
        tests.append(lambda job: job.reason in query.reasons)
    if query.nodelist is not None:
        nodes = frozenset(hostlist.expand(query.nodelist))
        tests.append(lambda job: bool(nodes & set(job.nodes)))
    if query.states:
        states = frozenset(query.states)
        if "all" not in states:
            now = ctx.queue.clock()
            start = query.starttime
            if start is None and not query.jobs:
                start = int(now if query.endtime is None else _midnight(now))
            end = now if query.endtime is None else query.endtime
            tests.append(lambda job: _in_state(job, states, start, end))
    for span, count in ((query.nnodes, lambda job: job.num_nodes), (query.ncpus, lambda job: job.num_cpus)):
        if span is not None:
            tests.append(lambda job, span=span, count=count: span[0] <= count(job) <= (span[1] or INFINITE))  # type: ignore[misc]
    if query.timelimit_min is not None:
        low, high = query.timelimit_min, query.timelimit_max
        tests.append(
            lambda job: (
                job.time_limit_min is not None
                and (job.time_limit_min == low if high is None else low <= job.time_limit_min <= high)
            )
        )
    if os.geteuid() != 0 and not query.users and not query.allusers:
        tests.append(lambda job: job.uid == os.geteuid())
    return lambda job: all(test(job) for test in tests)


def _flags(job: Job) -> set[str]:
    """-F: how a job was scheduled, and that its start is known."""
    if not report.started(job):
        return {"NotSet"}
    return {"SchedMain" if job.sched_main else "SchedBackfill", "StartReceived"}


def _in_state(job: Job, states: frozenset[str], start: float | None, end: float) -> bool:
    """-s: states that last are looked for inside the window, ends at their end. Source: as_mysql_jobacct_process.c."""
    if "PENDING" in states:
        # Jobs that could have run: one that is held, or waits for another, never waited in this sense.
        began = job.start_time if report.started(job) else None
        if 0 < job.eligible_time <= end and (began is None or began >= (start or 0)):
            return True
    if job.state.name in states and job.state is not JobState.PENDING:
        return True
    if job.state.finished and start is not None:
        ran = bool(job.start_time) and job.state is not JobState.PENDING
        if "RUNNING" in states and ran and job.start_time <= end and job.end_time >= start:
            return True
    return "REQUEUED" in states and bool(job.restarts) and not job.state.finished


def _stored(ctx: Context, query: SacctQuery, jobs: Iterable[Job]) -> int:
    """--batch-script and --env-vars: what was spooled."""
    queue = ctx.queue
    for job in jobs:
        folder = queue.paths.jobs / str(spool_id(job))
        what = "Batch Script" if query.batch_script else "Environment used"
        ctx.out(f"{what} for {job.job_id}\n" + "-" * 80 + "\n")
        try:
            if query.batch_script:
                ctx.out_bytes((folder / "slurm_script").read_bytes() + b"\n")
            else:
                ctx.out_bytes((folder / "environment").read_bytes().replace(b"\0", b"\n") + b"\n")
        except OSError:
            ctx.out("NONE\n")
    return 0
