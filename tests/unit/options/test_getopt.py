"""getopt_long's rules and messages. Golden: the recorded answers of sbatch, squeue and sacct."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.model.spec import DeclaredOption
from slurmsky.options import table
from slurmsky.options.getopt import split

SBATCH = table.load("sbatch")
Pairs = list[tuple[str, str | None]]


def pairs(command: str, *words: str, permute: bool = False) -> tuple[Pairs, tuple[str, ...]]:
    found = split(table.load(command), words, permute)
    assert found.fault is None
    return [(option.long, text) for option, text in found.found], found.rest


@pytest.mark.parametrize(
    ("words", "options", "rest"),
    [
        ((), [], ()),
        (("-n3", "job.sh"), [("ntasks", "3")], ("job.sh",)),
        (("-n", "3"), [("ntasks", "3")], ()),
        (("-n", "--hold"), [("ntasks", "--hold")], ()),  # a required value takes the next word
        (("--ntasks=3",), [("ntasks", "3")], ()),
        (("--ntasks", "3"), [("ntasks", "3")], ()),
        (("--ntasks=",), [("ntasks", "")], ()),
        (("--job=a=b",), [("job-name", "a=b")], ()),  # a unique beginning
        (("-HOJname",), [("hold", None), ("overcommit", None), ("job-name", "name")], ()),
        (("--nice", "5"), [("nice", None)], ("5",)),  # an optional value must be glued
        (("--nice=5",), [("nice", "5")], ()),
        (("-k", "x"), [("no-kill", None)], ("x",)),
        (("-koff",), [("no-kill", "off")], ()),
        (("job.sh", "-n3"), [], ("job.sh", "-n3")),  # stops at the first operand
        (("--", "-n3"), [], ("-n3",)),
        (("-H", "--", "job.sh", "--"), [("hold", None)], ("job.sh", "--")),
        (("-", "-n3"), [], ("-", "-n3")),
        (("--tasks-per-node=2",), [("tasks-per-node", "2")], ()),
        (("--clust=a",), [], None),  # cluster, clusters, cluster-constraint
        (("--cluster=a",), [("cluster", "a")], ()),
    ],
)
def test_words(words: tuple[str, ...], options: Pairs, rest: tuple[str, ...] | None) -> None:
    if rest is None:
        assert split(SBATCH, words).fault is not None
    else:
        assert pairs("sbatch", *words) == (options, rest)


def test_spellings_of_one_option_are_not_ambiguous() -> None:
    assert pairs("squeue", "--clus=x") == ([("cluster", "x")], ())
    assert pairs("squeue", "--user=x") == ([("user", "x")], ())
    assert pairs("srun", "--cpu_b=none") == ([("cpu_bind", "none")], ())


def test_operands_between_options_where_getopt_permutes() -> None:
    assert pairs("scancel", "5", "-v", "6", permute=True) == ([("verbose", None)], ("5", "6"))
    assert pairs("scancel", "5", "--", "-v", permute=True) == ([], ("5", "-v"))


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("sbatch", ("--bogus",), "unrecognized option '--bogus'"),
        ("sbatch", ("--no-such=3",), "unrecognized option '--no-such=3'"),
        ("sbatch", ("-Y",), "invalid option -- 'Y'"),
        ("sbatch", ("-HY",), "invalid option -- 'Y'"),
        ("sbatch", ("-t",), "option requires an argument -- 't'"),
        ("sbatch", ("--wrap",), "option '--wrap' requires an argument"),
        ("sbatch", ("--hold=1",), "option '--hold' doesn't allow an argument"),
        ("sbatch", ("--ho=1",), "option '--hold' doesn't allow an argument"),
        (
            "sbatch",
            ("--nod=1",),
            "option '--nod=1' is ambiguous; possibilities: '--nodefile' '--nodelist' '--nodes'",
        ),
        (
            "sbatch",
            ("--mem-per=1",),
            "option '--mem-per=1' is ambiguous; possibilities: '--mem-per-cpu' '--mem-per-gpu'",
        ),
        ("sbatch", ("--runtime=x",), "unrecognized option '--runtime=x'"),  # came with 26.11
        ("squeue", ("-Z",), "invalid option -- 'Z'"),
    ],
)
def test_faults(command: str, words: tuple[str, ...], message: str) -> None:
    fault = split(table.load(command), words).fault
    assert fault is not None
    assert fault.lines == (f"{command}: {message}", f'Try "{command} --help" for more information')
    assert fault.exit_code == (255 if command == "sbatch" else 1)


def test_sacct_and_sstat_do_not_suggest_help() -> None:
    for command in ("sacct", "sstat"):
        fault = split(table.load(command), ["--bogus"]).fault
        assert fault is not None
        assert fault.lines == (f"{command}: unrecognized option '--bogus'",)


def test_words_before_a_fault_are_kept() -> None:
    found = split(SBATCH, ["-H", "--bogus", "-O"])
    assert [option.long for option, _ in found.found] == ["hold"]
    assert found.fault is not None


def test_site_options_are_options() -> None:
    mine = SBATCH.with_site_options([DeclaredOption("my-tool", "optional"), DeclaredOption("mem", "none")])
    assert mine.longs["my-tool"].field == "site_options"
    assert mine.longs["mem"].argument == "required"  # Slurm's names stay Slurm's
    assert split(mine, ["--my-t=5"]).found[0].text == "5"


@given(
    st.lists(st.text("-=nNHk a1:xmet", max_size=8), max_size=6),
    st.sampled_from(table.COMMANDS),
    st.booleans(),
)
def test_words_are_options_or_rest_or_a_fault(words: list[str], command: str, permute: bool) -> None:
    found = split(table.load(command), words, permute)
    assert all(word in words for word in found.rest)
    if found.fault is None and not permute:
        assert found.rest == tuple(words[len(words) - len(found.rest) :])
