"""Recorded command lines of the real Slurm: our parsers print the same lines and exit codes.

A row that our parsers accept must be one that Slurm accepted too, or one whose answer only a controller, an
agent or the file system can give; those answers are listed here, so that no row goes unjudged.
"""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timezone

from recorded_tables import read_table
from tables import every

from slurmsky.options import query, submit
from slurmsky.options.filters import STATE_NAMES
from slurmsky.options.usage_errors import CommandError, Printed
from slurmsky.options.values import ReadContext

NOW = datetime(2026, 11, 21, 6, 20, 10, tzinfo=timezone.utc).timestamp()
PARSERS = {
    "srun": submit.parse_srun,
    "salloc": submit.parse_salloc,
    "squeue": query.parse_squeue,
    "scancel": query.parse_scancel,
    "sinfo": query.parse_sinfo,
    "sacct": query.parse_sacct,
    "scontrol": query.parse_scontrol,
    "sattach": query.parse_sattach,
    "sbcast": query.parse_sbcast,
    "sstat": query.parse_sstat,
}
#: Rows that 25.11 answers otherwise than the recorded 22.05.
NEWER = {
    "squeue --json=bogus": "takes the name of a data_parser plugin",
    "sacct -R bogus": "--reason came in 24.05",
    "sbatch -H -N1,2 SCRIPT": "lists of node counts came in 23.02",
    "sbatch --requeue=bogus SCRIPT": "--requeue takes a word",
}
#: Rows that 25.11 refuses: a bracket without an end. 22.05 read `n[1-2` as the name `n]`.
REFUSED_NEWER = {
    "sbatch -H -w 'n[1-2' SCRIPT": "sbatch: error: memory allocation failure\n",
    "squeue -w 'n[1-'": "squeue: error: 'n[1-' invalid entry for --nodelist\n",
    "sinfo -n 'n['": "sinfo: error: 'n[' invalid entry for --nodes\n",
}
#: Rows that this system refuses: Slurm's superuser may have one, and 25.11 refuses R: without preemption, too.
REFUSED = {"sbatch --gid=nogroup -H SCRIPT"}
#: What only the controller, an agent, the configuration or the file system can answer.
LATER = (
    r"invalid partition specified",
    r"Requested reservation is invalid",
    r"Invalid node name specified",
    r"Invalid (feature|license) specification",
    r"gres\) specification\n$",
    r"Requested node configuration",
    r"can not be satisfied",
    r"Node count specification invalid",
    r"Invalid --nice value\n",
    r"Unable to confirm",
    r"Immediate execution impossible",
    r"Unable to open file no_such_file",
    r"(Pending job allocation|queued and waiting)",
    r"MPI|mpi/",
    r"multi_prog",
    r"Access/permission",
    r"slurm_load_\w+ error",
    r"Invalid user",
    r"Invalid node name",
    r"Invalid sort",
    r"Kill job error",
    r"No cluster",
    r"Invalid (step|group|field|user)",
    r"bad qos|qos list",
    r"not a valid file",
    r"job completion is disabled",
    r"Could not get job step info",
    r"lookup error",
    r"node format specification",
    r"job format specification",
    r"couldn't get steps",
    r"start at \d+",
    r"execve\(\)",
    r"Job dependency problem",
    r"Could not open stdout file",
    r"REQUEST_FILE_BCAST",
)
LATER_COMMANDS = ("scontrol",)  # its words are read by the command itself


#: as 25.11 lists them: PERFCTRS was removed, newer states were added
NODE_STATES = (
    "unknown,down,idle,allocated,mixed,future,drain,drained,draining,no_respond,reserved,planned,blocked,cloud,completing,"
    "powering_down,powered_down,power_down,powering_up,power_up,inval,fail,maint,reboot,reboot^,external,dynamic_future,"
    "dynamic_norm"
)


def context(command: str, row: dict[str, str], uid: int = 0) -> ReadContext:
    environment = dict(pair.split("=", 1) for pair in shlex.split(row.get("env", "")))

    def read_file(path: str) -> bytes:
        if path.startswith("/no/"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return b""

    return ReadContext(
        now=NOW,
        timezone=timezone.utc,
        cwd="/home/user",
        env=environment,
        read_file=read_file,
        is_root=uid == 0,
        find_user=lambda name: {"root": 0, "nobody": 65534}.get(name),
        find_group=lambda name: {"root": 0, "nogroup": 65534}.get(name),
        max_array_size=100001,
    )


def text_of(row: dict[str, str]) -> bytes:
    body = row["stdin_or_script"]
    unread = row["argv"] == "sbatch no_such_file.sh"  # the command opens it, after this stage
    return b"#!/bin/sh\n:\n" if unread or body == "(valid 2-line script)" else body.encode()


def sbatch(argv: list[str], row: dict[str, str], ctx: ReadContext) -> submit.Submission:
    choice = submit.find_script(argv, ctx)
    if choice.wrap is not None:
        return submit.parse_sbatch(argv, None, ctx)
    data = b"" if choice.path in ("/tmp", "/dev/null") else text_of(row)
    return submit.parse_sbatch(argv, submit.ScriptText(choice.path or "", data), ctx)


def run(row: dict[str, str]) -> CommandError | None:
    words = shlex.split(row["argv"])
    uid = 65534 if words[0] == "setpriv" else 0
    words = words[4:] if uid else words
    command, argv = words[0], words[1:]
    ctx = context(command, row, uid)
    try:
        if command == "sbatch":
            sbatch(argv, row, ctx)
        else:
            PARSERS[command](argv, ctx)
    except CommandError as fault:
        return fault
    return None


BAD = read_table("bad_inputs.csv")
ACCEPTED = read_table("accepted_inputs.csv")


@every("row", BAD, lambda row: row["argv"])
def test_bad_input(row: dict[str, str]) -> None:
    fault = run(row)
    command = shlex.split(row["argv"].partition("--clear-groups ")[2] or row["argv"])[0]
    if row["argv"] in NEWER:
        assert fault is None
    elif fault is None or isinstance(fault, Printed):
        later = any(re.search(pattern, row["stderr"]) for pattern in LATER)
        assert row["exit_code"] in ("0", "timeout", "-11") or later or command in LATER_COMMANDS
    else:
        # --gpu-bind names its argument as it was typed, since 23.02.
        recorded = row["stderr"].replace("--gpu-bind argument: gpu:", "--gpu-bind argument: ")
        recorded = REFUSED_NEWER.get(row["argv"], recorded)
        recorded = re.sub("valid states: .*,perfctrs,.*", f"valid states: {NODE_STATES}", recorded)
        recorded = re.sub("(?<=Valid job states include: ).*", ",".join(STATE_NAMES).lower(), recorded)
        assert "".join(f"{line}\n" for line in fault.lines) == recorded
        assert str(fault.exit_code) == ("1" if row["argv"] in REFUSED_NEWER else row["exit_code"])


@every("row", ACCEPTED, lambda row: row["argv"])
def test_accepted_input(row: dict[str, str]) -> None:
    assert (run(row) is None) == (row["argv"] not in REFUSED)
