"""Directives that only another release or site's sbatch knows."""

from __future__ import annotations

from slurmsky.translate.script.unknown_directives import without_unknown


def test_an_older_name_becomes_todays() -> None:
    data = b"#!/bin/sh\n#SBATCH -n 1 --workdir=/a/b\n./x\n"
    found = without_unknown(data, "sbatch: unrecognized option '--workdir=/a/b'")
    assert found is not None
    assert found[0] == b"#!/bin/sh\n#SBATCH -n 1 --chdir=/a/b\n./x\n"
    assert (found[1].line, found[1].text, found[1].why) == (2, "--workdir=/a/b", "Slurm calls it --chdir")


def test_an_option_of_a_plug_in_is_left_out_with_its_value() -> None:
    data = b"#!/bin/sh\n#SBATCH --image x:1 -n 2\n#SBATCH --image=y\n"
    found = without_unknown(data, "sbatch: unrecognized option '--image'")
    assert found is not None and found[0] == b"#!/bin/sh\n#SBATCH  -n 2\n#SBATCH --image=y\n"
    assert found[1].text == "--image x:1"


def test_other_refusals_and_options_of_the_command_line_stay() -> None:
    assert without_unknown(b"#SBATCH -N x\n", 'sbatch: error: "x" is not a valid node count') is None
    assert without_unknown(b"#SBATCH -N 1\n", "sbatch: unrecognized option '--mine'") is None


def test_a_placeholder_is_left_out_with_its_line() -> None:
    data = b"#!/bin/sh\n#SBATCH -A [your account]\n#SBATCH --mem=<MEM>\n./x\n"
    found = without_unknown(data, "sbatch: error: Invalid directive found in batch script: account]")
    assert found is not None and found[0] == b"#!/bin/sh\n#\n#SBATCH --mem=<MEM>\n./x\n"
    assert (found[1].line, found[1].text) == (2, "#SBATCH -A [your account]")
    found = without_unknown(found[0], "sbatch: error: Invalid --mem specification")
    assert found is not None and found[0] == b"#!/bin/sh\n#\n#\n./x\n"


def test_directives_that_only_the_others_or_the_queue_forbid_do_not_end_a_translation() -> None:
    data = b"#!/bin/sh\n#SBATCH --gpus-per-task=rtx8000:1\n#SBATCH --cpus-per-gpu=1\n./x\n"
    why = "sbatch: fatal: --cpus-per-task, --tres-per-task=cpu:#, and --cpus-per-gpu are mutually exclusive"
    found = without_unknown(data, why)
    assert found is not None and b"cpus-per-gpu" not in found[0]
    text = (
        "sbatch: error: Failed to validate job spec. --gpus-per-task or --tres-per-task used without either --gpus or "
        "-n/--ntasks is"
    )
    found = without_unknown(data, f"{text} not allowed.")
    assert found is not None and b"#SBATCH --gpus-per-node=rtx8000:1\n" in found[0]
    assert found[1].why == "sbatch refuses it with the other directives: read as --gpus-per-node"
