"""Rules of the option table:

Every reader, field and policy it names exists, and options without effect state the reason.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tables import every

from slurmsky.model.spec import JobSpec
from slurmsky.model.step_spec import StepSpec
from slurmsky.options import filters, help, query, requests, submit, table, values  # noqa: F401
from slurmsky.options.table import Option

ALL = [option for command in table.COMMANDS for option in table.every(command)]
REQUESTS = {
    "sbatch": (JobSpec, submit.SubmitFlags),
    "salloc": (JobSpec, submit.SubmitFlags),
    "srun": (JobSpec, StepSpec, submit.SubmitFlags),
    "squeue": (requests.SqueueQuery,),
    "scancel": (requests.ScancelQuery,),
    "sinfo": (requests.SinfoQuery,),
    "sacct": (requests.SacctQuery,),
    "scontrol": (requests.ScontrolQuery,),
    "sattach": (requests.SattachQuery,),
    "sbcast": (requests.SbcastQuery,),
    "sstat": (requests.SstatQuery,),
}


def name(option: Option) -> str:
    return f"{option.command}-{option.long or option.env}"


def test_every_command_has_its_options() -> None:
    assert len(ALL) == 673
    assert {command: len(table.every(command)) for command in ("sbatch", "srun", "sacct")} == {
        "sbatch": 141,
        "srun": 170,
        "sacct": 60,
    }


@every("option", ALL, name)
def test_row(option: Option) -> None:
    assert option.argument in ("none", "required", "optional")
    assert option.policy in table.POLICIES
    assert bool(option.why) == (option.policy not in ("mapped", "agent"))
    if option.later or not option.reader:
        return
    assert option.reader in values.READERS
    known = {entry.name for record in REQUESTS[option.command] for entry in dataclasses.fields(record)}
    assert set(filter(None, option.field.split(","))) <= known
    if option.same_as:
        other = table.load(option.command).longs[option.same_as]
        assert (other.field, other.reader, other.argument) == (option.field, option.reader, option.argument)


@pytest.mark.parametrize("command", table.COMMANDS)
def test_letters_are_unique(command: str) -> None:
    letters = [option.short for option in table.load(command).options if option.short and not option.same_as]
    assert len(letters) == len(set(letters))


def test_unknown_command() -> None:
    with pytest.raises(KeyError):
        table.load("sbogus")


def test_find() -> None:
    sbatch = table.load("sbatch")
    assert sbatch.find("--time") is sbatch.find("-t") is sbatch.find("t")
    assert sbatch.find("--bogus") is None


@pytest.mark.parametrize("command", table.COMMANDS)
def test_help_names_every_option(command: str) -> None:
    loaded = table.load(command)
    text = help.help_text(loaded)
    for option in loaded.options:
        if not option.hidden and not option.same_as:
            # Slurm's own help abbreviates some: --job=job(s) for --jobs.
            assert f"--{option.long}" in text or re.search(rf"--{option.long[:3]}\S*=", text)
    assert max(map(len, text.splitlines()[1:])) <= 100
    usage = help.usage_text(loaded)
    assert re.match(rf"(Usage: )?{command} ", usage)
    assert max(map(len, usage.splitlines())) <= 100


def test_help_of_strigger_begins_with_what_it_does_to_triggers() -> None:
    lines = help.help_text(table.load("strigger")).splitlines()
    assert [" ".join(line.split()) for line in lines[1:4]] == [
        "--set create a trigger", "--get get trigger information", "--clear delete a trigger"
    ]  # fmt: skip
    spelled = {line.split("  ")[1].strip() for line in lines if line.startswith("  -")}
    assert {"-j, --jobid=#", "-n, --node[=host]", "-o, --offset=#", "-p, --program=path"} <= spelled


def test_version() -> None:
    assert help.version_text() == "slurm 25.11.8\n"


def test_completions() -> None:
    srun = table.load("srun")
    assert help.completions(srun, "--mem-p").split() == ["--mem-per-cpu=", "--mem-per-gpu="]
    assert help.completions(srun, "--hint=mem").split() == ["memory_bound"]
    assert "--hold" in help.completion_words("sbatch")
    assert "-N" in help.completion_words("sbatch")


def test_the_table_loads_from_an_archive(tmp_path: Path) -> None:
    """Agents on cloud nodes run from one .pyz."""
    package = Path(table.__file__).parents[1]
    archive = tmp_path / "agent.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(package / "__init__.py", "slurmsky/__init__.py")
        for folder in ("model", "options"):
            for path in (package / folder).iterdir():
                if path.suffix in (".py", ".csv"):
                    file.write(path, f"slurmsky/{folder}/{path.name}")
    code = "from slurmsky.options import table; print(len(table.load('srun').options), table.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = [{str(archive)!r}]; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    count, where = done.stdout.split()
    assert int(count) == len(table.load("srun").options)
    assert where.startswith(str(archive))
