"""Requests of the query commands. Ids, states and variables as the real Slurm 22.05 took them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from slurmsky.language.arrayspec import ArraySpec
from slurmsky.options import help, query
from slurmsky.options.query import JobId, Query
from slurmsky.options.usage_errors import CommandError, Printed
from slurmsky.options.values import ReadContext

HERE = ReadContext(now=1_800_000_000, cwd="/", find_user=lambda name: {"root": 0}.get(name))


def ask(command: str, *argv: str, **env: str) -> Any:
    return getattr(query, f"parse_{command}")(argv, dataclasses.replace(HERE, env=env))


def refusal(command: str, *argv: str, **env: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        ask(command, *argv, **env)
    return caught.value


def given(request: Query) -> dict[str, Any]:
    """Fields that differ from a bare request's."""
    bare = type(request)()
    return {
        entry.name: value
        for entry in dataclasses.fields(request)
        if (value := getattr(request, entry.name)) != getattr(bare, entry.name)
    }


@pytest.mark.parametrize(
    ("command", "argv", "env", "expected"),
    [
        ("squeue", (), {}, {}),
        ("squeue", ("-j", "1,2_3,4+1"), {}, {"jobs": (JobId(1), JobId(2, 3), JobId(4))}),  # offsets are ignored
        ("squeue", ("-j",), {}, {"jobs": ()}),
        ("squeue", ("-j", "77", "-h"), {}, {"jobs": (JobId(77),), "noheader": True}),
        ("squeue", ("-j", "-h", "77"), {}, {"jobs": (JobId(77),), "noheader": True}),
        ("squeue", ("-j5x",), {}, {"jobs": (JobId(5),)}),  # strtol
        ("squeue", ("-j1_x",), {}, {"jobs": (JobId(1, 0),)}),
        ("squeue", ("-s",), {}, {"steps": ()}),
        ("squeue", ("-s", "5.0,6.batch"), {}, {"steps": (JobId(5, step=0), JobId(6, step=0))}),  # strtol
        ("squeue", ("-t", "pd,cg,Completed"), {}, {"states": ("PENDING", "COMPLETING", "COMPLETED")}),
        ("squeue", ("-t", "ALL"), {}, {"states": ("all",)}),
        ("squeue", ("-u", "a,b", "--me"), {}, {"users": ("a", "b"), "me": True}),
        ("squeue", (), {"SQUEUE_FORMAT": "%i"}, {"format": "%i"}),
        ("squeue", (), {"SQUEUE_FORMAT": "%i", "SQUEUE_FORMAT2": "jobid"}, {"format": "%i"}),
        ("squeue", ("-O", "name"), {"SQUEUE_FORMAT": "%i"}, {"format2": "name"}),
        ("squeue", ("-o", "%j"), {"SQUEUE_FORMAT2": "jobid"}, {"format": "%j"}),
        ("squeue", ("-l",), {"SQUEUE_FORMAT": "%i"}, {"long": True}),
        ("squeue", ("-l", "-O", "name"), {}, {"long": True, "format2": "name"}),
        ("squeue", (), {"SQUEUE_ALL": "0"}, {"all": True}),  # set with any value
        (
            "squeue",
            (),
            {"SQUEUE_STATES": "CD", "SQUEUE_USERS": "x"},
            {"states": ("COMPLETED",), "users": ("x",)},
        ),
        ("squeue", ("-t", "R"), {"SQUEUE_STATES": "CD"}, {"states": ("RUNNING",)}),
        ("squeue", (), {"SLURM_BITSTR_LEN": "0"}, {"bitstr_len": 0}),
        ("squeue", (), {"SLURM_BITSTR_LEN": "99999"}, {"bitstr_len": 4096}),
        ("squeue", ("--json",), {}, {"json": ""}),
        ("squeue", ("--running-over", "1:00:00"), {}, {"running_over": 3600}),
        ("squeue", ("-v", "-v"), {}, {"verbose": 2}),
        (
            "scancel",
            ("1,2_3", "4.0", "5_[1-3]"),
            {},
            {"jobs": (JobId(1), JobId(2, 3), JobId(4, step=0), JobId(5, ArraySpec((range(1, 4),))))},
        ),
        ("scancel", ("5.",), {}, {"jobs": (JobId(5, step=0),)}),
        ("scancel", ("-s", "sigusr1", "5"), {}, {"jobs": (JobId(5),), "signal": 10}),
        ("scancel", ("-s-9", "5"), {}, {"jobs": (JobId(5),), "signal": 9}),
        ("scancel", ("-t", "pd", "-n", ""), {}, {"state": "PENDING", "name": ""}),
        ("scancel", ("5", "-b"), {}, {"jobs": (JobId(5),), "batch": True}),
        (
            "scancel",
            ("5",),
            {"SCANCEL_BATCH": "true", "SCANCEL_FULL": "false"},
            {"jobs": (JobId(5),), "batch": True},
        ),
        (
            "scancel",
            ("5",),
            {"SCANCEL_VERBOSE": "2"},
            {"jobs": (JobId(5),), "warnings": ("scancel: error: Unrecognized SCANCEL_VERBOSE value: 2",)},
        ),
        (
            "scancel",
            ("5",),
            {"SCANCEL_STATE": "bogus"},
            {
                "jobs": (JobId(5),),
                "warnings": (
                    "Unrecognized SCANCEL_STATE value: bogus",
                    "Valid job states are PENDING, RUNNING, and SUSPENDED",
                ),
            },
        ),
        ("sinfo", ("extra", "-N"), {}, {"node": True}),
        ("sinfo", ("-t", "alloc+!drai"), {}, {"states": ("allocated&~drain",)}),
        ("sinfo", ("-t", "IDLE,drng,~drain"), {}, {"states": ("idle", "draining", "~drain")}),
        ("sinfo", ("-p", "a,b", "-h"), {}, {"partitions": ("a", "b"), "noheader": True}),
        ("sinfo", ("-O", "nodes"), {"SINFO_FORMAT": "%n"}, {"format2": "nodes"}),
        (
            "sacct",
            ("-j", "1+2,3_4.batch,5.0,6.extern"),
            {},
            {
                "jobs": (
                    JobId(1, het_offset=2),
                    JobId(3, 4, step="batch"),
                    JobId(5, step=0),
                    JobId(6, step="extern"),
                )
            },
        ),
        ("sacct", ("-j", "5x,0,7 8"), {}, {"jobs": (JobId(5), JobId(7), JobId(8))}),
        ("sacct", ("-s", "ca,cd,f"), {}, {"states": ("CANCELLED", "COMPLETED", "FAILED")}),
        ("sacct", ("-i", "1-2", "-I", "4"), {}, {"nnodes": (1, 2), "ncpus": (4, 4)}),
        ("sacct", ("--whole-hetjob", "--units=k"), {}, {"whole_hetjob": True, "units": "K"}),
        ("sacct", ("-S", "now-1hour", "-P"), {}, {"starttime": 1_799_996_400, "parsable2": True}),
        ("sacct", ("-F", "schedmain"), {}, {"flags": ("SchedMain",)}),
        ("sacct", (), {"SACCT_FORMAT": "jobid"}, {"format": "jobid"}),
        ("sstat", ("-j", "5", "6.0"), {}, {"jobs": (JobId(5), JobId(6, step=0))}),
        (
            "scontrol",
            ("show", "job", "5", "-o", "-d"),
            {},
            {"words": ("show", "job", "5"), "oneliner": True, "details": True},
        ),
        ("sattach", ("-l", "5.0"), {}, {"step": JobId(5, step=0), "label": True}),
        (
            "sbcast",
            ("-f", "-p", "a", "b"),
            {"SLURM_JOB_ID": "7"},
            {"source": "a", "destination": "b", "jobid": JobId(7), "force": True, "preserve": True},
        ),
    ],
)
def test_request(command: str, argv: tuple[str, ...], env: dict[str, str], expected: dict[str, Any]) -> None:
    assert given(ask(command, *argv, **env)) == expected


@pytest.mark.parametrize(
    ("command", "argv", "lines"),
    [
        (
            "squeue",
            ("-O", "name", "-o", "%i"),
            ("squeue: error: -o (--format) is incompatible with -O (--Format)",),
        ),
        ("squeue", ("-j", "0"), ("squeue: error: Invalid job id: 0",)),
        ("squeue", ("-s", "x.0"), ("squeue: error: Invalid job_step id: x.0",)),
        ("squeue", ("-s", "5."), ("squeue: error: Invalid job_step id: 5.??",)),
        (
            "squeue",
            ("-w", "n[2-1]"),
            (
                "squeue: error: _parse_single_range: Invalid range: `2-1'",
                "squeue: error: 'n[2-1]' invalid entry for --nodelist",
            ),
        ),
        ("scancel", ("999999,",), ("scancel: error: Invalid job id ",)),
        ("scancel", (",",), ("scancel: error: Invalid job id ,",)),
        ("scancel", ("999999 999998",), ("scancel: error: Invalid job id 999999 999998",)),
        ("scancel", ("-s", "9x", "5"), ("Unknown job signal: 9x",)),
        (
            "scancel",
            ("-t", "R,PD", "5"),
            ("Invalid job state specified: R,PD", "Valid job states are PENDING, RUNNING, and SUSPENDED"),
        ),
        (
            "sinfo",
            ("-O", "nodes", "-l"),
            ("sinfo: fatal: Options -o(--format) and -l(--long) are mutually exclusive. Please remove one and retry.",),
        ),
        ("sacct", ("-j", "1_x"), ("sacct: fatal: Bad job array element specified: 1",)),
        ("sacct", ("-j", "1.-1"), ("sacct: fatal: Bad step specified: 1",)),
        ("sacct", ("-j", "5.batchx"), ("sacct: fatal: Bad step specified: 5",)),
        ("sacct", ("-s", "R,x"), ("sacct: fatal: unrecognized job state value 'x'",)),
        ("sacct", ("-i", "-1"), ('sacct: error: Invalid numeric value "-1" for requested node range.',)),
        ("sacct", ("-I", "1-x"), ('sacct: error: Invalid numeric value "1-x" for requested cpu range.',)),
        (
            "sacct",
            ("--whole-hetjob=maybe",),
            ('sacct: error: Invalid --whole-hetjob value "maybe". Valid values: [yes|no].',),
        ),
        (
            "sacct",
            ("-B", "--env-vars", "-j1"),
            ("sacct: fatal: Options --batch-script and --env-vars are mutually exclusive",),
        ),
        ("sacct", ("a", "b"), ("sacct: error: Unknown arguments:", "sacct: error:  a", "sacct: error:  b")),
        ("sstat", ("-j", "5", "x"), ("sstat: fatal: Bad job/step specified: x",)),
        ("sattach", ("5.0", "--layout"), ("sattach: error: too many parameters",)),
        ("scontrol", ("-u", "99999x", "show"), ('scontrol: error: --uid="99999x" invalid',)),
    ],
)
def test_refusals(command: str, argv: tuple[str, ...], lines: tuple[str, ...]) -> None:
    assert refusal(command, *argv).lines == lines
    assert refusal(command, *argv).exit_code == 1


def test_filters_alone_choose_jobs() -> None:
    assert ask("scancel", "--me").filtered
    assert not ask("scancel", "5").filtered


@pytest.mark.parametrize("command", ["squeue", "scancel", "sinfo", "sacct", "scontrol", "sattach", "sbcast", "sstat"])
def test_version_and_help(command: str) -> None:
    for option in ("--help", "--version"):
        fault = refusal(command, option)
        assert isinstance(fault, Printed)
        assert fault.exit_code == 0
        assert fault.stdout


def test_noheader_is_not_help() -> None:
    assert ask("squeue", "-h").noheader
    assert ask("sinfo", "-h").noheader


def test_lists_of_fields_and_states() -> None:
    rows = [
        {"name": "Account", "letter": "a", "hidden": ""},
        {"name": "JobID", "letter": "A", "hidden": ""},
        {"name": "Secret", "letter": "Z", "hidden": "yes"},
    ]
    assert help.field_help(ask("squeue", "--helpformat"), rows) == "%a    %A    \n"
    assert help.field_help(ask("squeue", "--helpFormat"), rows).split() == ["Account", "JobID"]
    assert "out_of_memory" in help.field_help(ask("squeue", "--helpstate"), rows).split("\n")
    assert "drained" in help.field_help(ask("sinfo", "--helpstate"), rows).split()


def test_repeated_lists_of_sacct_and_sstat_are_joined() -> None:
    """Every -j and -o adds to the earlier ones, as submitit requires; a command line's -o replaces SACCT_FORMAT."""
    found = query.parse_sacct(
        ["-j", "7", "-o", "jobid", "-j", "9_2", "-o", "state", "-s", "R", "-s", "PD"],
        ReadContext(env={"SACCT_FORMAT": "user"}),
    )
    assert [str(job) for job in found.jobs] == ["7", "9_2"]
    assert found.format == "jobid,state"
    assert found.states == ("RUNNING", "PENDING")
    assert [str(job) for job in query.parse_sstat(["-j", "7", "-j", "8.0"], ReadContext()).jobs] == ["7", "8.0"]
