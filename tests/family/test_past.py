"""sacct of a time window equals sacct of the ids.

Cached pages serve the window.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from local_engine import BIN, LocalEngine, local_engine
from polling import PATIENCE_S

from slurmsky.controller.store.accounting_cache import CachePage
from slurmsky.controller.store.database import Store
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job, Step, Usage
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.report.text.print_fields import SharedCell


def test_cached_answers_equal_computed_ones(engine: LocalEngine) -> None:
    def submitted(*options: str) -> str:
        done = engine.run(["sbatch", "--parsable", "--wait", "-o/dev/null", "-Jpast", *options])
        return done.stdout.strip()

    ids = [submitted("--wrap=srun true; srun false"), submitted("-a0-2", "--wrap=exit 3"), submitted("--wrap=true")]
    forms = (["-l"], ["-P", "--format=ALL"], ["-X"], ["-n", "-o", "jobid,totalcpu%-9,state"], ["-X", "-sF", "-Enow"])
    for form in forms:
        one_by_one = engine.run(["sacct", *form, "-j", ",".join(ids)]).stdout
        assert one_by_one.count("\n") > 1
        for _ in range(2):
            assert engine.run(["sacct", *form, "--name=past", "-Snow-1hour"]).stdout == one_by_one
    ids.append(submitted("--wrap=srun true"))
    again = engine.run(["sacct", "--name=past", "-Snow-1hour"]).stdout
    assert f"\n{ids[-1]}.0 " in again and again == engine.run(["sacct", "-j", ",".join(ids)]).stdout
    assert engine.run(["sacct", "-n", "--name=past", "-Snow-2hour", "-Enow-1hour"]).stdout == ""


STATES = (JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED)
NAMES = ("old", "größe", "two words", "日本語の仕事", "n\udcff", "tab\tbed", "a|b", "x\x1fy", "l" * 70)


def fill(path: Path, first: int, many: int) -> None:
    """Store jobs of many kinds that ended an hour ago.

    Most have a batch step; the last ones are of an array.
    """
    end = int(time.time()) - 3600
    jobs, earlier = [], []
    for number in range(first, first + many):
        array = first + many - 40 if number >= first + many - 40 else 0
        job = Job(number, JobSpec(constraint="gpu" if number % 5 == 0 else None), NAMES[number % len(NAMES)], "root", 0,
                  0, "root", "root", ("debug", "gpu")[number % 2], state=STATES[number % 11 % 4],
                  submit_time=end - 90 - number % 3, eligible_time=0 if number % 50 == 7 else end - 80,
                  start_time=end - 60 + number % 7, end_time=end + number % 600, exit_code=number % 3,
                  cancelled_by=0 if number % 11 % 4 == 3 else None, comment="x" * (number % 9),
                  array_job_id=array, array_task_id=number - array if array else None,
                  shares=[NodeShare(f"n{1 + number % 3}", cpu_ids=(0,), tasks=1, memory_mib=number % 4 * 100)],
                  num_cpus=1 + number % 2, time_limit_min=(60, 4294967295)[number % 2])  # fmt: skip
        for step_id in ("batch", "0", "1")[: number % 4]:
            job.steps[step_id] = Step(number, step_id, f"s{number % 20}", job.state, (job.nodes[0],), cpus=1,
                                      start_time=end - 60, end_time=end,
                                      usage=Usage(user_s=number, tasks=number % 2, max_rss=4096 * number))  # fmt: skip
        jobs.append(job)
        if number % 40 == 3:
            earlier.append(replace(job, restarts=0, state=JobState.NODE_FAIL, steps={}))
            job.restarts = 1
    store = Store(path)
    store.write(jobs, [(job, step) for job in jobs for step in job.steps.values()], earlier,
                {"next_job_id": first + many})  # fmt: skip
    store.close()


FORMS = ((), ("-l",), ("-X",), ("-X", "-P", "-oALL"), ("-p", "-oall"), ("-n", "-ostate%-9,jobname%12,reqmem,end"),
         ("--units=K", "-oalltres%60,maxrss"), ("-D", "-b"), ("--array", "-X"),
         ("-oJobName%3,Comment,NTasks%-5,User%1",))  # fmt: skip
#: an array's ids mean all its elements; the times of these words are of the window
FILTERS = ((), ("-sF,TO",), ("-sCA", "--nodelist=n2"), ("-Cgpu",), ("-rgpu",), ("-i1",), ("-I2",), ("-k60",),
           ("--name=old,a|b",), ("-Ff",), ("-sF", "-rdebug", "-I1"))  # fmt: skip


def test_cache_pages_are_prepared_before_the_first_query() -> None:
    with local_engine(Path(__file__).resolve().parent.parent / "oracle" / "site.toml") as engine:
        fill(engine.home / "queue.db", 1, 700)
        kept = sqlite3.connect(engine.home / "queue.db", timeout=30, isolation_level=None)

        def requested(*words: str) -> str:
            return engine.run(["sacct", "-a", "-Snow-1days", "-Enow", *words]).stdout

        def wait_for_pages(number: int) -> None:
            end = time.monotonic() + PATIENCE_S
            while kept.execute("SELECT count(*) FROM pages WHERE number=?", (number,)).fetchone() != (3,):
                assert time.monotonic() < end, "nobody makes them"
                engine.run(["squeue"])
                time.sleep(0.1)

        engine.run(["squeue"])
        for number in (0, 1):
            wait_for_pages(number)
        eligible = ",".join(str(number) for number in range(1, 701) if number % 50 != 7)
        every = ",".join(map(str, range(1, 701)))
        # What is requested by ids is read from the records.
        for form, chosen in [*((form, ()) for form in FORMS), *((FORMS[2], chosen) for chosen in FILTERS),
                             (("-l",), ("-sF,TO", "-rgpu")), (("--json",), ("-sCA",)),
                             (("--json=v0.0.42",), ())]:  # fmt: skip
            # Only a query by time alone omits jobs that were never eligible.
            ids = every if any(word.startswith("-s") for word in chosen) else eligible
            by_records, by_pages = requested(*form, *chosen, "-j", ids), requested(*form, *chosen)
            if form in (("--json",), ("--json=v0.0.42",)):
                jobs = [json.loads(text)["jobs"] for text in (by_records, by_pages)]
                assert jobs[0] == jobs[1] and len(jobs[0]) > 90
            else:
                assert by_pages == by_records, (form, chosen)
        cut = int(time.time()) - 3500
        lines = requested("-X", "-T", "-n", "-P", "-oEnd", f"-E{datetime.fromtimestamp(cut):%Y-%m-%dT%H:%M:%S}").split()
        assert max(lines) == f"{datetime.fromtimestamp(cut):%Y-%m-%dT%H:%M:%S}" and len(set(lines)) > 20

        # They are what is printed, also by the next controller.
        def mark(column: str = "account") -> None:
            for words, packed in kept.execute("SELECT words, packed FROM pages WHERE number=1").fetchall():
                page = CachePage.read(packed)
                if page.has([column]):
                    assert isinstance(page.column_cells(column, None), SharedCell)
                    cells = ["a page", *["a page "] * (page.count - 1)]
                    kept.execute("UPDATE pages SET packed=? WHERE number=1 AND words=?",
                                 (page.with_columns({column: cells}).serialised_page(), words))  # fmt: skip

        engine.run(["slurmsky", "stop"])
        mark()
        for form in (("-P",), ("-X", "-P"), ("-n", "-oaccount%9"), ("-X", "--name=old,größe,a|b,x\x1fy,two words")):
            assert requested(*form).count("a page") > 50
        # A change of one of its jobs takes a page away, and in time there is another.
        engine.run(["slurmsky", "stop"])
        store = Store(engine.home / "queue.db")
        (job,) = store.history(0, time.time(), {301})
        job.state = JobState.OUT_OF_MEMORY
        store.write([job], (), (), {})
        store.close()
        for _ in range(2):
            text = requested("-X", "-P")
            assert "a page" not in text and text.count("OUT_OF_MEMORY") == 1
            wait_for_pages(1)
        kept.close()


def test_a_started_answer_is_complete_though_a_commit_follows() -> None:
    with local_engine(Path(__file__).resolve().parent.parent / "oracle" / "site.toml") as engine:
        fill(engine.home / "queue.db", 1, 500)
        words = ["sacct", "-a", "-Snow-1days", "-oALL"]
        whole = engine.run(words).stdout
        reader = subprocess.Popen([BIN / "sacct", *words[1:]], env=engine.env, stdout=subprocess.PIPE)
        assert reader.stdout is not None
        first = reader.stdout.readline()  # the rest is more than lies between the two
        assert len(whole) > 1_000_000
        stop = subprocess.Popen([BIN / "slurmsky", "stop"], env=engine.env)
        while (engine.home / "controller.sock").exists():
            time.sleep(0.01)
        text = (first + reader.stdout.read()).decode(errors="replace")
        assert text == whole and reader.wait() == 0 and stop.wait() == 0
        reader.stdout.close()
