"""Page of one job: waiting and running time, steps, resource use."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.job import Job, Step
from ..model.spec import INFINITE
from ..model.states import JobState
from ..report.fields import derived, tres_texts
from ..report.report_context import ReportContext
from ..report.text.units import format_minutes
from ..report.text.why import Explanation
from . import charts, page_frame, quantities, usage_curves
from .explanations import section_of_one
from .html import Html, el, join
from .job_summary import Life, ended_with, kind_of, life, step_end, steps_of
from .page_frame import pairs, pill, section, table, tile, tiles
from .timeline import Bar, Lane, Period, lanes, pack

#: maximum of lanes and of table rows of steps; further steps are only counted
MOST_STEPS = 150
PARTS = 240


def job_page(runs: Sequence[Job], context: ReportContext, why: Explanation | None = None) -> str:
    """Page of one job.

    ``runs``: its runs; all but the last were requeued. ``why``: why the job waits, or how it ended.
    """
    lives = [life(job, context) for job in runs]
    now, last = context.now, lives[-1]
    job = last.job
    end = max(max(one.end for one in lives), last.start + 1)
    period = Period(lives[0].job.submit_time or last.start, end, context.clock.zone)
    keys = page_frame.legend(page_frame.bars({one.kind for one in lives}))
    name = f"Job {derived.job_id_text(job)}"
    who = [job.user, f"account {job.account}", f"partition {job.partition}", f"cluster {job.cluster}"]
    return page_frame.document(
        f"{name} {job.name}",
        f"as of {quantities.moment(now, context.clock.zone)}",
        el(
            "header",
            el("h1", name, " ", pill(last)),
            el("p", el("bdi", job.name), cls="sub"),
            el("p", " · ".join(who), cls="note"),
        ),
        _tiles(last, context),
        section_of_one(why) if why is not None else None,
        _warnings(last, context),
        section("Timeline", _timeline(lives, period), keys, id="timeline"),
        _nodes(last, context) if len(job.shares) > 1 and last.start else None,
        section("Used, of what was held", _use(last), _curves(last, context), id="use") if last.start else None,
        _steps(last, context),
        section("Details", pairs(_details(last, context)), id="details"),
    )


def _tiles(one: Life, context: ReportContext) -> Html:
    job = one.job
    limit = context.time_limit(job)
    of_limit = "no time limit" if limit == INFINITE else f"of {format_minutes(limit)}"
    measured = "when its steps end" if not job.state.finished else "nothing was measured"

    def used(share: float | None, held: str) -> tuple[str, str]:
        return (quantities.share(share), held if share is not None else measured)

    gpu = None
    if one.gpus:
        gpu = tile("GPU", *used(one.gpu_share, f"of {one.gpus} GPU{'s' * (one.gpus > 1)}"))
    cost = None
    if one.cost is not None:
        cost = tile("Cost", quantities.money(one.cost), "so far" if not job.state.finished else None)
    return tiles(
        tile("State", one.state, one.outcome or "exit 0" if job.state.finished else one.outcome, one.kind),
        tile("Waited", quantities.duration(one.waited_s), "since it could run"),
        tile("Ran", quantities.duration(one.ran_s) if one.start else "–", of_limit),
        tile("CPU", *used(one.cpu_share, f"of {one.cpus} CPU{'s' * (one.cpus > 1)}")) if one.start else None,
        tile("Memory", *used(one.memory_share, f"of {quantities.memory(one.memory_held_mib)}")) if one.start else None,
        gpu if one.start else None,
        cost,
    )


def _warnings(one: Life, context: ReportContext) -> Html | None:
    """Highlighted warnings for one job, or None."""
    job, found = one.job, []
    finished = job.state.finished and one.ran_s >= 10
    if one.failed:
        found.append(f"It ended {one.state}{': ' if one.outcome else ''}{one.outcome}.")
    bad = [step for step in job.steps.values() if step.state.finished and kind_of(step.state) == "bad"]
    for step in bad[:3]:
        if step.step_id != "batch":
            how = ended_with(step.exit_code, step.exit_signal) or step.state.name
            found.append(f"Step {step.step_id} ({step.name}) ended with {how}.")
    if len(bad) > 3:
        found.append(f"{len(bad)} steps failed.")
    if finished and one.cpu_share is not None and one.cpus > 1 and one.cpu_share < 0.5:
        busy = one.cpu_share * one.cpus
        found.append(f"On average {quantities.amount(round(busy, 1))} of its {one.cpus} CPUs were busy.")
    if finished and one.memory_share is not None and one.memory_share > 0.9:
        found.append(
            f"Its memory was nearly all used: {quantities.memory(one.memory_mib or 0)} "
            f"of {quantities.memory(one.memory_held_mib)}."
        )
    elif finished and one.memory_share is not None and job.spec.mem_mib and one.memory_share < 0.25:
        found.append(
            f"It requested {quantities.memory(one.memory_held_mib)} of memory"
            f" and used {quantities.memory(one.memory_mib or 0)}."
        )
    if finished and one.gpu_share is not None and one.gpu_share < 0.3:
        found.append(f"Its GPUs were busy for {quantities.share(one.gpu_share)} of the time.")
    limit = context.time_limit(job)
    if finished and limit != INFINITE and one.ran_s < limit * 60 * 0.2 and job.spec.time_limit_min:
        found.append(
            f"It ran {quantities.duration(one.ran_s)} of the {format_minutes(limit)} it requested: with a shorter "
            "--time it may start sooner."
        )
    if job.restarts:
        found.append(f"It was requeued {job.restarts} time{'s' * (job.restarts > 1)}.")
    return section("Warnings", el("ul", (el("li", line) for line in found))) if found else None


def waiting_bars(one: Life) -> list[Bar]:
    """Bars from submit over eligible time to start."""
    job = one.job
    until = one.start or one.end
    could = min(one.eligible or until, until)
    bars = []
    if could > job.submit_time:
        bars.append(
            Bar(
                job.submit_time,
                could,
                "hold",
                f"{one.id}: could not start yet for {quantities.duration(could - job.submit_time)}",
            )
        )
    if until > could:
        bars.append(Bar(could, until, "wait", f"{one.id}: waited {quantities.duration(until - could)}"))
    return bars


def running_bar(one: Life, label: str = "") -> Bar:
    """Bar of the time in which the job held nodes."""
    title = f"{one.id} {one.job.name}: {one.state}, {quantities.duration(one.ran_s)}"
    return Bar(one.start, max(one.end, one.start), one.kind, title + (f", {one.outcome}" if one.outcome else ""), label)


def _timeline(lives: Sequence[Life], period: Period) -> Html:
    rows = []
    for one in lives:
        bars = waiting_bars(one) + ([running_bar(one)] if one.start else [])
        note = quantities.duration(one.ran_s) if one.start else f"waiting {quantities.duration(one.waited_s)}"
        rows.append(Lane("job" if len(lives) == 1 else f"run {one.job.restarts + 1}", note, [bars]))
        steps = steps_of(one.job)
        for step in steps[:MOST_STEPS]:
            rows.append(Lane(_step_name(step), _length(step, one), [[_step_bar(step, one)]]))
        if len(steps) > MOST_STEPS:
            rest = pack(_step_bar(step, one) for step in steps[MOST_STEPS:])
            rows.append(Lane(f"{len(steps) - MOST_STEPS} more steps", "", rest[:60]))
    return lanes(period, rows, "When the job waited and ran, and each of its steps")


def _step_name(step: Step) -> str:
    return step.step_id if step.step_id == step.name else f"{step.step_id} {step.name}"


def _length(step: Step, one: Life) -> str:
    return quantities.duration(max(0.0, _end(step, one) - step.start_time))


def _end(step: Step, one: Life) -> float:
    """End of a step, by default its job's end."""
    return step_end(step, one.end)


def _step_bar(step: Step, one: Life) -> Bar:
    how = ended_with(step.exit_code, step.exit_signal)
    title = f"step {_step_name(step)}: {step.state.name}, {_length(step, one)}" + (f", {how}" if how else "")
    return Bar(step.start_time, _end(step, one), kind_of(step.state) + " step", title)


def _nodes(one: Life, context: ReportContext) -> Html:
    """The nodes with their steps."""
    period = Period(one.start, max(one.end, one.start + 1), context.clock.zone)
    rows = []
    for share in one.job.shares[:MOST_STEPS]:
        bars = [_step_bar(step, one) for step in one.job.steps.values() if share.name in step.nodes]
        rows.append(Lane(share.name, f"{share.cpus} CPUs", pack(bars)[:40]))
    more = len(one.job.shares) - len(rows)
    note = f"The first {len(rows)} of {len(one.job.shares)} nodes." if more else None
    return section("Nodes", lanes(period, rows, "The steps on each node"), note=note, id="nodes")


def _use(one: Life) -> Html:
    """Totals of held and used resources, side by side."""
    cpu, mem = one.cpu_s, one.memory_mib
    rows: list[list[object]] = [
        [
            "CPU time",
            quantities.duration(one.held_s),
            "–" if cpu is None else quantities.duration(cpu),
            charts.meter(one.cpu_share),
        ],
        [
            "Memory",
            quantities.memory(one.memory_held_mib),
            "–" if mem is None else quantities.memory(mem),
            charts.meter(one.memory_share),
        ],
    ]
    if one.gpus:
        used = "–" if one.gpu_s is None else quantities.duration(one.gpu_s)
        rows.append(["GPU time", quantities.duration(one.ran_s * one.gpus), used, charts.meter(one.gpu_share)])
    return table(("Resource", "Held", "Used", "Share"), rows, (1, 2))


def _curves(one: Life, context: ReportContext) -> Html | None:
    if one.cpu_s is None:
        return None
    start, end = one.start, max(one.end, one.start + 1)
    period = Period(start, end, context.clock.zone)

    def curve() -> usage_curves.Curve:
        return usage_curves.Curve(start, end, PARTS)

    cpu = charts.ChartLine("CPUs busy", usage_curves.used(curve(), [one], context.now, usage_curves.busy), "used")
    memory = charts.ChartLine(
        "memory in use", usage_curves.used(curve(), [one], context.now, usage_curves.memory), "mem"
    )
    found = [
        charts.chart(period, [cpu], "CPUs", one.cpus, "held"),
        charts.chart(period, [memory], "MiB", round(one.memory_held_mib), "held"),
    ]
    if one.gpus and one.gpu_s is not None:
        gpu = charts.ChartLine("GPUs busy", usage_curves.used_gpus(curve(), [one], context.now), "gpu")
        found.append(charts.chart(period, [gpu], "GPUs", one.gpus, "held"))
    return join(found)


def _steps(one: Life, context: ReportContext) -> Html | None:
    steps = steps_of(one.job)
    if not steps:
        return None
    gpus = any(step.usage.gpu_s is not None for step in steps)
    heads = ["Step", "State", "Exit", "Ran", "Nodes", "Tasks", "CPUs", "CPU use", "Over time", "Peak memory"]
    rows = [_step_row(step, one, gpus) for step in steps[:MOST_STEPS]]
    note = None
    if len(steps) > MOST_STEPS:
        note = f"The first {MOST_STEPS} of {len(steps)} steps; sacct -j {one.job.job_id} has all."
    return section("Steps", table(heads + ["GPUs busy"] * gpus, rows, (3, 5, 6, 9, 10)), note=note, id="steps")


def _step_row(step: Step, one: Life, gpus: bool) -> list[object]:
    usage = step.usage
    long = max(_end(step, one) - step.start_time, 0.01)
    # The script holds all CPUs of its node but mostly waits for the steps: its share is meaningless.
    busy = (usage.user_s + usage.system_s) / long if usage.tasks else None
    share = None if busy is None else charts.meter(busy / step.cpus if step.cpus else None)
    series = usage.series.get("cpu")
    curve = charts.sparkline(series, step.cpus, "CPUs busy over the step's life") if series and len(series) > 1 else "–"
    exit_ = ended_with(step.exit_code, step.exit_signal) or ("exit 0" if step.state.finished else "–")
    row: list[object] = [
        el("bdi", _step_name(step)),
        el("span", step.state.name, cls="pill " + kind_of(step.state)),
        exit_,
        _length(step, one),
        derived.node_list(step.nodes),
        step.ntasks,
        step.cpus,
        share if share is not None else "–",
        curve,
        quantities.memory(usage_curves.memory_peak(step)) if usage.tasks else "–",
    ]
    if gpus:
        row.append("–" if usage.gpu_s is None else quantities.amount(round(usage.gpu_s / long, 2)))
    return row


def _details(one: Life, context: ReportContext) -> list[tuple[str, object]]:
    job, zone = one.job, context.clock.zone
    requested = ", ".join(f"{name}={value}" for name, value in tres_texts.requested(job, context))
    got = ", ".join(f"{name}={value}" for name, value in tres_texts.allocated(job, context))
    array = f"{job.array_job_id}, element {job.array_task_id}" if job.array_task_id is not None else ""
    limit = context.time_limit(job)
    return [
        ("Job id", str(job.job_id)),
        ("Array", array),
        ("Heterogeneous job", f"{job.het_job_id}, component {job.het_offset}" if job.het_job_id else ""),
        ("Submitted", quantities.moment(job.submit_time, zone)),
        ("Could run", quantities.moment(job.eligible_time, zone) if job.eligible_time else ""),
        ("Started", quantities.moment(one.start, zone) if one.start else ""),
        ("Ended", quantities.moment(job.end_time, zone) if job.state.finished else ""),
        ("Suspended", quantities.duration(job.suspended_s) if job.suspended_s else ""),
        ("Time limit", "none" if limit == INFINITE else format_minutes(limit)),
        ("Requested", requested),
        ("Allocated", got),
        ("GPUs", f"{one.gpus}" if one.gpus else ""),
        ("Nodes", derived.node_list(job.nodes)),
        ("Waits for", job.dependency_shown or job.dependency if job.state is JobState.PENDING else ""),
        ("QOS", job.qos),
        ("Engine", f"{job.engine}, managed job {job.managed_job_id}" if job.managed_job_id is not None else job.engine),
        ("Command line", job.submit_line),
        ("Script", " ".join((job.command, *job.argv)) if job.command else ""),
        ("Folder", job.work_dir),
        ("Output", derived.expand_path(job.stdout, job) if job.is_batch else ""),
        ("Errors", derived.expand_path(job.stderr, job) if job.is_batch and job.stderr else ""),
        ("Comment", job.comment or job.spec.comment or ""),
        ("System comment", job.system_comment),
        ("Last seen on", job.failed_node),
    ]
