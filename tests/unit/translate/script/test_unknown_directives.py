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
