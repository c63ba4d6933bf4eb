"""One module assigns a job's state, flags, reason, times and exit status."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import slurmsky
from slurmsky.controller.jobs import transitions
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.model.states import JobFlag, JobState

PACKAGE = Path(slurmsky.__file__).parent
MODULES = sorted(path for room in ("controller", "commands", "engines") for path in (PACKAGE / room).rglob("*.py"))
FIELDS = {
    *("reason_desc", "blocked_reason", "dependency", "dependency_shown", "launched", "planned_nodes", "restarts"),
    *("submit_time", "eligible_time", "accrue_time", "start_time", "end_time", "last_sched_eval", "failed_node"),
    *("suspend_time", "pre_suspend_s", "suspended_s", "exit_code", "exit_signal", "derived_exit_code", "cancelled_by"),
}
#: fields of a job that other records have, too: an assignment counts where the record is called as jobs are
SHARED = {"state", "flags", "reason"}
JOBS = {"job", "part", "other", "element", "leader", "component", "earlier", "pending", "running"}


def assignments(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and text of each assignment to a field of the state machine."""
    found = []
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) else ():
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if not isinstance(one, ast.Attribute):
                    continue
                owner = one.value.attr if isinstance(one.value, ast.Attribute) else getattr(one.value, "id", "")
                if owner in JOBS and one.attr in FIELDS | SHARED:
                    found.append((one.lineno, ast.unparse(one)))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_transitions_assign_the_state_of_a_job(path: Path) -> None:
    if path != Path(transitions.__file__):
        assert assignments(ast.parse(path.read_bytes())) == []


def test_the_check_finds_assignments() -> None:
    source = "job.state, x = 1, 2\nself.job.reason = ''\npart.flags |= 1\nnode.state = 3\njob.shares = []"
    assert [line for line, _ in assignments(ast.parse(source))] == [1, 2, 3]


@pytest.fixture
def job() -> Job:
    return Job(job_id=1, spec=JobSpec(), name="j", user="ada", uid=1, gid=1, group="g", account="a", partition="p")


def test_a_job_from_pending_to_its_end(job: Job) -> None:
    share = NodeShare("n1", cpu_ids=(0, 1), tasks=1, cpus_on_node=2)
    job.time_limit_min = 10
    assert transitions.wait(job, "Resources", "", 5.0) and not transitions.wait(job, "Resources", "", 6.0)
    transitions.begin(job, [share], "local", 100.0, 0.0)
    assert (job.state, job.reason, job.start_time, job.end_time, job.num_cpus) == (
        JobState.RUNNING, "None", 100.0, 700.0, 2,
    )  # fmt: skip
    transitions.suspend(job, 160.0)
    transitions.resume(job, 7, 200.0, 40.0)
    assert (job.end_time, job.suspended_s, job.pre_suspend_s) == (740.0, 40.0, 60.0)
    transitions.complete(job, JobState.TIMEOUT, 740.0)
    assert JobFlag.COMPLETING in job.flags
    transitions.end(job, JobState.TIMEOUT, 0, 15, 741.0)
    assert (job.state, job.flags, job.reason, job.exit_signal) == (JobState.TIMEOUT, JobFlag.NONE, "TimeLimit", 15)


def test_nodes_that_come_up_later_start_the_clock(job: Job) -> None:
    share = NodeShare("n1", cpu_ids=(0,), tasks=1, cpus_on_node=1)
    job.time_limit_min = 1
    transitions.begin(job, [share], "nodes", 100.0, 30.0)
    assert (JobFlag.CONFIGURING in job.flags, job.end_time) == (True, 190.0)
    transitions.nodes_ready(job, 150.0)
    assert (job.flags, job.start_time, job.end_time) == (JobFlag.NONE, 150.0, 210.0)


@pytest.mark.parametrize(
    ("how", "reason", "priority", "flags"),
    [
        ("requeue", "BeginTime", 9, JobFlag.NONE),
        ("hold", "job requeued in held state", 0, JobFlag.NONE),
        ("special", "job requeued in held state", 0, JobFlag.SPECIAL_EXIT),
    ],
)
def test_a_requeue_by_its_request(job: Job, how: str, reason: str, priority: int, flags: JobFlag) -> None:
    job.state, job.exit_code, job.start_time = JobState.RUNNING, 3, 50.0
    transitions.request_requeue(job, how)
    former = transitions.ended_run(job, JobState.PENDING, 60.0)
    transitions.requeue(job, 60.0, 9, 2)
    assert (former.flags, former.end_time) == (JobFlag.REQUEUED, 60.0)
    assert (job.state, job.reason, job.priority, job.flags) == (JobState.PENDING, reason, priority, flags)
    assert (job.restarts, job.exit_code, job.eligible_time) == (1, 0, 62.0)


def test_a_hold_ends_with_its_release(job: Job) -> None:
    job.eligible_time = 5.0
    transitions.hold(job, "JobHeldUser")
    assert (job.priority, job.reason, job.eligible_time) == (0, "JobHeldUser", 0.0)
    transitions.release(job, 4, 9.0)
    assert (job.priority, job.reason, job.eligible_time) == (4, "None", 9.0)


def test_an_unlimited_job_has_no_expected_end(job: Job) -> None:
    job.state, job.start_time = JobState.RUNNING, 10.0
    transitions.set_time_limit(job, 5)
    assert job.end_time == 310.0
    transitions.set_time_limit(job, INFINITE)
    assert job.end_time == 0.0
