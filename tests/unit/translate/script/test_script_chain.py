"""Scripts that submit others with --dependency, read as a chain."""

from __future__ import annotations

import pytest

from slurmsky.translate.script.script_chain import stages
from slurmsky.translate.shell.script_commands import parse


def chain(*lines: str) -> list[tuple[str, ...]]:
    return [stage.words for stage in stages(parse("#!/bin/bash\n" + "\n".join(lines) + "\n"))]


def test_a_chain_in_the_order_of_its_submissions() -> None:
    assert chain(
        "a=$(sbatch --parsable -J prep prep.sh 3)",
        "out=$(sbatch -d afterok:$a --mem=4G train.sh)",
        "b=${out##* }",
        'echo "submitted $b"',
        'sbatch --dependency="afterok:${a##* }:$b" eval.sh',
    ) == [("-J", "prep", "prep.sh", "3"), ("--mem=4G", "train.sh"), ("eval.sh",)]


def test_wrapped_commands_are_stages() -> None:
    assert chain("a=$(sbatch --parsable --wrap='echo 1')", "sbatch -dafterok:$a --wrap='echo 2'") == [
        ("--wrap=echo 1",),
        ("--wrap=echo 2",),
    ]


def test_an_id_may_be_cut_out_of_the_answer() -> None:
    assert len(chain("a=$(sbatch a.sh | awk '{print $4}')", "sbatch --dependency=afterok:$a b.sh")) == 2


@pytest.mark.parametrize(
    "lines",
    [
        ("sbatch a.sh", "sbatch b.sh"),
        ("a=$(sbatch --parsable a.sh)",),
        ("a=$(sbatch --parsable a.sh)", "sbatch -d afterany:$a b.sh"),
        ("a=$(sbatch --parsable a.sh)", "sbatch -d afterok:$a?afterok:$a b.sh"),
        ("a=$(sbatch --parsable a.sh)", "sbatch -d afterok:$other b.sh"),
        ("a=$(sbatch --parsable a.sh)", "sbatch -d afterok:123 b.sh"),
        ("a=$(sbatch --parsable a.sh)", "for i in 1 2; do sbatch -d afterok:$a b.sh $i; done"),
        ("a=$(sbatch --parsable a.sh)", "python prepare.py", "sbatch -d afterok:$a b.sh"),
        ("a=$(sbatch --parsable a.sh)", "sbatch -d afterok:$a $SCRIPT"),
        ("cd sub", "a=$(sbatch --parsable a.sh)", "sbatch -d afterok:$a b.sh"),
    ],
)
def test_what_a_pipeline_would_run_otherwise_is_no_chain(lines: tuple[str, ...]) -> None:
    assert chain(*lines) == []
