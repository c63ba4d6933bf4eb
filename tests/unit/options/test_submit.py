"""Requests from script, environment and command line.

Expected fields: `scontrol show job` of the real Slurm 22.05 for the same input, unless noted.
"""

from __future__ import annotations

from typing import Any

import pytest
from parsed_requests import HERE, around, fields, refusal, sbatch

from slurmsky.model.spec import INFINITE, DeclaredOption
from slurmsky.options import submit, table
from slurmsky.options.submit import ScriptText
from slurmsky.options.usage_errors import CommandError, Printed
from slurmsky.options.values import ReadContext

NODES_2 = {"nodes": "2", "nodes_min": 2, "nodes_max": 2}


@pytest.mark.parametrize(
    ("argv", "script", "env", "expected"),
    [
        (
            (),
            "#SBATCH -n2 -t 5 -J a\n",
            {"SBATCH_TIMELIMIT": "7", "SBATCH_JOB_NAME": "b"},
            {"ntasks": 2, "time_limit_min": 7, "job_name": "b"},
        ),
        (
            ("-t9",),
            "#SBATCH -n2 -t 5 -J a\n",
            {"SBATCH_TIMELIMIT": "7"},
            {"ntasks": 2, "time_limit_min": 9, "job_name": "a"},
        ),
        ((), "#SBATCH --no-requeue\n", {}, {"requeue": False}),
        ((), "#SBATCH --no-requeue\n", {"SBATCH_REQUEUE": ""}, {"requeue": True}),
        ((), "#SBATCH --no-requeue\n", {"SBATCH_REQUEUE": "0"}, {"requeue": True}),
        ((), "#SBATCH --no-requeue\n", {"SBATCH_REQUEUE": "bogus"}, {"requeue": True}),
        (("--requeue=expedite",), "", {}, {"requeue": True, "expedited_requeue": True}),
        (("--requeue=other",), "", {}, {"requeue": True}),
        ((), "#SBATCH -O\n", {"SBATCH_OVERCOMMIT": "0"}, {}),
        ((), "", {"SBATCH_OVERCOMMIT": "Yes"}, {"overcommit": True}),
        ((), "", {"SBATCH_EXCLUSIVE": ""}, {"exclusive": ""}),
        ((), "", {"SBATCH_EXCLUSIVE": "user"}, {"exclusive": "user"}),
        ((), "#SBATCH --mem=10\n", {"SBATCH_MEM_PER_CPU": "5"}, {"mem_mib": 10}),
        ((), "", {"SLURM_TIMELIMIT": "7", "SLURM_NTASKS": "3"}, {}),  # srun's variables
        ((), "#SBATCH -n1\n#SBATCH -n3\n", {}, {"ntasks": 3}),
        ((), "#SBATCH --job=ab\n", {}, {"job_name": "ab"}),
        ((), "#SBATCH --help\n#SBATCH -Q -v --wrap=x\n", {}, {}),
        (("--nice=5", "--nice"), "", {}, {"nice": 100}),
        (("--mail-type=END",), "#SBATCH --mail-type=FAIL\n", {}, {"mail_type": ["END", "FAIL"]}),
        (("--mail-type=NONE",), "#SBATCH --mail-type=FAIL\n", {}, {"mail_type": ["FAIL"]}),
        (("-t", "0"), "", {}, {"time_limit_min": INFINITE}),
        (("-D", "x"), "", {}, {"chdir": "/home/user/x"}),
        (("-D", "../x/./y"), "", {}, {"chdir": "/home/user/../x/./y"}),
        (("-w", "n1,n2"), "", {}, {"nodelist": "n1,n2", "nodes_min": 2}),
        (
            ("-w", "n[1-2]", "-N1-2"),
            "",
            {},
            {"nodelist": "n[1-2]", "nodes": "2", "nodes_min": 2, "nodes_max": 2},
        ),
        (("-N2", "--ntasks-per-node=3"), "", {}, {**NODES_2, "ntasks_per_node": 3}),
        (("-n4", "-N1-2"), "", {}, {"ntasks": 4, "nodes": "1-2", "nodes_min": 1, "nodes_max": 2}),
        (
            ("-B", "1:2:1"),
            "",
            {},
            {"ntasks": 2, "sockets_per_node": 1, "cores_per_socket": 2, "threads_per_core": 1},
        ),
        (
            ("-B", "2:2:1", "-n3"),
            "",
            {},
            {"ntasks": 3, "sockets_per_node": 2, "cores_per_socket": 2, "threads_per_core": 1},
        ),
        (("-B", "*:2"), "", {}, {"ntasks": 2, "cores_per_socket": 2}),
        (("--cores-per-socket=2",), "", {}, {"cores_per_socket": 2}),
        (("-o", "none", "-e", "x%j"), "", {}, {"output": "/dev/null", "error": "x%j"}),
        (("--open-mode=Append",), "", {}, {"open_mode": "append"}),
        (("--propagate",), "", {}, {"propagate": "ALL"}),
        (("--priority=TOP",), "", {}, {"priority": 4294967293}),
        (("-d", "1"), "", {}, {"dependency": "afterany:1"}),
        (("--array=",), "", {}, {}),
        (("--compress-not-mine",), "", {}, None),
    ],
)
def test_fields(argv: tuple[str, ...], script: str, env: dict[str, str], expected: dict[str, Any]) -> None:
    if expected is None:
        assert refusal(*argv)[0] == f"sbatch: unrecognized option '{argv[0]}'"
        return
    found = fields(sbatch(*argv, script=script, **env).components[0])
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()} == expected


def test_het_components_inherit_options_that_do_not_reset() -> None:
    """The last words of the command line also apply to components of the script alone."""
    request = sbatch(
        "-n4",
        "-t6",
        ":",
        "-n5",
        script="#SBATCH -J one -n2\n#SBATCH hetjob\n#SBATCH -N2\n#SBATCH hetjob\n#SBATCH -c2\n#SBATCH hetjob\n",
    )
    assert [fields(spec) for spec in request.components] == [
        {"job_name": "one", "ntasks": 4, "time_limit_min": 6},
        {"job_name": "one", "ntasks": 5, "time_limit_min": 6, **NODES_2},
        {"job_name": "one", "ntasks": 5, "time_limit_min": 6, "cpus_per_task": 2},
        {"job_name": "one", "ntasks": 5, "time_limit_min": 6},
    ]


def test_het_script_alone() -> None:
    script = "#SBATCH -J one -n2 -c3 --mem=7 --comment=c -t4 --nice=3 --no-requeue\n#SBATCH hetjob\n#SBATCH -N2\n"
    kept = {"job_name": "one", "mem_mib": 7, "comment": "c", "time_limit_min": 4, "nice": 3, "requeue": False}
    assert [fields(spec) for spec in sbatch(script=script).components] == [
        {**kept, "ntasks": 2, "cpus_per_task": 3},
        {**kept, **NODES_2},
    ]


@pytest.mark.parametrize(("argv", "count"), [((":",), 2), (("-Jx", ":", ":"), 3), (("-n1", ":", "-n2"), 2)])
def test_components_of_the_command_line(argv: tuple[str, ...], count: int) -> None:
    assert len(sbatch(*argv).components) == count


def test_colons_behind_the_script_are_dropped() -> None:
    text = ScriptText("s.sh", b"#!/bin/sh\n")
    request = submit.parse_sbatch(["-H", "s.sh", "a", ":", "b", "-n", "3"], text, HERE)
    assert (request.argv, len(request.components)) == (("a", "b", "-n", "3"), 1)


def test_arrays_have_no_components() -> None:
    assert refusal("-a", "1-3", ":") == ("sbatch: error: Batch job submission failed: Invalid job array specification",)


def test_fewer_tasks_than_nodes() -> None:
    request = sbatch("-n2", "-w", "n1,n2,n3")
    assert request.warnings == ("sbatch: warning: can't run 2 processes on 3 nodes, setting nnodes to 2",)
    assert fields(request.components[0]) == {"ntasks": 2, "nodelist": "n[1-2]", **NODES_2}


@pytest.mark.parametrize(
    ("argv", "env", "line"),
    [
        (
            ("--mem=1", "--mem-per-cpu=1"),
            {},
            "fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.",
        ),
        (
            (),
            {"SBATCH_MEM_PER_NODE": "50", "SBATCH_MEM_PER_CPU": "10"},
            "fatal: SLURM_MEM_PER_CPU, SLURM_MEM_PER_GPU, and SLURM_MEM_PER_NODE are mutually exclusive.",
        ),
        (
            ("-S1", "--thread-spec=1"),
            {},
            "fatal: -S/--core-spec and --thred-spec options are mutually exclusive",
        ),
        (
            ("--ntasks-per-gpu=2", "--ntasks-per-node=2"),
            {},
            "fatal: --ntasks-per-node is mutually exclusive with --ntasks-per-gpu and SLURM_NTASKS_PER_GPU",
        ),
        (
            ("--ntasks-per-gpu=2", "--gpus-per-task=1", "-n1"),
            {},
            "fatal: --gpus-per-task is mutually exclusive with --ntasks-per-gpu and SLURM_NTASKS_PER_GPU",
        ),
        (
            ("--cpus-per-gpu=2", "-c2", "--gpus=1"),
            {},
            "fatal: --cpus-per-task, --tres-per-task=cpu:#, and --cpus-per-gpu are mutually exclusive",
        ),
        (
            ("--tres-per-task=cpu=2", "--cpus-per-gpu=2", "--gpus=1"),
            {},
            "fatal: --cpus-per-task, --tres-per-task=cpu:#, and --cpus-per-gpu are mutually exclusive",
        ),
        (
            ("--tres-per-task=cpu:2", "-c3"),
            {},
            "fatal: You can not have --tres-per-task=cpu= and --cpus-per-task please use one or the other",
        ),
        (
            ("--tres-per-task=gres:gpu:h100:2", "--gpus-per-task=h100:1", "-n1"),
            {},
            "fatal: You can not have --tres-per-task=gres/gpu:h100= and --gpus-per-task please use one or the other",
        ),
        (("--tres-per-task=cpu=0",), {}, "fatal: Invalid --tres-per-task=cpu=0"),
        (("--tres-per-task=cpu=1,mem=2G",), {}, "fatal: Invalid TRES for --tres-per-task: mem"),
        (
            ("--tres-per-task=foo=1", "-n1"),
            {},
            "error: Batch job submission failed: Invalid Trackable RESource (TRES) specification",
        ),
        (
            ("--tres-per-task=gres/gpu=1", "--ntasks-per-gpu=2"),
            {},
            "fatal: --tres-per-task is mutually exclusive with --ntasks-per-gpu and SLURM_NTASKS_PER_GPU",
        ),
        (
            ("-s", "--exclusive"),
            {},
            "fatal: --exclusive and --oversubscribe options are mutually exclusive",
        ),
        (
            ("-N2", "-n3", "-m", "arbitrary", "-w", "n1,n2,n2"),
            {},
            "error: --nodes is incompatible with --distribution=arbitrary",
        ),
        (
            ("--gpus-per-socket=1",),
            {},
            "error: --gpus-per-socket option requires --sockets-per-node specification",
        ),
        (
            ("--mem-per-gpu=1G",),
            {},
            "error: Requested mem_per_tres=gres/gpu:1024 but did not request any GPU.",
        ),
        (("-w", "n1,n2,n3", "-N2"), {}, "error: invalid number of nodes (-N 3-2)"),
        (
            ("-m", "arbitrary"),
            {},
            "error: With Arbitrary distribution you need to specify a nodelist or hostfile with the -w option",
        ),
        (
            ("-m", "plane=4", "-N2", "-n2"),
            {},
            "error: Too few processes for the requested {plane,node} distribution",
        ),
        (("-m", "plane=2", "-N2"), {}, "error: Too few processes for the requested {plane,node} distribution"),
        (
            ("-t", "10", "--time-min=20"),
            {},
            "error: Batch job submission failed: Invalid time-min specification (exceeds job's time or other limits)",
        ),
        (
            ("-n", "9999999999999999999"),
            {},
            "error: Numeric argument (9223372036854775807) to big for --ntasks.",
        ),
        (("-n", "0x10"), {}, 'error: Invalid numeric value "0x10" for --ntasks.'),
        (("--exclusive=foo",), {}, "error: Invalid --exclusive specification"),
        (("--acctg-freq=x",), {}, "error: Invalid --acctg-freq specification: x"),
        (("--hint=X,y",), {}, 'error: unrecognized --hint argument "X", see --hint=help'),
        (("--hint=",), {}, 'error: unrecognized --hint argument "", see --hint=help'),
        (("--hint=x", "--acctg-freq=y"), {}, "error: Invalid --acctg-freq specification: y"),
        (("--hint=x", "-B", "1:2", "--acctg-freq=y"), {}, "error: Invalid --acctg-freq specification: y"),
        (("--propagate=FOO",), {}, "error: Bad rlimit name: FOO"),
        (("--external",), {}, "error: Requested operation not supported on this system"),  # ours
    ],
)
def test_refusals(argv: tuple[str, ...], env: dict[str, str], line: str) -> None:
    assert refusal(*argv, **env)[0] == f"sbatch: {line}"


def test_the_script_counts_as_typed_for_exclusions() -> None:
    assert refusal("--mem=100", script="#SBATCH --mem-per-cpu=100\n") == (
        "sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.",
    )


def test_warnings_precede_a_later_refusal() -> None:
    """sbatch prints each warning when it parses the option."""
    assert refusal("-n1", "-N2", "-d", "bogus", script="#SLURM -H\n") == (
        "sbatch: error: Change from #SLURM to #SBATCH in your script and verify the options are valid in sbatch",
        "sbatch: warning: can't run 1 processes on 2 nodes, setting nnodes to 1",
        "sbatch: error: Batch job submission failed: Job dependency problem",
    )


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("-w", "n1,n2", "-N1"), 9),
        (("-n0",), 1),
        (("-N2-1",), 255),
        (("--bogus",), 255),
        (("--mem=1", "--mem-per-cpu=1"), 1),
        (("-d", "bogus"), 9),
    ],
)
def test_exit_code_of_late_errors(argv: tuple[str, ...], code: int) -> None:
    with pytest.raises(CommandError) as caught:
        sbatch(*argv, SLURM_EXIT_ERROR="9")
    assert caught.value.exit_code == code


def test_wrap() -> None:
    request = submit.parse_sbatch(["--wrap", "#SBATCH -n3\necho"], None, HERE)
    assert (request.wrap, request.script_path) == ("#SBATCH -n3\necho", None)
    assert fields(request.components[0]) == {"job_name": "wrap", "wrap": "#SBATCH -n3\necho"}
    assert submit.wrap_script("true").startswith(b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\ntrue")


def test_name_of_a_script_from_standard_input() -> None:
    request = submit.parse_sbatch([], ScriptText("", b"#!/bin/sh\n"), HERE)
    assert request.components[0].job_name == "sbatch"
    with pytest.raises(CommandError) as caught:
        submit.parse_sbatch([], ScriptText("", b'#!/bin/sh\n#SBATCH "x\n'), HERE)
    assert caught.value.lines == ('sbatch: fatal: stdin: line 2: Unmatched `"` in ["x]',)


@pytest.mark.parametrize(
    ("option", "start"),
    [
        ("--help", "Usage: sbatch"),
        ("--usage", "Usage: sbatch"),
        ("--version", "slurm 25.11"),
        ("-V", "slurm 25.11"),
    ],
)
def test_options_that_print_end_the_command(option: str, start: str) -> None:
    with pytest.raises(Printed) as caught:
        submit.find_script([option, "--bogus"], HERE)
    assert caught.value.stdout.startswith(start)
    assert caught.value.exit_code == 0


def test_node_files() -> None:
    files = {"/home/user/hosts": b"n1,n2 # two\n#c\nn3*2\n", "/home/user/bad": b"#!/bin/sh\n:\n"}
    ctx = around({}, read_file=files.__getitem__)
    text = ScriptText("s", b"#!/bin/sh\n")
    request = submit.parse_sbatch(["-F", "hosts", "s"], text, ctx)
    assert request.components[0].nodelist == "n[1-3,3]"
    assert (
        submit.parse_sbatch(["-x", "./hosts", "s"], text, around({}, read_file=lambda _: b"n1\n")).components[0].exclude
        == "n1"
    )
    with pytest.raises(CommandError) as caught:
        submit.parse_sbatch(["-F", "bad", "s"], text, ctx)
    assert caught.value.lines == (
        "sbatch: error: Invalid hostfile bad contents on line 2",
        "sbatch: error: Invalid --nodefile node file",
    )


def test_options_without_effect_are_reported() -> None:
    assert [option.long for option in sbatch("--reboot", "-A", "x", "--wckey=w").idle] == ["reboot", "wckey"]


def test_site_options() -> None:
    mine = table.load("sbatch").with_site_options([DeclaredOption("my-tool", "optional"), DeclaredOption("my-flag")])
    text = ScriptText("s", b"#!/bin/sh\n#SBATCH --my-tool=5\n")
    request = submit.parse_sbatch(["--my-flag", "s"], text, HERE, mine)
    assert request.components[0].site_options == (("my-tool", "5"), ("my-flag", ""))


@pytest.mark.parametrize(
    ("script", "lines", "whole"),
    [
        (b"#!/bin/sh -e\n#SBATCH -N1\necho me\n", b"echo bbf\nexit 0\n",
         b"#!/bin/sh -e\necho bbf\nexit 0\n#SBATCH -N1\necho me\n"),
        (b"#!/bin/sh", b"echo bbf", b"#!/bin/sh\necho bbf\n"),
        (b"echo me\n", b"echo bbf", b"echo bbf\necho me\n"),
        (b"#!/bin/sh\necho me\n", b"", b"#!/bin/sh\necho me\n"),
    ],
)  # fmt: skip
def test_bbf_inserts_its_lines_after_the_first_line(script: bytes, lines: bytes, whole: bytes) -> None:
    assert submit.with_burst_buffer(script, lines) == whole


def test_an_item_of_export_without_its_closing_quote_is_named() -> None:
    context = ReadContext()
    line = "error: Improperly formed environment variable (A='x,B=2)"
    step = submit.parse_srun(["--export=A='x,B=2", "true"], context)
    job = submit.parse_sbatch(["--export=A='x,B=2", "--wrap=true"], None, context)
    assert (step.warnings, job.warnings) == ((f"srun: {line}",), (f"sbatch: {line}",))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--gpus=h100:x",), "sbatch: error: Invalid Trackable RESource (TRES) specification"),
        (("--gpus-per-task=h100:1:x", "-n1"), "sbatch: error: Invalid Trackable RESource (TRES) specification"),
        (("--gres=gpu:h100:1x",), "sbatch: error: Invalid Trackable RESource (TRES) specification"),
        (("--gres=gpu:",), "sbatch: error: Invalid Trackable RESource (TRES) specification"),
        (("-d", "x"), "sbatch: error: Batch job submission failed: Job dependency problem"),
        (("--test-only", "-d", "x"), "allocation failure: Job dependency problem"),
        (("--test-only", "-a", "x"), "allocation failure: Invalid job array specification"),
    ],
)
def test_malformed_counts_and_refusals_of_a_trial_are_in_slurms_words(argv: tuple[str, ...], message: str) -> None:
    script = ScriptText("/home/user/s.sh", b"#!/bin/sh\n")
    with pytest.raises(CommandError) as fault:
        submit.parse_sbatch((*argv, "s.sh"), script, ReadContext())
    assert (fault.value.lines, fault.value.exit_code) == ((message,), 1)


def test_a_type_with_a_colon_is_accepted() -> None:
    script = ScriptText("/home/user/s.sh", b"#!/bin/sh\n")
    spec = submit.parse_sbatch(("--gpus=x:1:2", "s.sh"), script, ReadContext()).components[0]
    assert spec.gpus == "x:1:2"
