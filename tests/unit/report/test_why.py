"""Explanations of waiting and ended jobs, and a row of help for every printed reason."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest
from syntax_trees import tree_of
from tables import every

import slurmsky
from slurmsky.controller.schedule import scheduling_pass
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job, Step, Usage
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.report.report_context import ReportContext
from slurmsky.report.text import why
from slurmsky.report.text.units import Clock

NOW = 1_700_000_000.0
CONTEXT = ReportContext(clock=Clock(NOW))
DATA = Path(__file__).parents[2] / "data"
#: folders that give reasons to jobs
GIVERS = ("agent", "controller", "engines", "translate")


def job(state: JobState, **more: object) -> Job:
    made = Job(job_id=7, spec=JobSpec(), name="train", user="u", uid=1, gid=1, group="g", account="a", partition="gpu",
               submit_time=NOW - 100, eligible_time=NOW - 100)  # fmt: skip
    made.state = state
    if state is not JobState.PENDING:
        made.start_time, made.end_time = NOW - 60, NOW - 10
        made.shares = [NodeShare("n1", memory_mib=1000)]
    for name, value in more.items():
        setattr(made, name, value)
    return made


def printed_reasons() -> set[str]:
    """Each of Slurm's reasons that our code has as a word."""
    with open(DATA / "job_reasons.csv") as file:
        known = {row["printed_name"] for row in csv.DictReader(file)} - {"", "Word"}
    found = set()
    for folder in GIVERS:
        for path in (Path(slurmsky.__file__).parent / folder).rglob("*.py"):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Constant) and node.value in known:
                    found.add(node.value)
    return found


def test_every_reason_that_is_printed_has_help() -> None:
    assert printed_reasons() - set(why.reasons()) == set()
    assert len(printed_reasons()) > 60


def given_reasons() -> set[str]:
    """The words that code gives as a reason: to Wait, to a parameter ``reason``, or to an attribute of this name."""
    given = set()
    for folder in GIVERS:
        for path in (Path(slurmsky.__file__).parent / folder).rglob("*.py"):
            for node in ast.walk(tree_of(path)):
                values: list[ast.expr] = []
                if isinstance(node, ast.Call):
                    values += [word.value for word in node.keywords if word.arg == "reason"]
                    values += node.args[1:2] if isinstance(node.func, ast.Name) and node.func.id == "Wait" else []
                elif isinstance(node, ast.Assign):
                    named = {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
                    values += [node.value] if "reason" in named else []
                given |= {value.value for value in values if isinstance(value, ast.Constant)}
    return {word for word in given if isinstance(word, str) and word.isalpha()}


def test_every_reason_that_is_given_is_slurms() -> None:
    with open(DATA / "job_reasons.csv") as file:
        known = {row["printed_name"] for row in csv.DictReader(file)}
    assert given_reasons() - known == set()
    assert len(given_reasons()) > 10


def test_help_is_of_known_reasons_and_once() -> None:
    with open(DATA / "job_reasons.csv") as file:
        known = {row["printed_name"] for row in csv.DictReader(file)}
    named = [name for row in why.table("reason_help") for name in row["reasons"].split()]
    assert len(named) == len(set(named))
    shown = {name.replace("_", " ") for name in named}
    shown -= {row["reasons"].replace("_", " ") for row in why.table("reason_help") if row["kind"] == "state"}
    free = {"job requeued in held state", "launch failed requeued held"}  # texts, not reasons, of slurmctld
    assert shown - known - free <= {"QOSMaxBillingMinutesPerUser", "May be reserved for other job"}


def test_reasons_that_hold_a_requeued_job_have_help() -> None:
    assert set(why.reasons()) >= scheduling_pass._HOLD_REASONS


@pytest.mark.parametrize("state", [state for state in JobState if state.finished and state is not JobState.CANCELLED])
def test_a_job_that_ended_with_the_reason_of_its_wait(state: JobState) -> None:
    """SkyPilot found no nodes: BOOT_FAIL with the reason Resources."""
    answer = why.explain(job(state, reason="Resources"), CONTEXT)
    assert "(Resources)" not in answer.text() and not any("squeue" in line for line in answer.advice)
    assert bool(answer.advice) is (state is not JobState.COMPLETED)


def test_the_node_that_failed_is_named() -> None:
    ended = why.explain(job(JobState.NODE_FAIL, reason="NodeDown", failed_node="n1"), CONTEXT).text()
    assert "  Its node n1 failed (NodeDown).\n" in ended
    again = why.explain(job(JobState.PENDING, reason="BeginTime", restarts=1, failed_node="n1"), CONTEXT).text()
    assert "  It has been requeued 1 time: its node n1 failed.\n" in again


@every("reason", sorted(why.reasons()))
def test_every_reason_makes_a_sentence(reason: str) -> None:
    row = why.reasons()[reason]
    made = job(JobState.PENDING if row["kind"] == "wait" else JobState.FAILED, reason=reason)
    answer = why.explain(made, CONTEXT)
    text = answer.text()
    assert "{" not in text and answer.advice and answer.headline.startswith("Job 7 (train) ")


WAITING = [
    (why.WhyInput(before=("3", "4"), before_count=2, room="8 of the 8 CPUs of partition gpu are in use"),
     ["8 of the 8 CPUs of partition gpu are in use.", "2 jobs with a higher priority wait for the same nodes: 3, 4."]),
    (why.WhyInput(starts_at=NOW + 600, starts_after="3"), ["when job 3 reaches its time limit at the latest."]),
    (why.WhyInput(limit="QOS q limits running jobs of a user to 1 (max_jobs_per_user); with this job 2 would run"),
     ["  QOS q limits running jobs of a user to 1 (max_jobs_per_user); with this job 2 would run."]),
    (why.WhyInput(awaited=("afterok of job 3, which is RUNNING",)),
     ["It waits for afterok of job 3, which is RUNNING."]),
]  # fmt: skip


@pytest.mark.parametrize(("known", "lines"), WAITING)
def test_waiting(known: why.WhyInput, lines: list[str]) -> None:
    answer = why.explain(job(JobState.PENDING, reason="Resources"), CONTEXT, known)
    assert "waits since" in answer.headline and answer.headline.endswith(
        "the requested resources are not free (Resources)."
    )
    for line in lines:
        assert line in answer.text()
    assert answer.advice == ("squeue --start -j 7",)


def test_a_reason_with_more_words_has_a_row() -> None:
    reserved = why.explain(job(JobState.PENDING, reason="ReqNodeNotAvail, May be reserved for other job"), CONTEXT)
    assert ": other reservations hold the nodes (ReqNodeNotAvail, May be" in reserved.headline
    down = why.explain(job(JobState.PENDING, reason="ReqNodeNotAvail, UnavailableNodes:n1"), CONTEXT)
    assert ": a node that it names is down or drained" in down.headline and "scontrol show node" in down.advice


def test_a_suspended_job_has_no_end() -> None:
    paused = job(JobState.SUSPENDED, time_limit_min=9, end_time=NOW + 500)
    assert "time limit" not in why.explain(paused, CONTEXT).text()


ENDED = [
    ({"exit_code": 127, "reason": "NonZeroExitCode"}, ["exit code 127", "not on PATH"]),
    ({"exit_signal": 11, "reason": "RaisedSignal"}, ["signal 11 (SIGSEGV)", "accessed invalid memory"]),
    ({"exit_signal": 9, "reason": "JobLaunchFailure"}, ["signal 9 (SIGKILL)", "when memory runs out"]),
    ({"exit_signal": 53, "reason": "JobLaunchFailure", "blocked_reason": "JobLaunchFailure",
      "system_comment": "its output file cannot be opened: there is no folder /no/such"},
     ["its script never began", "Its output file cannot be opened", "mkdir -p /no/such", "scontrol requeue 7"]),
    ({"exit_signal": 53, "reason": "JobLaunchFailure", "blocked_reason": "JobLaunchFailure",
      "system_comment": "its output file cannot be opened: there is no folder /no such"}, ["mkdir -p '/no such'"]),
    ({"exit_signal": 53, "reason": "JobLaunchFailure", "blocked_reason": "JobLaunchFailure",
      "system_comment": "the script cannot be executed: execve(): bad interpreter(/x): No such file or directory"},
     ["its script never began", "edit the first line of the script"]),
    ({"state": JobState.TIMEOUT, "reason": "TimeLimit", "time_limit_min": 1}, ["is TIMEOUT", "was 00:01:00", "--time"]),
    ({"state": JobState.OUT_OF_MEMORY, "reason": "OutOfMemory", "exit_signal": 125},
     ["is OUT_OF_MEMORY after 50 s on n1.", "needed more memory than it had", "larger --mem"]),
    ({"state": JobState.CANCELLED, "cancelled_by": 5}, ["was CANCELLED by uid 5"]),
    ({"state": JobState.COMPLETED}, ["is COMPLETED: its script returned 0"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), ENDED)
def test_ended(changes: dict[str, object], words: list[str]) -> None:
    text = why.explain(job(**{"state": JobState.FAILED, **changes}), CONTEXT).text()
    for word in words:
        assert word in text


def test_memory_that_was_nearly_all_used() -> None:
    step = Step(7, "batch", "batch", usage=Usage(tasks=1, max_rss=990 << 20, ave_rss=990 << 20))
    answer = why.explain(job(JobState.FAILED, exit_code=137, reason="NonZeroExitCode", steps={"batch": step}), CONTEXT)
    assert "It used 990.00 MB of the 1000.00 MB of memory that was allocated." in answer.sentences
    assert answer.advice[0] == "sbatch with a larger --mem"


def test_the_end_of_a_failed_jobs_output_is_shown() -> None:
    known = why.WhyInput(output="/w/slurm-7.out", tail=("one", "two"))
    failed = why.explain(job(JobState.FAILED, exit_code=1, reason="NonZeroExitCode"), CONTEXT, known).text()
    assert "  The last lines of /w/slurm-7.out:\n    | one\n    | two\n" in failed
    assert "| one" not in why.explain(job(JobState.COMPLETED), CONTEXT, known).text()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("/a b/prog: Permission denied", "chmod +x '/a b/prog'"),
        ("mpiexe: No such file or directory", "command -v mpiexe"),
        ("./mpiexe: No such file or directory", "ls -l ./mpiexe"),
    ],
)
def test_a_task_that_cannot_be_executed_has_its_remedy(error: str, advice: str) -> None:
    known = why.WhyInput(
        output="/w/o", tail=(f"slurmstepd-n1: error: execve(): {error}", "srun: error: n1: task 0: ...")
    )
    failed = why.explain(job(JobState.FAILED, exit_code=13, reason="NonZeroExitCode"), CONTEXT, known)
    assert advice in failed.advice


@pytest.mark.parametrize(
    "known",
    [why.WhyInput(output="/w/o", full="/w"), why.WhyInput(output="/w/o", tail=("cp: x: No space left on device",))],
    ids=["full", "printed"],
)
def test_a_full_disk_has_its_remedy(known: why.WhyInput) -> None:
    failed = why.explain(job(JobState.FAILED, exit_code=1, reason="NonZeroExitCode"), CONTEXT, known)
    assert {"df -h", "free space and scontrol requeue 7"} <= set(failed.advice)
    assert ("The file system of /w is full now." in failed.sentences) == bool(known.full)


CAUSES = [
    ("its output file cannot be opened: there is no folder /a b", ["mkdir -p '/a b'", "scontrol requeue 7"]),
    ("its output file cannot be opened: there is no working folder /a", ["mkdir -p /a", "scontrol requeue 7"]),
    ("its error file cannot be opened: /a b: Is a directory", ["sbatch --error='/a b'/slurm-%j.out"]),
    ("its output file cannot be opened: /a/b/x: Permission denied", ["ls -ld /a/b"]),
    ("its output file cannot be opened: /a/b/x: Not a directory", ["ls -ld /a/b (a part of it is a file)"]),
    ("its output file cannot be opened: /a/x: No space left on device", ["df -h /a/x"]),
    ("its input file cannot be opened: /a/x: No such file or directory", ["ls -l /a/x", "or sbatch --input=FILE"]),
    ("its input file cannot be opened: /a/x: Permission denied", ["ls -ld /a/x"]),
    ("the script cannot be executed: execve(): bad interpreter(/no/perl -w): No such file or directory",
     ["ls -l /no/perl", "edit the first line of the script, as #!/bin/bash"]),
    ("the script cannot be executed: execve(): /x/slurm_script: Argument list too long",
     ["sbatch --export=NAME,... with fewer or shorter variables"]),
    ("its container cannot be made: failed to import docker image; /no.sqsh: No such file or directory",
     ["ls -l /no.sqsh", "sbatch --container-image=FILE"]),
    ("the script cannot be started: Too many open files", ["ulimit -a", "slurmsky doctor"]),
    ("the moon is full", ["remove the cause and submit it again"]),
]  # fmt: skip


@pytest.mark.parametrize(("cause", "advice"), CAUSES)
def test_a_cause_before_the_script_began_has_its_remedy(cause: str, advice: list[str]) -> None:
    ended = why.explain(job(JobState.FAILED, reason="JobLaunchFailure", system_comment=cause), CONTEXT)
    assert set(advice) <= set(ended.advice)


@pytest.mark.parametrize(
    ("cause", "command"),
    [
        ("No infra is enabled", "sky check"),
        ("Quota exceeded for GPUs_ALL_REGIONS: limit 0", "ask the provider for a larger quota"),
        (
            "sky.exceptions.ResourcesUnavailableError: Failed to acquire resources in all zones",
            "slurmsky explain SCRIPT",
        ),
        ("Failed to pull docker image nvcr.io/x/y:1: unauthorized", "docker pull IMAGE"),
        ("setup failed with exit code 2", "sky jobs logs 12"),
    ],
)
def test_an_early_end_on_skypilot_has_a_command(cause: str, command: str) -> None:
    ended = job(JobState.BOOT_FAIL, reason="None", system_comment=cause, managed_job_id=12)
    answer = why.explain(ended, CONTEXT)
    assert answer.sentences[0].lower() == f"{cause.lower()}."
    assert any(line.startswith(command) for line in answer.advice)


def test_a_job_that_was_requeued_after_a_failed_node_waits_for_resources() -> None:
    again = job(
        JobState.PENDING, reason="NodeDown", restarts=1, system_comment="SkyPilot lost the nodes", awaits_nodes=True
    )
    answer = why.explain(again, CONTEXT)
    assert "it was requeued because one of its nodes failed (NodeDown)" in answer.headline
    assert "SkyPilot lost the nodes." in answer.sentences and answer.advice == ("squeue --start -j 7",)
