"""The wheel, the console scripts, bin/ and slurmsky/commands/ name the same commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from slurmsky.commands import NAMES

ROOT = Path(__file__).parents[2]
BIN = ROOT / "bin"
COMMANDS = sorted(NAMES)


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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as pip builds it, from a copy of the sources."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ["bin", "grammar", "slurmsky"]:
        shutil.copytree(
            ROOT / name, place / "src" / name, symlinks=True, ignore=lambda *_: {"__pycache__", ".mypy_cache"}
        )
    for name in ["pyproject.toml", "README.md"]:
        shutil.copy(ROOT / name, place / "src")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, place / "src"],
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(place.glob("*.whl")))


def test_grammars_and_data_travel_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {f"slurmsky/grammar/{path.name}" for path in (ROOT / "grammar").iterdir()} <= names
    sources = [path.relative_to(ROOT) for path in (ROOT / "slurmsky").rglob("*") if path.is_file()]
    made = ("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache")  # by tools, not by us
    assert {path.as_posix() for path in sources if not set(path.parts) & set(made)} <= names


def test_launchers_travel_in_the_wheel_as_programs(wheel: zipfile.ZipFile) -> None:
    script = (BIN / "slurmsky").read_bytes()
    for path in BIN.iterdir():
        entry = wheel.getinfo(f"slurmsky/bin/{path.name}")
        assert wheel.read(entry) == script
        assert entry.external_attr >> 16 & 0o111 == 0o111


def test_console_scripts_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    (entry,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert dict(re.findall(r"^(\w+) = (\S+)$", wheel.read(entry).decode(), re.MULTILINE)) == scripts()
