"""Requests of srun and salloc from environment and command line."""

from __future__ import annotations

import pytest
from parsed_requests import HERE, sbatch, srun

from slurmsky.options import submit
from slurmsky.options.usage_errors import CommandError

# ---------------------------------------------------------------- srun, salloc


def test_step_records_the_source_of_each_value() -> None:
    step = srun("-n2", "-l", SLURM_JOB_ID="7", SLURM_NTASKS="9", SLURM_CPUS_PER_TASK="3").step
    assert (step.job.ntasks, step.job.cpus_per_task, step.jobid, step.label) == (2, 3, "7", True)
    assert set(step.typed) == {"ntasks", "label"}
    assert step.argv == ("prog",)


def test_step_name() -> None:
    assert srun(SLURM_JOB_NAME="job").step.job.job_name == "job"
    assert srun(SLURM_JOB_NAME="job", SLURM_JOB_ID="7").step.job.job_name == "prog"
    assert srun("-Jx", SLURM_JOB_NAME="job", SLURM_JOB_ID="7").step.job.job_name == "x"


def test_a_typed_memory_puts_the_inherited_one_aside() -> None:
    job = srun("--mem-per-cpu=5", SLURM_MEM_PER_NODE="100").step.job
    assert (job.mem_mib, job.mem_per_cpu_mib) == (None, 5)


def test_step_smaller_than_its_job() -> None:
    request = srun("-n1", SLURM_JOB_ID="7", SLURM_JOB_NUM_NODES="2", SLURM_NTASKS="2")
    assert request.warnings == ("srun: warning: can't run 1 processes on 2 nodes, setting nnodes to 1",)
    assert request.step.job.nodes_max == 1


@pytest.mark.parametrize(
    ("argv", "tasks"),
    [
        (("--cores-per-socket=4",), None),
        (("--sockets-per-node=2", "--cores-per-socket=2"), None),
        (("--sockets-per-node=2", "--cores-per-socket=2", "--threads-per-core=1"), 8),
    ],
)
def test_srun_counts_tasks_where_sockets_cores_and_threads_are_given(argv: tuple[str, ...], tasks: int | None) -> None:
    assert srun("-N2", *argv).step.job.ntasks == tasks
    assert sbatch("-N2", *argv).components[0].ntasks == 8


@pytest.mark.parametrize(
    ("nodes", "tasks", "per_node", "kept"),
    [
        ("2", 4, 1, False),
        ("2", 3, 2, True),
        ("2", 2, 2, True),
        ("2", 5, 2, False),
        ("1-2", 4, 2, True),
        ("1-2", 5, 2, False),
        ("", 5, 2, True),
        ("2-3", 9, 2, False),
        ("1", 3, 2, False),
        ("1", 2, 3, True),
    ],
)
def test_tasks_per_node_that_do_not_fit(nodes: str, tasks: int, per_node: int, kept: bool) -> None:
    words = [*([f"-N{nodes}"] if nodes else []), f"-n{tasks}", f"--ntasks-per-node={per_node}"]
    request = srun(*words, SLURM_JOB_ID="7")
    assert (request.step.job.ntasks_per_node == per_node) == kept
    assert request.warnings == (
        ()
        if kept
        else (
            f"srun: warning: can't honor --ntasks-per-node set to {per_node} which doesn't match the "
            f"requested tasks {tasks} with the maximum number of requested nodes {nodes[-1:]}. "
            "Ignoring --ntasks-per-node.",
        )
    )
    # A job that cannot be so is the controller's to refuse.
    assert srun(*words).step.job.ntasks_per_node == per_node


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--exact", "--whole"), "error: --exact and --whole are mutually exclusive."),
        (("--exclusive", "--overlap"), "error: --exclusive and --overlap are mutually exclusive"),
        (("--pty", "-o", "x"), "error: --error/--input/--output are incompatible with --pty"),
        (("-r1", "-w", "n1"), "error: -r,--relative not allowed with -w,--nodelist or -x,--exclude."),
        (("-r1",), "fatal: --relative option invalid for job allocation request"),
        (("--jobid=abc",), 'error: Invalid numeric value "abc" for --jobid.'),
        (("-Ix",), 'error: Invalid numeric value "x" for immediate.'),
        (("--resv-ports=x",), 'error: Invalid numeric value "x" for --resv-port.'),
        (("-B", "2:x"), 'error: Invalid numeric value "x" for second arg of -B.'),
        (("--bbf=/no",), "error: Invalid --bbf specification"),
        (("--accel-bind=z",), "error: Invalid --accel-bind specification"),
        (("--het-group=x",), "error: _parse_single_range: Invalid range: `x'"),
        (("--send-libs=x",), "error: Invalid --send-libs specification"),
        (("-d", "afterok:abc"), "error: Unable to allocate resources: Job dependency problem"),
        (("-w", "n[2-1]"), "error: _parse_single_range: Invalid range: `2-1'"),
    ],
)
def test_step_refusals(argv: tuple[str, ...], line: str) -> None:
    with pytest.raises(CommandError) as caught:
        srun(*argv)
    assert caught.value.lines[0] == f"srun: {line}"


def test_no_command() -> None:
    for argv in ([], ["-n1"], ["--multi-prog"]):
        with pytest.raises(CommandError) as caught:
            submit.parse_srun(argv, HERE)
        assert caught.value.lines == ("srun: fatal: No command given to execute.",)


def test_steps_over_components() -> None:
    request = submit.parse_srun(["-n1", "a", "x", ":", "-n2", "b"], HERE)
    assert [(step.argv, step.job.ntasks) for step in request.components] == [(("a", "x"), 1), (("b",), 2)]


def test_salloc() -> None:
    request = submit.parse_salloc(["-K", "--no-bell", "-t5", "sh", "-c", "true"], HERE)
    assert request.argv == ("sh", "-c", "true")
    assert (request.flags.kill_command, request.flags.bell) == (15, "never")
    assert request.components[0].job_name == "interactive"
    assert submit.parse_salloc(["--no-shell"], HERE).components[0].job_name == "no-shell"
