"""Usage series are stored separately from the records of their steps."""

from __future__ import annotations

from pathlib import Path

from slurmsky.controller.store.database import Store
from slurmsky.model.job import Job, Step, Usage
from slurmsky.model.spec import JobSpec

SERIES = {"cpu": [0.5, 2.0], "mem": [10.0, 12.5]}


def test_series_are_read_when_they_are_requested(tmp_path: Path) -> None:
    job = Job(7, JobSpec(), "train", "ada", 1, 1, "ada", "ada", "debug", submit_time=1.0)
    steps = [Step(7, "0", "a", usage=Usage(tasks=1, series=SERIES, gpu_s=0.0)), Step(7, "1", "b")]
    path = tmp_path / "queue.db"
    store = Store(path)
    store.write([job], [(job, step) for step in steps], (), {})
    (found,) = store.history(0, 9)
    assert found.steps["0"].usage.series == {} and found.steps["0"].usage.gpu_s == 0.0
    # A step that is written again without them does not lose them.
    store.write([job], [(job, found.steps["0"])], (), {})
    store.close()
    store = Store(path)
    (found,) = store.history(0, 9)
    store.add_series([found])
    assert [found.steps[name].usage.series for name in "01"] == [SERIES, {}]
    assert found.steps["1"].usage.gpu_s is None
    store.close()
