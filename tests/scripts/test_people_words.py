"""Reviewed output of explain and translate for the scripts of people/; sbatch accepts what explain accepts."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest
from tables import every

sys.path.insert(0, str(Path(__file__).resolve().parent))

import moving

from slurmsky.options.usage_errors import CommandError
from slurmsky.site import load
from slurmsky.translate.explain.explain_text import page_text
from slurmsky.translate.sky_task.translation_notes import Refused

HERE = Path(__file__).parent
SNAPSHOTS = HERE / "snapshots" / "people"
PEOPLE = sorted(path for path in (HERE / "people").iterdir() if path.is_file() and path.name != "activate.sh")
EXAMPLES = moving.scripts(HERE.parents[1] / "examples" / "sbatch")
OPEN = load("", "none")


def _same(path: Path, text: str) -> None:
    if os.environ.get("SLURMSKY_BLESS"):
        path.write_text(text)
    assert path.read_text() == text, f"read the difference, then SLURMSKY_BLESS=1 writes {path.name}"


@pytest.mark.parametrize("script", PEOPLE, ids=lambda path: path.name)
def test_explained_and_translated_without_a_site_file(script: Path) -> None:
    data = script.read_bytes()
    _same(SNAPSHOTS / f"{script.name}.explain.txt", page_text(moving.explained(data, OPEN, script.name)))
    try:
        yaml = moving.exported(data, OPEN, script.name).yaml
    except Refused as error:
        yaml = f"{error} ({error.hint})\n"
    _same(SNAPSHOTS / f"{script.name}.yaml", yaml)


@every("script, engine", itertools.product([*PEOPLE, *EXAMPLES], ["local", "sky"]))
def test_sbatch_accepts_what_explain_accepts(script: Path, engine: str) -> None:
    data = script.read_bytes()
    page = moving.explained(data, OPEN, script.name, engine)
    try:
        moving.request(data, script.name)
        refused = False
    except CommandError:
        refused = True
    assert refused == bool(page.refusal)
    assert not (page.unchanged and refused)
