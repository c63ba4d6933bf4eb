"""One module assigns a job's state, flags, reason, times and exit status."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from syntax_trees import tree_of
from tables import every

import slurmsky
from slurmsky.commands.accounting import job_corrections
from slurmsky.controller.jobs import job_changes, transitions
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.model.states import OOM_SIGNAL, JobFlag, JobState

PACKAGE = Path(slurmsky.__file__).parent
MODULES = sorted(path for room in ("controller", "commands", "engines") for path in (PACKAGE / room).rglob("*.py"))
FIELDS = {
    *("state", "flags", "reason", "reason_desc", "blocked_reason", "dependency", "dependency_shown", "awaits_nodes"),
    *("submit_time", "eligible_time", "accrue_time", "start_time", "end_time", "last_sched_eval", "failed_node"),
    *("suspend_time", "pre_suspend_s", "suspended_s", "exit_code", "exit_signal", "derived_exit_code", "cancelled_by"),
    *("planned_nodes", "restarts"),
}
#: owners of such fields that are no jobs: records of nodes and steps, a launch on its node, an object's own attributes
OTHERS = {"node", "step", "there", "self"}
#: modules that set a field of a job by its name, from a table without fields of the state machine
BY_NAME = {"controller/jobs/job_changes.py", "commands/accounting/job_corrections.py"}
#: copies of jobs that sacct --truncate, squeue and scontrol show; the jobs themselves stay as they are
SHOWN = {"commands/accounting/run_selection.py", "commands/common/expected_jobs.py"}


def assignments(tree: ast.AST) -> list[tuple[int, str]]:
    """Assignments to fields of the state machine: line and text, deletions and loop targets included."""
    return [
        (node.lineno, ast.unparse(node))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and node.attr in FIELDS
        and ast.unparse(node.value) not in OTHERS
    ]


def detours(tree: ast.AST) -> list[tuple[int, str]]:
    """Calls that set fields by name, or copy a job with other fields: line and text."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name, owner = ast.unparse(node.func), ast.unparse(node.args[0]) if node.args else ""
            sets = name.endswith(("setattr", "__setattr__", "__dict__.update")) or name == "vars"
            copies = name.endswith("replace") and {word.arg for word in node.keywords} & FIELDS and "job" in owner
            if (sets and owner not in OTHERS) or copies:
                found.append((node.lineno, ast.unparse(node)))
    return found


@every("path", MODULES, lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_transitions_assign_the_state_of_a_job(path: Path) -> None:
    if path != Path(transitions.__file__):
        tree = tree_of(path)
        assert assignments(tree) == []
        assert path.relative_to(PACKAGE).as_posix() in BY_NAME | SHOWN or detours(tree) == []


def test_tables_of_fields_that_are_set_by_name_name_none_of_the_state_machine() -> None:
    assert not FIELDS & {field for _, field, _ in job_changes._FILES}
    assert not FIELDS & set(job_corrections.JOB_TEXTS.values())


@pytest.mark.parametrize(
    "source",
    [
        "job.state, x = 1, 2",
        "self.job.reason = ''",
        "part.flags |= 1",
        "whatever.end_time: float = 2",
        "for job.state in states: pass",
        "del job.start_time",
        "jobs[7].state = 1",
    ],
)
def test_the_check_finds_assignments(source: str) -> None:
    assert len(assignments(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    ["setattr(job, name, 1)", "object.__setattr__(job, 'state', 1)", "job.__dict__.update(state=1)",
     "vars(job)['state'] = 1", "replace(job, state=1)"],
)  # fmt: skip
def test_the_check_finds_indirect_assignments(source: str) -> None:
    assert detours(ast.parse(source))


@pytest.mark.parametrize("source", ["node.state = 3", "job.shares = []", "self.state = 1", "x = job.state"])
def test_the_check_passes_what_assigns_no_state_of_a_job(source: str) -> None:
    tree = ast.parse(source)
    assert assignments(tree) == detours(tree) == []


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
    transitions.set_completing_as(job, JobState.TIMEOUT, 740.0)
    assert JobFlag.COMPLETING in job.flags
    transitions.end(job, JobState.TIMEOUT, 0, 15, 741.0)
    assert (job.state, job.flags, job.reason, job.exit_signal) == (JobState.TIMEOUT, JobFlag.NONE, "TimeLimit", 15)


@pytest.mark.parametrize(("steps", "derived"), [
    ([(0, 0), (3, 0), (2, 0)], (3, 0)),
    ([(0, 9)], (0, 0)),
    ([(3, 0), (0, OOM_SIGNAL)], (0, OOM_SIGNAL)),
    ([(0, OOM_SIGNAL), (0, 0), (0, 9)], (0, OOM_SIGNAL)),
    ([(0, OOM_SIGNAL), (1, 0)], (1, 0)),
])  # fmt: skip
def test_the_derived_exit_code_is_that_of_the_worst_step(
    job: Job, steps: list[tuple[int, int]], derived: tuple[int, int]
) -> None:
    for code, number in steps:
        transitions.note_step_end(job, code, number)
    assert (job.derived_exit_code, job.derived_exit_signal) == derived


def test_nodes_that_come_up_later_start_the_clock(job: Job) -> None:
    share = NodeShare("n1", cpu_ids=(0,), tasks=1, cpus_on_node=1)
    job.time_limit_min = 1
    transitions.begin(job, [share], "nodes", 100.0, 30.0)
    assert (JobFlag.CONFIGURING in job.flags, job.end_time) == (True, 190.0)
    transitions.nodes_ready(job, 150.0)
    assert (job.flags, job.start_time, job.end_time) == (JobFlag.NONE, 150.0, 210.0)


@pytest.mark.parametrize(
    ("how", "before", "reason", "priority", "flags"),
    [
        ("requeue", 9, "BeginTime", 9, JobFlag.NONE),
        ("requeue", 0, "JobHeldAdmin", 0, JobFlag.NONE),
        ("hold", 9, "job requeued in held state", 0, JobFlag.NONE),
        ("special", 9, "job requeued in held state", 0, JobFlag.SPECIAL_EXIT),
    ],
)
def test_a_requeue_by_its_request(job: Job, how: str, before: int, reason: str, priority: int, flags: JobFlag) -> None:
    """A job that was held while it ran stays held, as with the real command."""
    job.state, job.exit_code, job.start_time, job.priority = JobState.RUNNING, 3, 50.0, before
    transitions.request_requeue(job, how)
    former = transitions.ended_run(job, JobState.PENDING, 60.0)
    transitions.requeue(job, 60.0, 2)
    assert (former.flags, former.end_time) == (JobFlag.REQUEUED, 60.0)
    assert (job.state, job.reason, job.priority, job.flags) == (JobState.PENDING, reason, priority, flags)
    assert (job.restarts, job.exit_code, job.eligible_time) == (1, 0, 62.0)
    transitions.release(job, 4, 61.0)
    assert job.eligible_time == 62.0


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
