"""sacct output of a time window.

Cells of ended runs are cached; other runs are read from their records. A page of the cache holds rows of jobs, rows of
their steps, or JSON records of jobs with steps. The controller fills pages in idle time, and a query fills a missing
page that covers many of its runs.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

from ...controller.app import Controller
from ...controller.command_context import CommandContext, NoClient
from ...controller.store.accounting_cache import CachePage, Cell
from ...controller.store.cache_pages import page_of
from ...controller.store.database import Run
from ...model.job import Job
from ...options.query import SacctQuery, parse_sacct
from ...protocol.wire import CommandRequest
from ...report.fields import sacct_fields
from ...report.fields.sacct_fields import SacctRow
from ...report.report_context import ReportContext as Report
from ...report.text import sacct_rows as report
from ...report.text.print_fields import Column, SharedCell, TableStyle, Writer, values_of
from ...report.text.units import KILO, Scale
from ..common.caller_settings import read_context
from ..common.report_settings import caller_zone
from ..common.report_settings import report as report_context
from ..common.site_options import table
from . import run_selection as accounted


@dataclass(frozen=True)
class RowForm:
    """Form of the printed rows: query, columns and report context."""

    query: SacctQuery
    columns: Sequence[Column[SacctRow]]
    context: Report

    @property
    def with_steps(self) -> bool:
        """Return whether any output depends on steps."""
        return not self.query.allocations or any(one.name.lower() in sacct_fields.STEP_SUMS for one in self.columns)

    @property
    def style(self) -> TableStyle:
        """Delimiter and layout of the lines."""
        query = self.query
        delimiter = "|" if query.delimiter is None else query.delimiter
        return TableStyle(2 if query.parsable2 else 1 if query.parsable else 0, delimiter, header=False)

    def lines(self, jobs: Iterable[Job], only_steps: frozenset[int] = frozenset(), header: bool = False
              ) -> Iterator[str]:  # fmt: skip
        """Format the lines of these jobs."""
        query = self.query
        style = replace(self.style, header=header and not query.noheader)
        return report.sacct_pieces(jobs, self.columns, self.context, style, query.allocations, query.array, only_steps)


def form(ctx: CommandContext, query: SacctQuery) -> RowForm:
    """Build the form that the query requests. Raises InvalidField."""
    context = report_context(ctx, query, _scale(query), query.expand_patterns)
    text = query.format or (report.BRIEF if query.brief else report.LONG if query.long else report.DEFAULT)
    return RowForm(query, report.sacct_columns(text, context), context)


def _scale(query: SacctQuery) -> Scale:
    """Scale by --units and --noconvert."""
    unit = None if query.units is None else KILO + "KMGTP".index(query.units.upper())
    return Scale(unit, not query.noconvert)


#: a query fills a missing page that covers at least this many of its runs
_WORTH_A_PAGE = 64
#: runs read by a query in one batch
_QUERY_BATCH = 500
#: runs read in one batch in idle time
_IDLE_BATCH = 16
#: later than any time
_END_OF_TIME = float("inf")


#: number of rows of each job, and columns over all rows
Rows = tuple[list[int], dict[str, list[Cell]]]
#: computes the named columns
Make = Callable[[Sequence[Job], Iterable[str]], Rows]


@dataclass(frozen=True)
class _Kind:
    """A kind of cached rows: cache key, function, and idle-time columns.

    The function computes rows. The controller fills the columns in idle time.
    """

    words: bytes
    make: Make
    names: tuple[str, ...]


def _kinds(ctx: CommandContext, query: SacctQuery, context: Report) -> tuple[_Kind, _Kind]:
    """Kinds for rows of jobs and of steps. Their keys are the settings that change the text of a row."""
    fields = sacct_fields.sacct_fields(context)
    shared_key = report.shared_key(context)
    requested = (query.units, query.noconvert, query.time_format, query.bitstr_len, query.expand_patterns, query.array,
             str(caller_zone(ctx)))  # fmt: skip

    def rows_of(read: Callable[[Job], Iterable[SacctRow]]) -> Make:
        def make(jobs: Sequence[Job], names: Iterable[str]) -> Rows:
            groups = [list(read(job)) for job in jobs]
            rows = [row for group in groups for row in group]
            return [len(group) for group in groups], values_of({name: fields[name] for name in names}, rows, shared_key)

        return make

    every = tuple(fields)
    words = ctx.controller.pages.page_key
    return (
        _Kind(words("jobs", *requested), rows_of(lambda job: report.records([job], True, query.array)), every),
        _Kind(words("steps", *requested), rows_of(
            lambda job: () if _is_expanded(query, job) else report.records([job], False, query.array, (job.job_id,))),
            every),
    )  # fmt: skip


def _is_expanded(query: SacctQuery, job: Job) -> bool:
    """Return whether --array expands this job into elements, which lack steps."""
    return query.array and bool(job.pending_tasks) and job.array_task_id is None


def _documents(ctx: CommandContext) -> _Kind:
    """Kind for the JSON records of sacct --json."""
    from ...report.json import documents as structured

    controller = ctx.controller

    def make(jobs: Sequence[Job], names: Iterable[str]) -> Rows:
        written = structured.accounting_records(jobs, controller.clock(), controller.job_table.cluster)
        return [1] * len(jobs), {_DOCUMENT: list(map(structured.json_record, written))}

    return _Kind(controller.pages.page_key("documents"), make, (_DOCUMENT,))


_DOCUMENT = "document"


def lines(ctx: CommandContext, query: SacctQuery, form: RowForm) -> Iterator[str]:
    """Lines of the jobs in the query's window. Cached pages are used if possible."""
    kinds = None if query.time_format == "relative" else _kinds(ctx, query, form.context)
    names = [column.name.lower() for column in form.columns]
    writers, kept = [Writer(form.columns, form.style) for _ in range(2)], _Pages(ctx, form.with_steps)

    def written(page: CachePage, writer: Writer[SacctRow], runs: Sequence[Run]) -> tuple[list[int], list[str]]:
        counts, rows = page.rows(runs)
        return counts, writer.lines([page.column_cells(name, rows) for name in names], sum(counts))

    for runs, past in _run_groups(ctx, query):
        pages = None
        if past and kinds is not None:
            pages = [kept.page(kind, names, runs) for kind in kinds[: 1 if query.allocations else 2]]
        if pages is None or None in pages:
            yield from form.lines(_matching_jobs(ctx, query, runs, form.with_steps))
            continue
        counts, of_jobs = written(pages[0], writers[0], runs)  # type: ignore[arg-type]
        if query.allocations:
            yield from of_jobs
            continue
        step_counts, of_steps = written(pages[1], writers[1], runs)  # type: ignore[arg-type]
        job_lines, step_lines = iter(of_jobs), iter(of_steps)
        for jobs, steps in zip(counts, step_counts, strict=True):
            yield from islice(job_lines, jobs)
            yield from islice(step_lines, steps)


def documents(ctx: CommandContext, query: SacctQuery) -> Iterator[object]:
    """Records of the jobs in the query's window. A cached record is already serialized."""
    from ...report.json import documents as structured

    kind, kept = _documents(ctx), _Pages(ctx)
    for runs, past in _run_groups(ctx, query):
        page = kept.page(kind, kind.names, runs) if past else None
        if page is None:
            jobs = _matching_jobs(ctx, query, runs, True)
            yield from structured.accounting_records(jobs, ctx.controller.clock(), ctx.controller.job_table.cluster)
        else:
            cells = page.column_cells(_DOCUMENT, page.rows(runs)[1])
            yield from map(structured.Written, list(cells) * len(runs) if isinstance(cells, SharedCell) else cells)


def _run_groups(ctx: CommandContext, query: SacctQuery) -> Iterator[tuple[list[Run], bool]]:
    """Groups of selected runs, in order. The flag is True if a cached page can serve the group."""
    controller = ctx.controller
    controller.flush()
    if not accounted.selects_cluster(ctx, query):
        return
    start, end = accounted.window(query, controller.clock())
    where = accounted.sql_conditions(query, int(start), end)
    since, until = (start, end) if query.truncate else (0.0, _END_OF_TIME)

    def place(run: Run) -> tuple[int, bool]:
        # --truncate changes runs that cross the border of the window.
        past = run.finish > 0 and run.finish <= until and not 0 < run.start < since
        return page_of(run.job_id) if past else -1, past

    for (_, past), group in groupby(controller.store.runs(start, end, query.duplicates, where), place):
        yield list(group), past


def _matching_jobs(ctx: CommandContext, query: SacctQuery, runs: Sequence[Run], with_steps: bool) -> Iterator[Job]:
    """Jobs of these runs that pass the query's test."""
    now = ctx.controller.clock()
    test = accounted.test(query, now)
    for first in range(0, len(runs), _QUERY_BATCH):
        for job in _read(ctx, runs[first : first + _QUERY_BATCH], with_steps):
            if test(job):
                yield accounted.truncated(job, query, now) if query.truncate else job


class _Pages:
    """Cache access of one query. ``with_steps`` is False if no column reads steps."""

    def __init__(self, ctx: CommandContext, with_steps: bool = True) -> None:
        self._ctx, self._with_steps = ctx, with_steps
        self._jobs: tuple[int, list[Job]] = (-1, [])  # page number, and jobs read for that page

    def page(self, kind: _Kind, names: Sequence[str], runs: Sequence[Run]) -> CachePage | None:
        """Return the page with these runs and columns.

        A missing page is computed if many of its runs are needed. None for any other missing page, or if a job of the
        page is still active.
        """
        controller, number = self._ctx.controller, page_of(runs[0].job_id)
        page = controller.pages.get(number, kind.words)
        if page is not None and page.has(names):
            return page
        if len(runs) < _WORTH_A_PAGE or not controller.store.pages.complete(number):
            return None
        jobs = self._of_page(number)
        counts, cells = kind.make(jobs, names)
        keys = [(job.job_id, job.restarts) for job in jobs]
        page = CachePage.of(keys, counts, cells) if page is None else page.with_columns(cells)
        controller.pages.store_page(number, kind.words, page)
        return page

    def _of_page(self, number: int) -> list[Job]:
        if self._jobs[0] != number:
            self._jobs = number, _read(self._ctx, self._ctx.controller.store.runs_on(number), self._with_steps)
        return self._jobs[1]


def _read(ctx: CommandContext, runs: Sequence[Run], with_steps: bool) -> list[Job]:
    jobs = accounted.load_jobs(ctx, runs, with_steps)
    for job in jobs:
        accounted.take_live_steps(ctx, job)
    return jobs


async def prepare(controller: Controller) -> AsyncGenerator[None, None]:
    """Fill the cache for pages whose jobs have all ended.

    Only default options are covered. Each ``yield`` lets the controller serve other requests. A generator: each
    ``yield`` lets the controller serve other requests.
    """
    store = controller.store
    ctx = CommandContext(
        CommandRequest("sacct", (), "/", 0o022, (False,) * 3, None, os.getpid(), {}), controller, NoClient()
    )
    query = parse_sacct((), read_context(ctx), table(ctx, "sacct"))
    context = form(ctx, query).context
    kinds = (*_kinds(ctx, query, context), _documents(ctx))
    known = {kind.words: store.pages.stored(kind.words) for kind in kinds}
    yield
    for number in range(page_of(controller.job_table.next_job_id) - 1, -1, -1):
        if all(number in there for there in known.values()) or not store.pages.complete(number):
            continue
        if controller.pages.full:
            return
        edition, runs = store.pages.edition(number), store.runs_on(number)
        parts: dict[bytes, list[Rows]] = {kind.words: [] for kind in kinds}
        keys: list[tuple[int, int]] = []
        for first in range(0, len(runs), _IDLE_BATCH):
            yield
            jobs = _read(ctx, runs[first : first + _IDLE_BATCH], True)
            keys += [(job.job_id, job.restarts) for job in jobs]
            for kind in kinds:
                yield
                parts[kind.words].append(kind.make(jobs, kind.names))
        for kind in kinds:
            yield
            counts = [count for part, _ in parts[kind.words] for count in part]
            cells = {name: [cell for _, part in parts[kind.words] for cell in part[name]] for name in kind.names}
            yield
            page = CachePage.of(keys, counts, cells)
            # The commit of another request may have changed the runs and made the page stale.
            if store.pages.edition(number) != edition:
                break
            controller.pages.store_page(number, kind.words, page)
