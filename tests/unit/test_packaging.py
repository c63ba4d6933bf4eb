"""The wheel, the console scripts, bin/ and slurmsky/commands/ name the same commands."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = ROOT / "bin"
COMMANDS = sorted(
    path.stem for path in (ROOT / "slurmsky" / "commands").glob("*.py") if not path.stem.startswith("_")
)


def scripts() -> dict[str, str]:
    """The [project.scripts] table (Python 3.10 has no TOML reader)."""
    text = (ROOT / "pyproject.toml").read_text()
    table = text.split("[project.scripts]\n", 1)[1].split("\n[", 1)[0]
    return dict(re.findall(r'^(\w+) = "([^"]+)"$', table, re.MULTILINE))


def test_console_scripts_and_launchers_agree() -> None:
    assert sorted(scripts()) == sorted(path.name for path in BIN.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_launcher(name: str) -> None:
    assert name in scripts()


def test_every_launcher_has_a_command() -> None:
    missing = sorted(set(scripts()) - set(COMMANDS))
    assert not missing


@pytest.mark.parametrize("path", sorted(BIN.iterdir()), ids=lambda path: path.name)
def test_launchers_are_one_script(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert path.name == "slurmsky" or os.readlink(path) == "slurmsky"


def test_console_scripts_are_the_client() -> None:
    assert set(scripts().values()) == {"slurmsky.client:main"}
