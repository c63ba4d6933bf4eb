"""Limits of jobs and steps, in a folder in place of the memory controller."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.agent.process import cgroup_tree, memory_groups
from slurmsky.agent.process.cgroup_tree import V1, V2, MemoryFiles, MemoryPlace

ENABLE = "cgroup.subtree_control"


@pytest.fixture(params=[V1, V2], ids=["v1", "v2"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryFiles:
    """The files of both versions; the folder makes them when they are written, as the kernel does with a group."""
    place = MemoryPlace(str(tmp_path), request.param)
    monkeypatch.setattr(cgroup_tree, "memory_place", lambda: place)
    monkeypatch.setattr(cgroup_tree, "write_group_file", lambda path, data: Path(path).write_bytes(data) and None)
    return place.files


def written(root: Path) -> dict[str, str]:
    """Files below the only agent's groups, with what was written to them."""
    (top,) = root.iterdir()
    return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


def test_job_and_step_have_a_limit_each(files: MemoryFiles, tmp_path: Path) -> None:
    groups = memory_groups.MemoryGroups("unix:/a")
    assert groups.open(7, "batch", 100) is not None
    step = groups.open(7, "0", 100, 50, together=True)
    assert step is not None and step.folder.endswith("job_7/step_0")
    expected = {f"job_7/{files.limit}": str(100 << 20), f"job_7/step_0/{files.limit}": str(50 << 20)}
    if files is V2:
        # Each level gives its groups the controller, except the last, which has the processes.
        expected |= {ENABLE: "+memory", f"job_7/{ENABLE}": "+memory", f"job_7/step_0/{V2.oom_group}": "1"}
    assert written(tmp_path) == expected


@pytest.mark.parametrize(("job_mib", "step_mib", "limits"), [
    (1, 0, {"job_7": 30}),  # MinRAMSpace
    (100, 1, {"job_7": 100, "job_7/step_0": 30}),
    (100, 100, {"job_7": 100}),
    (0, 50, {"job_7/step_0": 50}),  # srun --mem in a job without a limit
])  # fmt: skip
def test_limits(job_mib: int, step_mib: int, limits: dict[str, int], files: MemoryFiles, tmp_path: Path) -> None:
    memory_groups.MemoryGroups("unix:/a").open(7, "0", job_mib, step_mib)
    found = {name: text for name, text in written(tmp_path).items() if name.endswith(files.limit)}
    assert found == {f"{name}/{files.limit}": str(mib << 20) for name, mib in limits.items()}


def test_nothing_is_made_for_a_job_without_a_limit(files: MemoryFiles, tmp_path: Path) -> None:
    assert memory_groups.MemoryGroups("unix:/a").open(7, "batch", 0) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "text"), [
    (0, ""),
    (1, "Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been OOM Killed."),
    (3, "Detected 3 oom_kill events in StepId=7.0. Some of the step tasks have been OOM Killed."),
])  # fmt: skip
def test_kills_are_reported_once(count: int, text: str, files: MemoryFiles) -> None:
    group = memory_groups.MemoryGroups("unix:/a").open(7, "0", 100)
    assert group is not None
    Path(group.folder, files.events).write_text(f"oom_kill_disable 0\noom 9\noom_kill {count}\noom_group_kill 0\n")
    assert [group.oom_error("7.0"), group.oom_error("7.0")] == [text, ""]
    assert group.had_oom_error is bool(count)


def test_kills_of_an_abandoned_run_of_the_job_are_not_those_of_the_next(files: MemoryFiles) -> None:
    groups = memory_groups.MemoryGroups("unix:/a")
    former = groups.open(7, "0", 100)
    assert former is not None
    Path(former.folder, files.events).write_text("oom_kill 2\n")
    later = groups.open(7, "0", 100)
    assert later is not None and later.oom_error("7.0") == ""
    Path(later.folder, files.events).write_text("oom_kill 3\n")
    assert later.oom_error("7.0").startswith("Detected 1 oom_kill event in")


@pytest.mark.parametrize("place", [None, "/no/such/folder"])
def test_a_node_without_the_controller_runs_jobs_and_logs_it_once(
    place: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = None if place is None else MemoryPlace(place, V2)
    monkeypatch.setattr(cgroup_tree, "memory_place", lambda: found)
    groups = memory_groups.MemoryGroups("unix:/a")
    groups.take_over()
    assert [groups.open(job, "batch", 100) for job in (1, 2)] == [None, None]
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "not limited" in line
