"""The pages agree with the code: generated parts, links, site files, messages."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import slurmsky
from slurmsky.site import MachineHardware, load, schema

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
MACHINE = MachineHardware("host.example", 8)


def test_the_coverage_table_is_what_the_option_table_says() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "docs", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_a_target(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[\w-]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([\w-]+)\)", page.read_text()):
        text = (page.parent / target if target else page).read_text()
        heads = {re.sub(r"[^\w-]", "", head.lower().replace(" ", "-")) for head in re.findall(r"(?m)^#+ (.*)$", text)}
        assert anchor in heads, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_site_files_in_pages_can_be_read(page: Path) -> None:
    for number, text in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)):
        assert load(text, f"{page.name}:{number}", MACHINE).cluster.partitions


@pytest.mark.parametrize("file", sorted((ROOT / "examples" / "site").glob("*.toml")), ids=lambda file: file.name)
def test_example_site_files_can_be_read(file: Path) -> None:
    site = load(file.read_text(), str(file), MACHINE)
    assert site.cluster.partitions


SOURCES = sorted((ROOT / "slurmsky").rglob("*.py"))
#: other programs' files
FOREIGN = ("/etc/", "src/", "data/NAME", "slurmsky.toml")


@pytest.mark.parametrize("page", [*PAGES, *SOURCES], ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_text_names_exist(page: Path) -> None:
    """Every file of ours that a page or a docstring names exists, by its path or the end of it."""
    for path in re.findall(r"`{1,2}([\w./-]+\.(?:py|csv|toml|md|lark))`", page.read_text()):
        if not path.startswith(FOREIGN):
            assert any(name.endswith("/" + path) for name in _files()), path


@cache
def _files() -> frozenset[str]:
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*"))
    return frozenset(f"/{path.relative_to(ROOT)}" for path in (*found, *ROOT.glob("*.*")))


FOLDERS = ("slurmsky", "tests", "docs", "grammar", "examples", "bench")


def test_the_reference_of_the_site_file_has_every_key() -> None:
    tables = {"top": schema.TOP, "shape": schema.SHAPE, "free": schema.FREE, **schema.TABLES, **schema.LISTS}
    with (ROOT / "docs" / "site_keys.csv").open(newline="") as file:
        rows = [(row["table"], row["key"]) for row in csv.DictReader(file) if row["value"] and row["meaning"]]
    assert sorted(rows) == sorted((table, key) for table, keys in tables.items() for key in keys)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("slurmsky/report/data/job_fields.csv", "value,scope,squeue,sacct,json,scontrol"),
        ("slurmsky/report/fields/job_values.py", "_OF_JOB: "),
        ("slurmsky/report/fields/job_values.py", "_IN_CONTEXT: "),
        ("slurmsky/report/text/show_job.py", "_LAYOUT = "),
        ("slurmsky/report/fields/squeue_fields.py", "def _row_values("),
        ("slurmsky/report/fields/squeue_fields.py", "def _step_values("),
        ("slurmsky/report/fields/sacct_fields.py", "def _texts("),
        ("slurmsky/report/fields/sacct_fields.py", "OWN_FIELDS = "),
        ("slurmsky/translate/sky_task/option_support.py", "TASK = "),
        ("slurmsky/engines/base.py", "class Engine("),
        ("slurmsky/commands/sdiag.py", "def main("),
    ],
)
def test_names_of_the_recipes_exist(file: str, name: str) -> None:
    assert name in (ROOT / file).read_text()


def test_messages_of_the_troubleshooting_page_exist() -> None:
    source = "".join(
        path.read_text(errors="replace")
        for path in (ROOT / "slurmsky").rglob("*")
        if path.suffix in (".py", ".bash", "") and path.is_file()
    )
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    for message in re.findall(r"^\| `([^`]+)`", page, re.MULTILINE):
        words = re.split(r"\.\.\.|[A-Z]{4,}(?::[A-Z:]+)?|: ", message.replace(r"(\r\n)", ""))
        longest = max(words, key=len).strip()
        assert longest in source, message


def test_the_changelog_has_a_section_for_the_release_and_one_above_it() -> None:
    heads = re.findall(r"(?m)^## (.*)$", (ROOT / "CHANGELOG.md").read_text())
    assert heads[0] == "Unreleased" and heads[1].split()[0] == slurmsky.__version__
