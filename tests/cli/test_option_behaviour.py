"""Every mapped option of sbatch, srun and salloc has an effect.

The effect is equal to Slurm's if Slurm has the option.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from local_engine import LocalEngine
from option_probes import GOLDEN, VALUES, seen

from slurmsky.options import table

pytestmark = pytest.mark.xdist_group("option_behaviour")

RECORDED: dict[str, dict[str, list[str]]] = json.loads(GOLDEN.read_text())

#: Options whose effect is no word of a record and no variable: where it is shown.
ELSEWHERE = {
    "account": "root's own account is the default; tests/unit/controller/test_limit_policy.py",
    "autocomplete": "prints the table's own words; tests/unit/options/test_table.py",
    "bcast": "tests/agent", "bcast-exclude": "tests/agent", "bell": "tests/family", "no-bell": "tests/family",
    "clusters": "there is one cluster",
    "container-*": "pyxis: tests/containers",
    "disable-status": "signals: tests/agent", "quit-on-interrupt": "signals: tests/agent",
    "immediate": "a deadline for the start: tests/unit/options", "quiet": "the probe has nothing to say",
    "external-launcher": "steps beside others: tests/agent", "chdir": "the folder of salloc is its caller's",
    "epilog": "tests/agent", "prolog": "tests/agent", "task-epilog": "tests/agent", "task-prolog": "tests/agent",
    "bbf": "the script: tests/unit/options/test_submit.py",
    "batch": "features of nodes: tests/family/test_resize.py", "prefer": "likewise",
    "error": "a file: tests/agent", "input": "a file: tests/agent",
    "output": "a file: tests/agent", "open-mode": "a file: tests/agent",
    "exact": "CPUs of a step beside others: tests/oracle (steps)", "overlap": "likewise", "whole": "likewise",
    "export": "variables of the job: tests/oracle (env)", "export-file": "likewise", "get-user-env": "likewise",
    "help": "prose of its own", "usage": "prose of its own",
    "het-group": "het jobs alone: tests/oracle (srun)",
    "hold": "the probe itself holds", "ignore-pbs": "directives: tests/unit/options/test_submit.py",
    "jobid": "tests/oracle (srun)", "kill-command": "signals: tests/family", "kill-on-bad-exit": "tests/agent",
    "label": "tests/agent", "licenses": "the probe's cluster has none; test_scheduling.py",
    "mem-bind": "memory of tasks: tests/agent", "mpi": "tests/mpi", "multi-prog": "tests/oracle (srun)",
    "no-kill": "a lost node: tests/robustness", "no-shell": "tests/family",
    "nodefile": "a file: tests/unit/options/test_submit.py", "overcommit": "placement: test_scheduling.py",
    "oom-kill-step": "memory of steps: tests/agent",
    "parsable": "the probe itself uses it", "preserve-env": "tests/agent",
    "priority": "start order: test_scheduling.py", "propagate": "limits of tasks: tests/agent",
    "pty": "terminals: tests/agent", "qos": "normal is the default",
    "requeue": "the default", "resv-ports": "refused, as without MpiParams", "send-libs": "tests/agent",
    "signal": "signals of jobs: tests/agent", "spread-job": "placement: test_scheduling.py",
    "unbuffered": "tests/agent", "use-min-nodes": "placement: test_scheduling.py", "wait": "tests/family",
    "wrap": "the probe itself uses it",
}  # fmt: skip

#: Options that the recorded 22.05 lacks, or whose words are prose: only that they change something is tested.
NOT_COMPARED = {"autocomplete", "help", "usage", "tres-bind", "tres-per-task"}

#: Options of which a word differs, and why.
KNOWN = {
    ("salloc", "ntasks-per-gpu"): "SLURM_NTASKS follows from the GPUs in 22.05's salloc",
    ("salloc", "ntasks-per-tres"): "likewise",
    ("srun", "ntasks-per-gpu"): "22.05 counts TresPerStep before it knows the tasks",
    ("srun", "ntasks-per-tres"): "likewise",
    ("srun", "cores-per-socket"): "ReqB:S:C:T of a job that srun makes",
    ("srun", "mem"): "with --mem srun leaves the layout to the controller, which 22.05 shows as Cyclic",
    ("srun", "mem-per-cpu"): "likewise",
    ("srun", "distribution"): "Dist= of the step alone",
    ("salloc", "deadline"): "the limit is cut to the minute in which the job starts",
    ("srun", "deadline"): "the limit is cut to the minute in which the job starts",
    ("srun", "verbose"): "lines on plugins",
    ("sbatch", "kill-on-invalid-dep"): "22.05 misspells the key",
}

#: Words of the recorded 22.05 that 25.11 has otherwise, or that only its site's plugins print.
_GONE = re.compile(r"^(Power|Gres|TRES|SLURM_TOPOLOGY_\w+|SLURM_WORKING_CLUSTER|SLURM_STEP_RESV_PORTS|NtasksPerTRES)=")


def wanted() -> dict[str, list[str]]:
    return {
        command: sorted({option.long for option in table.load(command).options
                         if option.policy in ("mapped", "agent") and not option.same_as and option.long in VALUES})
        for command in RECORDED
    }  # fmt: skip


def _newer(word: str) -> str:
    """A word of 22.05 in 25.11's spelling."""
    word = re.sub(r"\bgres:gpu|(?<=TresBind=)gpu(?=:)", "gres/gpu", word)
    return re.sub(r"^(TresPerTask=gres/gpu):", r"\1=", word)


@pytest.fixture(scope="module")
def ours(engine: LocalEngine) -> dict[str, dict[str, list[str]]]:
    def run(line: str, folder: Path) -> str:
        try:
            done = engine.run(f"({line}) 2>&1 </dev/null", cwd=folder)
        except subprocess.TimeoutExpired:
            return "no end"
        return done.stdout

    return seen(run, wanted())


def test_every_option_is_probed_or_listed() -> None:
    for command in RECORDED:
        for option in table.load(command).options:
            if option.policy in ("mapped", "agent") and not option.same_as and option.long and not option.hidden:
                named = option.long in VALUES or option.long in ELSEWHERE
                assert named or "container" in option.long, f"{command} --{option.long}"


@pytest.mark.parametrize("command", sorted(RECORDED))
def test_options_show_what_they_show_in_slurm(command: str, ours: dict[str, dict[str, list[str]]]) -> None:
    wrong = {}
    for name, theirs in RECORDED[command].items():
        if name in NOT_COMPARED or (command, name) in KNOWN:
            continue
        words = {_newer(word) for word in theirs if "=" in word and not _GONE.match(word)}
        missing = words - set(ours[command][name])
        if missing:
            wrong[name] = (sorted(missing), ours[command][name])
    assert wrong == {}


@pytest.mark.parametrize("command", sorted(RECORDED))
def test_options_change_something(command: str, ours: dict[str, dict[str, list[str]]]) -> None:
    assert [name for name, words in ours[command].items() if not words and name not in ELSEWHERE] == []
