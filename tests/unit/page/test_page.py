"""The page of a report: its content, and users' texts as plain text."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timezone
from html.parser import HTMLParser
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job, Step, Usage
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.page import charts, page_frame, quantities
from slurmsky.page.explanations import Similar, similar_jobs
from slurmsky.page.group_page import group_page, sum_of
from slurmsky.page.html import Html, el, join, text
from slurmsky.page.job_page import job_page
from slurmsky.page.job_summary import life, outcome
from slurmsky.page.timeline import Bar, Lane, Period, lanes, pack, strips
from slurmsky.page.usage_curves import Curve
from slurmsky.report.report_context import ReportContext
from slurmsky.report.text.why import explain

NOW = 1795262400.0
MakeJob = Callable[..., Job]

TAGS = frozenset(re.findall(r"\w+", """
    html head meta title style body main header footer section h1 h2 h3 p ul li div span strong small b i a bdi svg path
    line rect figure figcaption table thead tbody tr th td dl dt dd code pre"""))  # fmt: skip
ATTRIBUTES = frozenset(re.findall(r"[\w-]+", """
    class style title href id lang charset http-equiv content name role aria-label aria-hidden scope data-h viewbox
    preserveaspectratio d x y x1 x2 y1 y2 width height opacity"""))  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></svg><iframe src=//evil.example>",
    "&lt;b&gt; &amp; &#60;",
    "]]><!--",
    "line\nbreak\ttab",
    "javascript:alert(1)",
    "\x1b[31mred\x00\x07",
    "right\u202eleft\u2066",
    "bytes \udcff\udc80 \ud800",
    "ü 漢字 😀",
    "x" * 3000,
    "%s %d {} {0} %",
]


class Reader(HTMLParser):
    """Elements, attributes and text, as a browser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.cells: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag in ("td", "dd", "li"):
            self.cells.append("")
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
            if self.cells:
                self.cells[-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def shown(name: str) -> str:
    """A text as a page shows it."""
    return html.unescape(text(name))


def check(page: str) -> Reader:
    """Check that a page has only elements of this package and loads nothing."""
    read = Reader(page)
    assert read.tags <= TAGS
    assert {name for name, _ in read.attributes} <= ATTRIBUTES
    for name, value in read.attributes:
        if name == "href":
            assert re.fullmatch("#[a-z]+", value)
        if name == "style":
            assert re.fullmatch(r"((left|width):\d+\.\d+%;?)+", value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style and page.count("<style>") == 1
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    page.encode()  # no lone surrogates
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", page)
    return read


def hostile_job(make_job: MakeJob, name: str, job_id: int = 7, **fields: object) -> Job:
    spec = JobSpec(mem_mib=1000, comment=name, wckey=name, gres=None)
    step = Step(job_id, "0", name, state=JobState.FAILED, nodes=("n1",), cpus=4, exit_code=3, start_time=NOW - 4100,
                end_time=NOW - 3700, usage=Usage(user_s=10, tasks=1, ave_rss=1 << 20))  # fmt: skip
    return make_job(
        job_id, spec=spec, name=name, user=name, account=name, partition=name, qos=name, comment=name, work_dir=name,
        submit_line="sbatch " + name, command=name, argv=(name,), system_comment=name, reason_desc=name,
        failed_node=name, cluster=name, steps={"0": step},
        shares=[NodeShare("n1", cpu_ids=(0, 1), memory_mib=1000), NodeShare(name, cpu_ids=(0,))], **fields,
    )  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_user_texts_are_escaped(name: str, make_job: MakeJob, context: ReportContext) -> None:
    read = check(job_page([hostile_job(make_job, name)], context))
    assert " ".join(shown(name).split()) in read.text
    jobs = [hostile_job(make_job, name), hostile_job(make_job, name + "2", 8, state=JobState.FAILED)]
    read = check(group_page(jobs, context, name, Period(NOW - 7200, NOW, timezone.utc)))
    assert " ".join(shown(name).split()) in read.text
    waiting = hostile_job(make_job, name, state=JobState.PENDING, start_time=0.0, end_time=0.0, dependency=name)
    waiting.shares, waiting.steps = [], {}
    check(job_page([waiting], context))


@given(st.text(alphabet=st.characters(), max_size=40))
def test_text_stays_text(value: str) -> None:
    made = text(value)
    assert not set(made) & set("<>\"'")
    page = Reader(el("p", value, title=value))
    assert page.tags == {"p"}
    assert "".join(page.words) == page.attributes[0][1] == shown(value)
    assert all(char.isprintable() or char.isspace() or char in shown(value) for char in "".join(page.words))


def test_only_html_is_html() -> None:
    assert join("<b>", el("i", "&"), None, [1, ["x"]]) == "&lt;b&gt;<i>&amp;</i>1x"
    assert isinstance(join("a"), Html)
    with pytest.raises(TypeError):
        join(object())


# --- numbers


def test_a_job_in_numbers(make_job: MakeJob, context: ReportContext) -> None:
    one = life(make_job(cost=1.25), context)
    assert (one.waited_s, one.ran_s, one.held_s, one.cpu_s) == (300, 600, 2400, 1200)
    assert (one.cpu_share, one.memory_share, one.gpu_share, one.cost) == (0.5, 0.5, None, 1.25)
    total = sum_of([one, life(make_job(8, state=JobState.FAILED, exit_code=2), context)])
    assert (total.jobs, total.failed, total.cpu_share, total.cost, total.wait(0.5)) == (2, 1, 0.5, 1.25, 300)


def test_gpus_count_once(make_job: MakeJob, context: ReportContext) -> None:
    """GPUs of steps and script are the same devices and are not added."""
    share = NodeShare("n1", cpu_ids=(0,), gres={"gpu:h100": (0, 1)})
    job = make_job(shares=[share])
    job.steps["batch"].usage.gpu_s = 900.0
    job.steps["0"] = Step(7, "0", "x", JobState.COMPLETED, ("n1",), start_time=NOW - 4200, end_time=NOW - 3600,
                          usage=Usage(tasks=1, gpu_s=900.0))  # fmt: skip
    one = life(job, context)
    assert (one.gpus, one.gpu_s, one.gpu_share) == (2, 900, 0.75)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, ""),
        ({"state": JobState.FAILED, "exit_code": 3, "reason": "NonZeroExitCode"}, "exit 3"),
        ({"state": JobState.FAILED, "exit_signal": 9, "reason": "NonZeroExitCode"}, "signal 9 (KILL)"),
        ({"state": JobState.FAILED, "exit_signal": 2, "reason": "BadReason"}, "signal 2 (INT), BadReason"),
        ({"state": JobState.TIMEOUT, "reason": "TimeLimit"}, "TimeLimit"),
        ({"state": JobState.CANCELLED, "cancelled_by": 1000}, "by uid 1000"),
        ({"state": JobState.COMPLETED, "derived_exit_code": 1}, "a step ended with 1"),
        ({"state": JobState.PENDING, "reason": "Resources", "start_time": 0.0}, "Resources"),
        ({"state": JobState.RUNNING, "reason": "None", "end_time": 0.0}, ""),
    ],
)
def test_outcome_of_a_job(fields: dict[str, object], shown: str, make_job: MakeJob) -> None:
    assert outcome(make_job(**fields)) == shown


def test_curves_keep_the_amount() -> None:
    curve = Curve(0, 100, 10)
    curve.add(-50, 15, 2)  # from before the period
    curve.add(42, 44, 5)
    curve.add(95, 500, 1)
    assert curve.values == pytest.approx([2, 1, 0, 0, 1, 0, 0, 0, 0, 0.5])
    parts = Curve(0, 100, 10)
    parts.add_parts(20, 60, [1, 3])
    assert parts.values == pytest.approx([0, 0, 1, 1, 3, 3, 0, 0, 0, 0])
    parts.add_parts(91, 92, [10, 20])  # shorter than a part: its average
    assert parts.values[9] == pytest.approx(1.5)


def test_bars_take_the_first_free_row() -> None:
    bars = [Bar(0, 4, "good", "a"), Bar(1, 2, "good", "b"), Bar(2, 3, "good", "c"), Bar(5, 6, "good", "d")]
    assert [[bar.title for bar in row] for row in pack(bars)] == [["a"], ["b", "c", "d"]]


def test_bars_stay_inside_the_period() -> None:
    period = Period(100, 200, timezone.utc)
    times = ((0, 150, "good"), (190, 900, "bad"), (0, 50, "gone"), (150, 150, "live"))
    bars = [Bar(start, end, kind, "x") for start, end, kind in times]
    page = lanes(period, [Lane("job", "", [bars])], "x")
    assert re.findall(r'bar \w+" style="left:([\d.]+)%;width:([\d.]+)%', page) == [
        ("0.00", "50.00"), ("90.00", "10.00"), ("50.00", "0.00")]  # fmt: skip
    Reader(page)


def test_strips_join_equal_parts() -> None:
    page = strips(Period(0, 10), [("n1", "", [0.0, 0.5, 0.5, 1.0, 2.0, 0.01])], "x")
    assert re.findall(r'x="(\d)" y="0" width="(\d)" height="1" opacity="([\d.]+)"', page) == [
        ("1", "2", "0.5"), ("3", "2", "1")]  # fmt: skip


@pytest.mark.parametrize("part", [None, 0.0, 0.3, 0.99, 7.5])
def test_meters(part: float | None) -> None:
    read = Reader(charts.meter(part))
    assert read.text == ("not measured" if part is None else quantities.share(part))


@pytest.mark.parametrize("span", [1, 7, 90, 3000, 20000, 86400, 9e5, 4e7, 4e8])
def test_axis_marks(span: float) -> None:
    marks = quantities.ticks(NOW - 7, NOW - 7 + span, timezone.utc)
    assert 1 <= len(marks) <= 7
    assert len({label for _, label in marks}) == len(marks)
    assert all(NOW - 7 <= at <= NOW - 7 + span for at, _ in marks)


# --- pages


def test_the_page_of_a_job(make_job: MakeJob, context: ReportContext) -> None:
    job = make_job(state=JobState.FAILED, exit_code=3, reason="NonZeroExitCode", cost=2.5)
    usage = Usage(user_s=300, tasks=2, ave_rss=100 << 20, series={"cpu": [1.0, 0.5, 0.0], "mem": [50.0, 100.0, 90.0]})
    job.steps["0"] = Step(7, "0", "python", JobState.FAILED, ("n1",), 2, 4, start_time=NOW - 4190, end_time=NOW - 3890,
                          exit_code=1, usage=usage)  # fmt: skip
    page = job_page([job], context)
    read = check(page)
    assert "<polyline" not in page and page.count('class="spark"') == 1
    for words_ in ("Job 7 FAILED train", "State FAILED exit 3", "Waited 5 min", "Ran 10 min", "Cost $2.50",
                   "Memory 50 % of 1000 MB", "Step 0 (python) ended with exit 1.", "0 python 5 min",
                   "Output /home/ada/slurm-7.out"):  # fmt: skip
        assert words_ in read.text, words_
    assert page.count('class="bar bad') >= 2 and 'class="bar wait"' in page


def test_runs_before_a_requeue(make_job: MakeJob, context: ReportContext) -> None:
    first = make_job(state=JobState.NODE_FAIL, end_time=NOW - 4000)
    last = make_job(restarts=1, submit_time=NOW - 4000, eligible_time=NOW - 4000, start_time=NOW - 3900)
    read = check(job_page([first, last], context))
    assert "run 1" in read.text and "run 2" in read.text and "requeued 1 time." in read.text


def test_a_running_job_is_not_measured_yet(make_job: MakeJob, context: ReportContext) -> None:
    job = make_job(state=JobState.RUNNING, end_time=0.0, steps={})
    read = check(job_page([job], context))
    assert "CPU – when its steps end" in read.text and "Ran 1 h 10 min" in read.text


def test_the_share_of_a_period_names_the_time_it_is_computed_from(make_job: MakeJob, context: ReportContext) -> None:
    running = make_job(8, state=JobState.RUNNING, end_time=0.0, steps={})
    read = check(group_page([make_job(), running], context, "Jobs", Period(NOW - 86400, NOW, timezone.utc)))
    assert "CPU 50 % of 0.67 CPU hours held; 4.7 more are not measured" in read.text
    read = check(group_page([running], context, "Jobs", Period(NOW - 86400, NOW, timezone.utc)))
    assert "CPU – 4.7 CPU hours held, not measured" in read.text


def test_the_page_of_a_period(make_job: MakeJob, context: ReportContext) -> None:
    jobs = [make_job(), make_job(8, name="fit", user="bob", state=JobState.FAILED, exit_code=1),
            make_job(9, name="wait", state=JobState.PENDING, start_time=0.0, end_time=0.0, shares=[],
                     reason="Resources", steps={})]  # fmt: skip
    read = check(group_page(jobs, context, "Jobs", Period(NOW - 86400, NOW, timezone.utc)))
    for words_ in ("Jobs 3 1 completed, 1 failed, 1 waiting", "Failed 1 33 % of all", "the cluster has: 16 CPUs",
                   "Why jobs wait now Resources 1", "By user", "All jobs"):  # fmt: skip
        assert words_ in read.text, words_


def test_kinds_of_failed_and_waiting_jobs_are_explained(make_job: MakeJob, context: ReportContext) -> None:
    failed = {"state": JobState.FAILED, "exit_code": 1, "reason": "NonZeroExitCode", "array_job_id": 20}
    waiting = {"state": JobState.PENDING, "start_time": 0.0, "end_time": 0.0, "shares": [], "steps": {}}
    jobs = [make_job(), *(make_job(20 + task, array_task_id=task, **failed) for task in range(3)),
            make_job(8, state=JobState.FAILED, restarts=0), make_job(8, restarts=1),
            *(make_job(number, state=JobState.FAILED, reason="JobLaunchFailure", system_comment=f"no folder {number}")
              for number in (30, 31)),
            make_job(9, reason="Resources", **waiting)]  # fmt: skip
    found = similar_jobs(jobs)
    assert [[job.job_id for job in some] for some in found] == [[20, 21, 22], [30], [31], [9]]
    why = [Similar(some, explain(some[0], context)) for some in found]
    read = check(group_page(jobs, context, "Jobs", Period(NOW - 86400, NOW, timezone.utc), why=why, omitted=2))
    for words_ in ("Job 20_0 (train) is FAILED: exit code 1", "The same holds for 3 jobs: 20_0, 20_1, 20_2.",
                   "Job 9 (train) waits since", "2 more kinds; slurmsky why JOB explains each job."):  # fmt: skip
        assert words_ in read.text, words_


def test_a_period_without_jobs(context: ReportContext) -> None:
    read = check(group_page([], context, "Jobs", Period(NOW - 3600, NOW, timezone.utc)))
    assert "No job waited or ran in this time." in read.text


def test_ten_thousand_jobs_make_a_page_one_can_read(make_job: MakeJob, context: ReportContext) -> None:
    jobs = []
    for number in range(10000):
        start = NOW - 86400 + 8 * number
        state = JobState.FAILED if number % 10 == 0 else JobState.COMPLETED
        jobs.append(make_job(number + 1, name=f"sim{number % 50}", state=state, submit_time=start - number % 3600,
                             eligible_time=start - number % 3600, start_time=start, end_time=start + 300,
                             shares=[NodeShare(f"n{number % 90}", cpu_ids=(0,), memory_mib=10)]))  # fmt: skip
    began = process_time()
    page = group_page(jobs, context, "Jobs", Period(NOW - 86400, NOW, timezone.utc))
    assert process_time() - began < 20  # 2 s where nothing else runs
    assert len(page) < 1_500_000
    read = check(page)
    assert "10,000" in read.text and "1,000 failed" in read.text and "The 64 busiest of 90 nodes." in read.text
    assert page.count("<tr>") < 200


def test_a_suspended_job_is_in_the_legend(make_job: MakeJob, context: ReportContext) -> None:
    over = make_job()
    stopped = make_job(8, state=JobState.SUSPENDED, end_time=0.0, suspended_s=60.0)
    assert "suspended" not in page_frame.legend(page_frame.bars({life(over, context).kind}))
    assert ">suspended<" in page_frame.legend(page_frame.bars({life(stopped, context).kind}))
    assert ">suspended<" in job_page([stopped], context)


def test_the_page_of_one_job_is_a_job_page(make_job: MakeJob, context: ReportContext) -> None:
    jobs = [make_job(number, name=f"n{number // 5}") for number in range(4, 130)]
    page = group_page(jobs, context, "Jobs", Period(NOW - 86400, NOW, timezone.utc))
    assert "5 jobs" in page and "1 job<" in page and " 1 jobs" not in page and ">1 jobs" not in page
