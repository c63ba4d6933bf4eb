"""Manual pages and completion, made from the option table."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from local_engine import LocalEngine

from slurmsky.commands.slurmsky import completion_command
from slurmsky.options import completion, completion_fish, manual, table

MAN = Path(__file__).resolve().parents[2] / "docs" / "man"


def test_every_command_has_its_page() -> None:
    assert {path.name: path.read_text() for path in MAN.glob("*.1")} == manual.pages()


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
@pytest.mark.parametrize("name", manual.pages())
def test_pages_are_good_man(name: str) -> None:
    text = manual.pages()[name].encode()
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", "-P-c"], input=text, capture_output=True, check=True)
    assert not done.stderr
    plain = re.sub(".\b", "", done.stdout.decode())  # bold is printed twice
    for option in table.load(name.removesuffix(".1")).options:
        if not option.hidden and not option.same_as:
            assert f"--{option.long}" in plain


def complete(engine: LocalEngine, line: str) -> list[str]:
    """Completions of a line.

    COMP_WORDS is as in readline, with "=" and ":" as separate words.
    """
    program = r"""
    source /dev/stdin
    line=$1 COMP_WORDS=() word=
    for ((at = 0; at < ${#line}; at++)); do
        char=${line:at:1}
        case $char in
        ' ') COMP_WORDS+=("$word") word= ;;
        [=:]) [[ $word ]] && COMP_WORDS+=("$word"); COMP_WORDS+=("$char") word= ;;
        *) word+=$char ;;
        esac
    done
    [[ $word || $char != [=:] ]] && COMP_WORDS+=("$word")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _slurmsky "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    printf '%s\n' "${COMPREPLY[@]}"
    """
    done = engine.run(["bash", "-c", program, "bash", line], stdin=completion.bash(completion_command.OWN_WORDS))
    assert done.returncode == 0, done
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sbatch --arr", ["--array="]),
        ("sbatch --no-r", ["--no-requeue"]),
        ("sbatch --open-mode=", ["append", "truncate"]),
        ("sbatch --open-mode=t", ["truncate"]),
        ("sbatch --partition=", ["debug", "gpu"]),
        ("sbatch -p g", ["gpu"]),
        ("sbatch --partition debug,g", ["debug,gpu"]),
        ("srun -w n", ["n1", "n2", "n3", "n4"]),
        ("squeue -t PEN", ["PENDING"]),
        ("scontrol sh", ["show", "shutdown"]),
        ("scontrol show no", ["node"]),
        ("sacctmgr show q", ["qos"]),
        ("sreport user T", ["TopUsage"]),
        ("strigger --dra", ["--drained", "--draining"]),
        ("sbatch --dependency=sing", ["singleton"]),
        ("sbatch --qos=", ["normal"]),
        ("sbatch -A ", ["root"]),
        ("srun --mpi=pmi", ["pmi2", "pmix"]),
        ("scancel --signal=US", ["USR1", "USR2"]),
        ("sacct -o jobid,JobNa", ["jobid,JobName"]),
        ("squeue -O TimeL", ["TimeLeft", "TimeLimit"]),
        ("sinfo --Format=NodeA", ["NodeAI", "NodeAIOT", "NodeAddr"]),
        ("sstat --format AveC", ["AveCPU", "AveCPUFreq"]),
        ("scontrol show partition g", ["gpu"]),
        ("scontrol show node n", ["n1", "n2", "n3", "n4"]),
        ("scontrol update nodename=n", ["n1", "n2", "n3", "n4"]),
        ("scontrol update NodeName=n", ["n1", "n2", "n3", "n4"]),
        ("scontrol write b", ["batch_script"]),
        ("scontrol update nodename=n1 State=DR", ["DRAIN"]),
        ("scontrol update jobid=7 Time", ["TimeLimit=", "TimeMin="]),
        ("scontrol update jobid=7 Partition=", ["debug", "gpu"]),
        ("squeue --json=v0.0.4", ["v0.0.41", "v0.0.42", "v0.0.43", "v0.0.44"]),
        ("slurmsky re", ["report"]),
        ("slurmsky site ", ["check", "init"]),
    ],
)
def test_completion(line: str, offered: list[str], engine: LocalEngine) -> None:
    assert sorted(complete(engine, line)) == offered


def test_job_ids_are_completed(engine: LocalEngine) -> None:
    number = engine.run("sbatch --parsable -H --wrap true").stdout.strip()
    lines = ("scancel ", "scontrol release ", "scontrol update JobId=", "squeue -j ", "sbatch --dependency=afterok:",
             "sbatch -d afterok:7:", "slurmsky why ", "slurmsky tunnel ", "scontrol write batch_script ")  # fmt: skip
    for line in lines:
        assert number in complete(engine, line), line
    program = engine.root / "offer.zsh"
    program.write_text(_OFFER)
    (engine.root / "completion.zsh").write_text(completion.zsh(OWN))
    shells = {
        "zsh": ["-f", str(program), "completion.zsh"],
        "fish": ["--no-config", "-c", "source -; complete -C$argv[1] | string replace -r '.*=' ''"],
    }
    present = {shell: argv for shell, argv in shells.items() if shutil.which(shell)}
    for line in ("slurmsky report ", "scontrol update JobId=", "scontrol requeue "):
        for shell, argv in present.items():
            offered = engine.run([shell, *argv, line], stdin=completion_fish.fish(OWN)).stdout.split()
            assert number in offered, (shell, line)
    engine.run(["scancel", number])


def test_jobs_that_have_ended_are_completed(engine: LocalEngine) -> None:
    number = engine.run("sbatch --parsable --wait -o /dev/null --wrap true").stdout.strip()
    for line in ("seff ", "sacct -j ", "slurmsky why "):
        assert number in complete(engine, line), line
    assert number not in complete(engine, "scancel ")


@pytest.mark.parametrize("command", completion.ALL)
def test_autocomplete(command: str, engine: LocalEngine) -> None:
    if command == "seff":
        return  # Perl's, has no --autocomplete
    words = engine.run([command, "--autocomplete=--ver"]).stdout.split()
    assert words == [f"--{option.long}" for option in table.load(command).options
                     if option.long.startswith("ver") and not option.hidden]  # fmt: skip


OWN = completion_command.OWN_WORDS


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("slurmsky exp", ["explain"]),
        ("slurmsky why --", ["--json", "--help"]),
        ("slurmsky completion ", ["bash", "zsh", "fish"]),
        ("slurmsky site ", ["check", "init"]),
        ("slurmsky help cl", ["clean"]),
    ],
)
def test_bash_completes_the_words_of_slurmsky(engine: LocalEngine, line: str, offered: list[str]) -> None:
    assert sorted(complete(engine, line)) == sorted(offered)


FISH = [
    ("sbatch --arr", "--array"),
    ("sbatch --open-mode=t", "--open-mode=truncate"),
    ("sbatch --partition=g", "--partition=gpu"),
    ("sbatch -p ", "gpu"),
    ("scontrol sh", "show"),
    ("scontrol show no", "node"),
    ("slurmsky exp", "explain"),
    ("slurmsky why --js", "--json"),
    ("slurmsky completion f", "fish"),
    ("squeue -t PEN", "PENDING"),
    ("squeue -t ", "PENDING"),
    ("sacct --format=State,jobna", "--format=State,jobname"),
]


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(("line", "offered"), FISH)
def test_fish_completes(engine: LocalEngine, line: str, offered: str) -> None:
    script = completion_fish.fish(OWN)
    done = engine.run(["fish", "--no-config", "-c", "source -; complete -C$argv[1]", line], stdin=script)
    assert done.returncode == 0, done
    assert offered in [found.split("\t")[0] for found in done.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_the_zsh_script_is_read_and_defines_all_commands(engine: LocalEngine, tmp_path: Path) -> None:
    script = tmp_path / "completion.zsh"
    script.write_text(completion.zsh(OWN))
    program = f"autoload -U compinit; compinit -u -D; source {script}; print -r -- ${{(k)_comps[(R)_slurmsky]}}"
    done = engine.run(["zsh", "-f", "-c", program])
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == {*completion.ALL, "slurmsky"}


ZSH = [
    ("sbatch --arr", ["--array="]),
    ("sbatch --open-mode=", ["append", "truncate"]),
    ("sbatch --partition=", ["debug", "gpu"]),
    ("sbatch -p g", ["gpu"]),
    ("scontrol show no", ["node"]),
    ("scontrol sh", ["show", "shutdown"]),
    ("slurmsky exp", ["explain"]),
    ("slurmsky site ", ["check", "init"]),
    ("slurmsky completion ", ["bash", "zsh", "fish"]),
    ("squeue -t PEN", ["PENDING"]),
]
#: compadd and _sequence as functions that print what would be offered, in place of those of a completion widget
_OFFER = r"""
compadd() {
    while [[ $1 == -* && $1 != - ]]; do [[ $1 == -[SM] ]] && shift; shift; done; [[ $1 == - ]] && shift
    print -rl -- ${(M)@:#${PREFIX}*} }
_sequence() { shift; compadd "$@" }
compset() { [[ $1 == -P ]] && PREFIX=${PREFIX##${~2}} }
compdef() { : }
_files() { : }
source $1
words=(${(z)2}); [[ $2 == *\  ]] && words+=("")
CURRENT=$#words PREFIX=$words[-1]
_slurmsky
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(("line", "offered"), ZSH)
def test_zsh_completes(engine: LocalEngine, tmp_path: Path, line: str, offered: list[str]) -> None:
    script, program = tmp_path / "completion.zsh", tmp_path / "offer.zsh"
    script.write_text(completion.zsh(OWN))
    program.write_text(_OFFER)
    done = engine.run(["zsh", "-f", str(program), str(script), line])
    assert (done.returncode, done.stderr) == (0, ""), done
    assert sorted(done.stdout.split()) == sorted(offered)
