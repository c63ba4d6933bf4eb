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

TESTS = Path(__file__).parents[1]

pytestmark = pytest.mark.xdist_group("option_behaviour")

RECORDED: dict[str, dict[str, list[str]]] = json.loads(GOLDEN.read_text())

#: Options whose effect is no word of a record and no variable: the test of the effect, and how it spells the option
#: if not by its long name.
ELSEWHERE = {
    "account": ("unit/controller/test_limit_policy.py", "account"), "autocomplete": ("family/test_pages.py",),
    "batch": ("family/test_resize.py",), "prefer": ("family/test_resize.py",),
    "bbf": ("unit/options/test_submit_steps.py",),
    "bcast": ("agent/test_srun_aside.py",), "bcast-exclude": ("agent/test_srun_aside.py",),
    "bell": ("family/test_honoured.py",), "no-bell": ("family/test_honoured.py",),
    "chdir": ("oracle/step_requests.py",), "clusters": ("oracle/query_requests.py",),
    "disable-status": ("agent/test_srun_signals.py",), "quit-on-interrupt": ("agent/test_srun_signals.py",),
    "epilog": ("agent/test_srun_aside.py",), "prolog": ("agent/test_srun_aside.py",),
    "task-epilog": ("agent/test_srun_aside.py",), "task-prolog": ("agent/test_srun_aside.py",),
    "error": ("callers/lines.py",), "input": ("oracle/cases_srun.py",), "output": ("callers/lines.py",),
    "open-mode": ("oracle/cases_srun.py",),
    "exact": ("oracle/cases_srun.py",), "overlap": ("oracle/cases_srun.py",), "whole": ("oracle/cases_srun.py",),
    "export": ("oracle/cases_env.py",), "export-file": ("family/test_honoured.py",),
    "external-launcher": ("agent/test_srun.py",), "get-user-env": ("callers/lines.py",),
    "help": ("unit/options/test_submit.py",), "usage": ("unit/options/test_submit.py",),
    "het-group": ("oracle/cases_env.py",), "hold": ("cli/test_why.py",),
    "ignore-pbs": ("family/test_honoured.py",), "immediate": ("oracle/cases_srun.py",),
    "jobid": ("oracle/cases_srun.py",), "kill-command": ("oracle/cases_srun.py", "salloc -K"),
    "kill-on-bad-exit": ("oracle/cases_srun.py",), "label": ("oracle/cases_srun.py", "-l "),
    "licenses": ("unit/controller/schedule/test_scheduling.py", "licenses"), "mem-bind": ("agent/test_binding.py",),
    "mpi": ("mpi/test_pmix.py",), "multi-prog": ("oracle/cases_srun.py",),
    "no-kill": ("robustness/test_agent_killed.py", "-k"), "no-shell": ("oracle/cases_srun.py",),
    "nodefile": ("robustness/test_blocked_submits.py",), "oom-kill-step": ("agent/test_memory.py",),
    "overcommit": ("oracle/cases_srun.py", "srun -n7 -O"), "parsable": ("family/test_family.py",),
    "preserve-env": ("oracle/cases_srun.py", "srun -E"), "priority": ("oracle/cases_show.py",),
    "propagate": ("oracle/cases_srun.py",), "pty": ("agent/test_srun_signals.py",),
    "qos": ("engines/test_warm_rules.py",), "quiet": ("oracle/cases_srun.py",),
    "requeue": ("robustness/test_kills.py",), "resv-ports": ("oracle/cases_srun.py",),
    "send-libs": ("agent/test_srun_aside.py",), "signal": ("oracle/cases_show.py",),
    "slurmd-debug": ("unit/agent/srun/test_daemon_messages.py",),
    "spread-job": ("oracle/cases_show.py",), "unbuffered": ("oracle/cases_srun.py",),
    "use-min-nodes": ("oracle/cases_show.py",), "wait": ("cli/test_why.py",), "wrap": ("cli/test_why.py",),
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
_GONE = re.compile(
    r"^(StdErr|Power|Gres|TRES|SLURM_TOPOLOGY_\w+|SLURM_WORKING_CLUSTER|SLURM_STEP_RESV_PORTS|NtasksPerTRES)="
)


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


@pytest.mark.parametrize("name", ELSEWHERE)
def test_options_without_a_word_of_a_record_have_a_test_of_their_own(name: str) -> None:
    file, *spelling = ELSEWHERE[name]
    words = spelling[0] if spelling else f"--{name}"
    assert re.search(rf"{re.escape(words)}(?![\w-])", (TESTS / file).read_text()), f"{words} is not in tests/{file}"


@pytest.mark.parametrize("command", sorted(RECORDED))
def test_options_show_what_they_show_in_slurm(command: str, ours: dict[str, dict[str, list[str]]]) -> None:
    wrong = {}
    for name, theirs in RECORDED[command].items():
        if name in NOT_COMPARED or (command, name) in KNOWN:
            continue
        words = {_newer(word) for word in theirs if "=" in word and not _GONE.match(word)}
        missing = (
            words
            - {re.sub(r"^(NumNodes=\d+)-\d+$", r"\1", word) for word in ours[command][name]}
            - set(ours[command][name])
        )
        if missing:
            wrong[name] = (sorted(missing), ours[command][name])
    assert wrong == {}


@pytest.mark.parametrize("command", sorted(RECORDED))
def test_options_change_something(command: str, ours: dict[str, dict[str, list[str]]]) -> None:
    assert [name for name, words in ours[command].items() if not words and name not in ELSEWHERE] == []
