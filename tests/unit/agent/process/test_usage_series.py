"""Usage series: points are merged while a step runs; at its end there is one series for all nodes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from polling import PATIENCE_S, alive

from slurmsky.agent.net.event_loop import Loop
from slurmsky.agent.process.gpu_watch import GpuWatch
from slurmsky.agent.process.usage_series import MAX_POINTS, PARTS, UsageSeries, merge, merge_into
from slurmsky.model.job import Step, Usage
from slurmsky.model.step import NodeSeries
from slurmsky.model.step_codec import step_to_message

MIB = 1 << 20


def ran(seconds: int, every: int = 5, gpus: tuple[int, ...] = ()) -> UsageSeries:
    """Two CPUs in the first half of its life and none in the second; its memory grows by a MiB a second."""
    series = UsageSeries(1000.0, gpus)
    series.watched = bool(gpus)
    for second in range(every, seconds, every):
        cpu = 2.0 * min(second, seconds / 2)
        series.add(1000.0 + second, cpu, second * MIB, 1.5 if gpus else 0.0, 10 * MIB if gpus else 0.0)
    series.ended_cpu_s = float(seconds)
    return series


@pytest.mark.parametrize("seconds", [60, 600, 3600, 90000])
def test_a_series_holds_the_use_over_time(seconds: int) -> None:
    series = merge([ran(seconds).record(1000.0 + seconds)])
    count = len(series["cpu"])
    assert 10 <= count <= PARTS and set(series) == {"cpu", "mem"} and len(series["mem"]) == count
    assert sum(series["cpu"]) / count == pytest.approx(1.0, abs=0.05)
    assert series["cpu"][count // 5] == pytest.approx(2.0, abs=0.1)
    assert series["cpu"][-2] == pytest.approx(0.0, abs=0.1)
    assert series["mem"] == sorted(series["mem"])
    assert sum(series["mem"]) / count == pytest.approx(seconds / 2, rel=0.1)


def test_points_are_bounded_and_even() -> None:
    series = UsageSeries(0.0)
    for second in range(5, 500000, 5):
        series.add(float(second), second / 2, MIB)
        assert len(series._points) <= MAX_POINTS + 1
    widths = [after[0] - before[0] for before, after in zip(series._points, series._points[1:], strict=False)]
    assert max(widths) < 4 * min(widths)


def test_a_short_step_has_no_series() -> None:
    series = UsageSeries(0.0)
    assert series.record(0.1) == NodeSeries()
    series.add(0.5, 0.4, MIB)
    assert series.record(0.7) == NodeSeries() and merge([NodeSeries(), NodeSeries()]) == {}


def test_gpus_that_were_idle_all_the_time_are_known() -> None:
    series = UsageSeries(0.0, (0,))
    series.watched = True
    for second in range(5, 60, 5):
        series.add(float(second), 1.0, MIB, 0.0, 0.0)
    usage = Usage()
    merge_into(usage, [series.record(60.0)])
    assert (usage.gpu_s, set(usage.series["gpu"])) == (0.0, {0.0})
    assert step_to_message(Step(1, "0", "x", usage=usage))["usage"]["gpu_s"] == 0.0
    none = Usage()
    merge_into(none, [ran(60).record(1060.0)])
    assert none.gpu_s is None and "gpu" not in none.series


def test_nodes_add_up() -> None:
    both = merge([ran(600, gpus=(0, 1)).record(1600.0), ran(300).record(1300.0), NodeSeries()])
    count = len(both["cpu"])
    assert sum(both["cpu"]) / count * 600 == pytest.approx(900, rel=0.03)
    assert both["cpu"][2] == pytest.approx(4.0, abs=0.1)
    assert set(both["gpu"]) == {1.5} and both["gpumem"][0] == 10.0


FAKE = """#!/bin/sh
echo "$@" >{log}
echo $$ >{pid}
while :; do
    echo "0, 87, 40213"
    echo "1, [N/A], [N/A]"
    echo "2, 3, 100"
    sleep 0.2
done
"""


def spin(loop: Loop, until: object, limit_s: float = PATIENCE_S) -> None:
    """Run the loop until a condition holds."""
    end = time.monotonic() + limit_s
    held: list[bool] = []

    def add() -> None:
        held[:] = [until()]  # type: ignore[operator]
        if held[0] or time.monotonic() > end:
            loop.stop()
        else:
            loop.after(0.05, add)

    loop.after(0.0, add)
    loop.run()
    assert held[0]


def test_gpus_are_watched_while_they_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: Loop) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(FAKE.format(log=tmp_path / "log", pid=tmp_path / "pid"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    watch = GpuWatch(loop, 5.0)
    watch.step_started()
    watch.step_started()
    spin(loop, lambda: {0, 2} <= set(watch.seen))
    assert watch.seen == {0: (0.87, 40213 * MIB), 2: (0.03, 100 * MIB)}
    assert watch.sum((0, 1)) == (0.87, 40213 * MIB)
    assert (tmp_path / "log").read_text().split() == [
        "--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-l", "5"]  # fmt: skip
    pid = int((tmp_path / "pid").read_text())
    watch.step_ended()
    assert alive(pid)
    watch.step_ended()
    spin(loop, lambda: not alive(pid))
    assert watch.sum((0, 2)) == (0, 0)


def test_no_driver_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: Loop) -> None:
    """nvidia-smi is not started again after a failure; a node without it logs nothing."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho x >>{tmp_path}/calls\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    watch = GpuWatch(loop, 5.0)
    watch.step_started()
    spin(loop, lambda: watch._unavailable)
    watch.step_ended()
    watch.step_started()
    watch.step_ended()
    assert (tmp_path / "calls").read_text() == "x\n"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    none = GpuWatch(loop, 5.0)
    none.step_started()
    none.step_ended()
    assert none.sum((0,)) == (0, 0)
