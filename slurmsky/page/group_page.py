"""Page of many jobs: an array, or a period's jobs.

The page stays small for any number of jobs: beyond the limits below, jobs are shown as sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo

from ..model.job import Job
from ..report.report_context import ReportContext
from ..report.text.sacct_rows import accounting_order
from ..report.text.utilization import capacity
from . import charts, page_frame, quantities, usage_curves
from .explanations import Similar, section_of_many
from .group_sums import Sum, sum_of
from .html import Html, el
from .job_page import running_bar, waiting_bars
from .job_summary import Life, life
from .page_frame import pill, section, table, tile, tiles
from .timeline import Bar, Lane, Period, lanes, pack, strips

MOST_LANES = 120  # jobs with a separate lane
MOST_ROWS = 300  # jobs in the table of all jobs
MOST_CHOSEN = 25  # jobs in a table of selected jobs
MOST_BARS = 1500  # maximum of bars on nodes; with more, each node's utilisation is shown
MOST_NODES = 64
PARTS = 240
_WAITS = (
    (60, "under a minute"),
    (600, "1 to 10 min"),
    (3600, "10 min to 1 h"),
    (6 * 3600, "1 to 6 h"),
    (86400, "6 h to 1 d"),
    (float("inf"), "over a day"),
)


def span_of(jobs: Sequence[Job], now: float, zone: tzinfo | None) -> Period:
    """Period from the first submit to the last end."""
    start = min(job.submit_time for job in jobs)
    end = max(job.end_time if job.state.finished else now for job in jobs)
    return Period(start, max(end, start + 1), zone)


def group_page(
    jobs: Sequence[Job],
    context: ReportContext,
    title: str,
    period: Period,
    whole: bool = True,
    why: Sequence[Similar] = (),
    omitted: int = 0,
) -> str:
    """Page of a period's jobs.

    ``whole``: ``jobs`` are all jobs of the cluster in the period, so show the cluster's size. ``why`` explains groups
    of failed and waiting jobs, and ``omitted`` is the number of other groups.
    """
    lives = [life(job, context) for job in accounting_order(jobs)]
    total = sum_of(lives)
    when = f"{quantities.moment(period.start, period.zone)} to {quantities.moment(period.end, period.zone)}"
    body: list[object] = [
        el(
            "header",
            el("h1", title),
            el("p", f"{when} ({quantities.duration(period.seconds)})", cls="sub"),
            el("p", f"cluster {context.cluster.name}", cls="note"),
        ),
    ]
    if not lives:
        body.append(el("p", "No job waited or ran in this time."))
    else:
        period = _period_of_jobs(period, lives)
        body += [
            _tiles(total),
            section_of_many(why, omitted),
            _load(lives, context, period, whole),
            _nodes(lives, context, period),
            _jobs_timeline(lives, period),
            _waiting(lives, total),
            *_groups(lives),
            *_chosen(lives),
        ]
    return page_frame.document(title, f"as of {quantities.moment(context.now, period.zone)}", *body)


def _period_of_jobs(period: Period, lives: Sequence[Life]) -> Period:
    """Part of the period with jobs, for the time axis."""
    start = max(period.start, min(one.job.submit_time for one in lives))
    end = min(period.end, max(one.end for one in lives))
    spare = 0.02 * (end - start) + 1
    return Period(max(period.start, start - spare), min(period.end, end + spare), period.zone)


def _tiles(total: Sum) -> Html:
    mixed = [
        f"{total.good:,} completed",
        f"{total.failed:,} failed",
        f"{total.live:,} running",
        f"{total.waiting:,} waiting",
    ]
    gpu = _used("GPU", total.gpu_share, total.gpu_known_s, total.gpu_held_s) if total.gpu_held_s else None
    return tiles(
        tile("Jobs", f"{total.jobs:,}", ", ".join(text for text in mixed if not text.startswith("0 ")) or "none ran"),
        tile(
            "Failed",
            f"{total.failed:,}",
            f"{quantities.share(total.failed / total.jobs)} of all",
            "bad" if total.failed else None,
        ),
        tile(
            "Waited",
            quantities.duration(total.wait(0.5)),
            f"median; 9 of 10 at most {quantities.duration(total.wait(0.9))}",
        ),
        _used("CPU", total.cpu_share, total.held_s, total.all_held_s),
        tile("Memory", quantities.share(total.memory_share), "at peak, of what was held"),
        gpu,
        tile("Cost", quantities.money(total.cost)) if total.cost is not None else None,
    )


def _used(unit: str, share: float | None, measured_s: float, held_s: float) -> Html:
    """Tile with the used share of the measured time; steps are measured when they end."""
    hours = quantities.hours
    if share is None:
        return tile(unit, quantities.share(share), f"{hours(held_s)} {unit} hours held, not measured")
    held = f"of {hours(measured_s)} {unit} hours held"
    rest = "" if held_s - measured_s < 1 else f"; {hours(held_s - measured_s)} more are not measured"
    return tile(unit, quantities.share(share), held + rest)


def _load(lives: Sequence[Life], context: ReportContext, period: Period, whole: bool) -> Html:
    """Held and used resources over time, with the waiting jobs."""

    def curve() -> usage_curves.Curve:
        return usage_curves.Curve(period.start, period.end, PARTS)

    held, running, waiting, gpus = curve(), curve(), curve(), curve()
    for one in lives:
        if one.start:
            held.add(one.start, one.end, one.cpus)
            running.add(one.start, one.end, 1)
            gpus.add(one.start, one.end, one.gpus)
        if one.eligible:
            waiting.add(one.eligible, one.start or one.end, max(1, one.job.pending_count))
    used = usage_curves.used(curve(), lives, context.now, usage_curves.busy)
    limit = capacity(context.cluster)["cpu"] if whole and _on_cluster(lives, context) else 0.0
    found = [
        charts.chart(
            period,
            [charts.ChartLine("CPUs held", held, "held"), charts.ChartLine("CPUs busy", used, "used")],
            "CPUs",
            limit,
            "the cluster has",
        ),
        charts.chart(
            period,
            [
                charts.ChartLine("jobs waiting", waiting, "wait"),
                charts.ChartLine("jobs running", running, "live", edge=True),
            ],
            "jobs",
        ),
    ]
    if gpus.peak:
        lines = [charts.ChartLine("GPUs held", gpus, "held")]
        if any(one.gpu_s is not None for one in lives):
            lines.append(charts.ChartLine("GPUs busy", usage_curves.used_gpus(curve(), lives, context.now), "gpu"))
        found.append(charts.chart(period, lines, "GPUs"))
    return section("Load", found, id="load")


def _on_cluster(lives: Sequence[Life], context: ReportContext) -> bool:
    """Return whether all jobs ran on nodes of the site file."""
    known = {node.name for node in context.cluster.nodes}
    return bool(known) and all(known.issuperset(one.job.nodes) for one in lives)


def _nodes(lives: Sequence[Life], context: ReportContext, period: Period) -> Html | None:
    """Bars of the jobs on each node, or each node's utilisation. Utilisation is shown for more than MOST_BARS bars."""
    on: dict[str, list[tuple[Life, int]]] = {}
    for one in lives:
        if one.start and one.start <= period.end and one.end >= period.start:
            for share in one.job.shares if one.job.nodes else ():
                on.setdefault(share.name, []).append((one, share.cpus))
    if not on:
        return None
    size = {node.name: node.cpus for node in context.cluster.nodes}
    order = [node.name for node in context.cluster.nodes if node.name in on]
    order += sorted(set(on) - set(order))
    names = (
        order
        if len(order) <= MOST_NODES
        else sorted(
            sorted(order, key=lambda name: -sum(one.ran_s * cpus for one, cpus in on[name]))[:MOST_NODES],
            key=order.index,
        )
    )
    note = f"The {len(names)} busiest of {len(order)} nodes." if len(names) < len(order) else None
    if sum(len(on[name]) for name in names) <= MOST_BARS:
        rows = []
        for name in names:
            bars = [running_bar(one, one.id) for one, _ in on[name]]
            packed = pack(bars)
            # Limit the rows of a lane: a node with many short jobs can have hundreds.
            rows.append(Lane(name, _node_note(name, size), packed[:40]))
        picture = lanes(period, rows, "The jobs on each node")
        keys = page_frame.legend(page_frame.bars({one.kind for one in lives})[2:])
        return section("Nodes", picture, keys, note=note, id="nodes")
    strip_rows = []
    for name in names:
        filled = usage_curves.Curve(period.start, period.end, PARTS)
        for one, cpus in on[name]:
            filled.add(one.start, one.end, cpus)
        whole = size.get(name) or filled.peak or 1
        strip_rows.append((name, _node_note(name, size), [value / whole for value in filled.values]))
    text = "The stronger the colour, the more of the node's CPUs were held."
    picture = strips(period, strip_rows, "How full each node was")
    return section("Nodes", picture, note=f"{text} {note or ''}", id="nodes")


def _node_note(name: str, size: dict[str, int]) -> str:
    return f"{size[name]} CPUs" if name in size else ""


def _jobs_timeline(lives: Sequence[Life], period: Period) -> Html:
    """Lanes by job, or by job name for many jobs."""
    if len(lives) <= MOST_LANES:
        rows = []
        for one in lives:
            bars: list[Bar] = waiting_bars(one) + ([running_bar(one)] if one.start else [])
            note = quantities.duration(one.ran_s) if one.start else one.outcome
            rows.append(Lane(f"{one.id} {one.job.name}", note, [bars]))
        picture = lanes(period, rows, "When each job waited and ran")
        return section("Jobs", picture, page_frame.legend(page_frame.bars({one.kind for one in lives})), id="timeline")
    by_name = _by(lives, lambda one: one.job.name)
    most = sorted(by_name.items(), key=lambda item: -sum(one.held_s for one in item[1]))[:40]
    rows_ = []
    for name, some in most:
        running = usage_curves.Curve(period.start, period.end, PARTS)
        for one in some:
            if one.start:
                running.add(one.start, one.end, 1)
        top = running.peak or 1
        count = sum(max(1, one.job.pending_count) for one in some)
        rows_.append((name, f"{count:,} job{'s' if count != 1 else ''}", [value / top for value in running.values]))
    note = "Jobs of one name together: the stronger the colour, the more of them ran at once."
    if len(by_name) > len(most):
        note += f" The {len(most)} names with the most CPU time of {len(by_name):,}."
    return section("Jobs", strips(period, rows_, "When jobs of each name ran"), note=note, id="timeline")


def _waiting(lives: Sequence[Life], total: Sum) -> Html | None:
    if not total.waits:
        return None
    rows, low = [], 0.0
    for high, name in _WAITS:
        rows.append((name, sum(low <= wait < high for wait in total.waits)))
        low = high
    reasons = _by((one for one in lives if one.kind == "wait"), lambda one: one.outcome or "Priority")
    why: list[tuple[str, int]] = sorted(
        ((reason, sum(max(1, one.job.pending_count) for one in some)) for reason, some in reasons.items()),
        key=lambda row: -row[1],
    )
    return section(
        "Waiting",
        charts.counts(rows),
        [el("h3", "Why jobs wait now"), charts.counts(why[:12])] if why else None,
        id="waiting",
    )


def _by(lives: Iterable[Life], key: Callable[[Life], str]) -> dict[str, list[Life]]:
    found: dict[str, list[Life]] = {}
    for one in lives:
        found.setdefault(key(one), []).append(one)
    return found


_GROUPS: tuple[tuple[str, Callable[[Life], str]], ...] = (
    ("User", lambda one: one.job.user),
    ("Account", lambda one: one.job.account),
    ("Partition", lambda one: one.job.partition.partition(",")[0]),
    ("Name", lambda one: one.job.name),
)


def _groups(lives: Sequence[Life]) -> list[Html]:
    """Sums by user, name and other fields. A field with one value is omitted."""
    found = []
    for name, key in _GROUPS:
        groups = _by(lives, key)
        if len(groups) < 2 or (name == "Account" and set(groups) == {one.job.user for one in lives}):
            continue
        if name == "Name" and len(groups) == len(lives):
            continue
        sums = sorted(((each, sum_of(some)) for each, some in groups.items()), key=lambda row: -row[1].all_held_s)
        cost = any(one.cost is not None for _, one in sums)
        gpu = any(one.gpu_held_s for _, one in sums)
        rows: list[list[object]] = []
        for each, one in sums[:MOST_CHOSEN]:
            row: list[object] = [
                el("bdi", each),
                f"{one.jobs:,}",
                f"{one.failed:,}",
                quantities.duration(one.wait(0.5)),
                quantities.hours(one.all_held_s),
                charts.meter(one.cpu_share),
                charts.meter(one.memory_share),
            ]
            rows.append(row + [quantities.hours(one.gpu_held_s)] * gpu + [quantities.money(one.cost)] * cost)
        heads = [name, "Jobs", "Failed", "Median wait", "CPU hours", "CPU use", "Memory use"]
        note = f"The {MOST_CHOSEN} with the most CPU time of {len(sums):,}." if len(sums) > MOST_CHOSEN else None
        made = table(heads + ["GPU hours"] * gpu + ["Cost"] * cost, rows, (1, 2, 3, 4, 7, 8))
        found.append(section(f"By {name.lower()}", made, note=note))
    return found


def _chosen(lives: Sequence[Life]) -> list[Html | None]:
    """Tables of all jobs, or of notable ones among many."""
    if len(lives) <= MOST_ROWS:
        return [_table("All jobs", lives, "jobs")]
    failed = [one for one in reversed(lives) if one.failed]
    waited = sorted(lives, key=lambda one: -one.waited_s)
    wasted = sorted((one for one in lives if one.wasted_s and one.job.state.finished), key=lambda one: -one.wasted_s)
    largest = sorted(lives, key=lambda one: -one.held_s)
    return [
        _table("Failed last", failed, "failed"),
        _table("Held the most CPU time", largest, "largest"),
        _table("Held CPUs and left them idle", wasted, "idle"),
        _table("Waited the longest", waited, "waited"),
        el("p", f"{len(lives):,} jobs in all; sacct lists each.", cls="note"),
    ]


def _table(title: str, lives: Sequence[Life], id: str) -> Html | None:
    if not lives:
        return None
    shown = lives if id == "jobs" else lives[:MOST_CHOSEN]
    cost = any(one.cost is not None for one in shown)
    gpu = any(one.gpus for one in shown)
    users = len({one.job.user for one in lives}) > 1
    rows: list[list[object]] = []
    for one in shown:
        row: list[object] = [one.id, el("bdi", one.job.name)]
        row += [one.job.user] * users
        row += [
            pill(one),
            one.outcome or "–",
            quantities.duration(one.waited_s),
            quantities.duration(one.ran_s) if one.start else "–",
            one.cpus,
            charts.meter(one.cpu_share) if one.start else "–",
            charts.meter(one.memory_share) if one.start else "–",
        ]
        if gpu:
            row.append(charts.meter(one.gpu_share) if one.gpus and one.start else "–")
        rows.append(row + [quantities.money(one.cost)] * cost)
    heads = [
        "Job",
        "Name",
        *["User"] * users,
        "State",
        "Why",
        "Waited",
        "Ran",
        "CPUs",
        "CPU use",
        "Memory use",
        *["GPU use"] * gpu,
        *["Cost"] * cost,
    ]
    at = heads.index("Waited")
    note = f"{len(shown)} of {len(lives):,}." if len(shown) < len(lives) else None
    return section(title, table(heads, rows, (at, at + 1, at + 2, len(heads) - 1 if cost else at)), note=note, id=id)
