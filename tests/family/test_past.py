"""sacct of a window, whose pages are kept, says what it says of the same jobs by their ids."""

from __future__ import annotations

import sqlite3
import time
import zlib
from pathlib import Path

from local_engine import LocalEngine, local_engine

from slurmsky.controller.store import Store
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job, Step, Usage
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState


def test_what_is_kept_is_what_is_so(engine: LocalEngine) -> None:
    def submitted(*options: str) -> str:
        done = engine.run(["sbatch", "--parsable", "--wait", "-o/dev/null", "-Jpast", *options])
        return done.stdout.strip()

    ids = [submitted("--wrap=srun true; srun false"), submitted("-a0-2", "--wrap=exit 3"), submitted("--wrap=true")]
    for form in (["-l"], ["-P", "--format=ALL"], ["-X"], ["-n", "-o", "jobid,totalcpu%-9,state"], ["-X", "-sF"]):
        one_by_one = engine.run(["sacct", *form, "-j", ",".join(ids)]).stdout
        assert one_by_one.count("\n") > 1
        for _ in range(2):
            assert engine.run(["sacct", *form, "--name=past", "-Snow-1hour"]).stdout == one_by_one
    ids.append(submitted("--wrap=srun true"))
    again = engine.run(["sacct", "--name=past", "-Snow-1hour"]).stdout
    assert f"\n{ids[-1]}.0 " in again and again == engine.run(["sacct", "-j", ",".join(ids)]).stdout
    assert engine.run(["sacct", "-n", "--name=past", "-Snow-2hour", "-Enow-1hour"]).stdout == ""


def fill(path: Path, first: int, many: int) -> None:
    """Jobs that were over an hour ago, each with a batch step; the last ones are of an array."""
    end = int(time.time()) - 3600
    jobs = []
    for number in range(first, first + many):
        array = first + many - 40 if number >= first + many - 40 else 0
        job = Job(number, JobSpec(), f"old{number}", "root", 0, 0, "root", "root", "debug", state=JobState.COMPLETED,
                  submit_time=end - 90, eligible_time=end - 90, start_time=end - 60 + number % 7, end_time=end,
                  array_job_id=array, array_task_id=number - array if array else None,
                  shares=[NodeShare("n1", cpu_ids=(0,), tasks=1)])  # fmt: skip
        job.steps["batch"] = Step(number, "batch", "batch", JobState.COMPLETED, ("n1",), cpus=1, start_time=end - 60,
                                  end_time=end, usage=Usage(user_s=number, tasks=1, max_rss=4096 * number))  # fmt: skip
        jobs.append(job)
    store = Store(path)
    store.write(jobs, [(job, job.steps["batch"]) for job in jobs], (), {"next_job_id": first + many})
    store.close()


def test_usual_pages_are_made_before_anybody_asks() -> None:
    with local_engine(Path(__file__).resolve().parent.parent / "oracle" / "site.toml") as engine:
        fill(engine.home / "queue.db", 1, 700)
        kept = sqlite3.connect(engine.home / "queue.db", timeout=30, isolation_level=None)

        def asked(*words: str) -> str:
            return engine.run(["sacct", "-a", "-Snow-1days", *words]).stdout

        def wait_for_pages(number: int) -> None:
            end = time.monotonic() + 60
            while kept.execute("SELECT count(DISTINCT words) FROM pages WHERE number=?", (number,)).fetchone() != (4,):
                assert time.monotonic() < end, "nobody makes them"
                engine.run(["squeue"])
                time.sleep(0.1)

        engine.run(["squeue"])
        for number in (0, 1):
            wait_for_pages(number)
        ids = ",".join(map(str, range(1, 701)))
        for form in ((), ("-l",), ("-X",), ("-l", "-X")):
            assert engine.run(["sacct", *form, "-Snow-1days"]).stdout == engine.run(["sacct", *form, "-j", ids]).stdout
        # They are what is printed, also by the next controller.
        engine.run(["slurmsky", "stop"])
        kept.execute("UPDATE pages SET packed=? WHERE number=1", (zlib.compress(b"a page\n"),))
        for form in ((), ("-l",), ("-X",), ("-l", "-X")):
            assert engine.run(["sacct", *form, "-Snow-1days"]).stdout.count("\na page\n") == 1
        assert "a page" not in asked("-o", "jobid")
        # A change of one of its jobs takes a page away, and in time there is another.
        engine.run(["slurmsky", "stop"])
        store = Store(engine.home / "queue.db")
        (job,) = store.history(0, time.time(), {300})
        job.state = JobState.FAILED
        store.write([job], (), (), {})
        store.close()
        assert engine.run("sacct -Snow-1days | grep -c -e 'a page' -e FAILED").stdout == "1\n"
        wait_for_pages(1)
        assert engine.run("sacct -X -Snow-1days | grep -c -e 'a page' -e FAILED").stdout == "1\n"
        kept.close()
