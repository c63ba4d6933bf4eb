"""The wheel, the installed commands, bin/ and slurmsky/commands/ name the same commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.commands import NAMES

ROOT = Path(__file__).parents[2]
BIN = ROOT / "bin"
COMMANDS = sorted(NAMES)


def installed(table: str) -> dict[str, str]:
    """A table of files that the wheel installs elsewhere (Python 3.10 has no TOML reader)."""
    text = (ROOT / "pyproject.toml").read_text()
    found = text.split(f"[tool.hatch.build.targets.wheel.{table}]\n", 1)[1].split("\n[", 1)[0]
    return dict(re.findall(r'^"([^"]+)" = "([^"]+)"$', found, re.MULTILINE))


def scripts() -> list[str]:
    """Names of the installed commands."""
    return list(installed("shared-scripts").values())


def test_installed_commands_are_the_launchers() -> None:
    assert installed("shared-scripts") == {f"bin/{path.name}": path.name for path in BIN.iterdir()}


def test_manual_pages_are_installed() -> None:
    pages = {path.name for path in (ROOT / "docs" / "man").glob("*.1")}
    assert installed("shared-data") == {f"docs/man/{name}": f"share/man/man1/{name}" for name in pages}


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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as pip builds it, from a copy of the sources."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ["bin", "docs", "grammar", "slurmsky"]:
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


@pytest.mark.slow
def test_grammars_and_data_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {f"slurmsky/grammar/{path.name}" for path in (ROOT / "grammar").iterdir()} <= names
    sources = [path.relative_to(ROOT) for path in (ROOT / "slurmsky").rglob("*") if path.is_file()]
    made = ("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache")  # by tools, not by us
    assert {path.as_posix() for path in sources if not set(path.parts) & set(made)} <= names


@pytest.mark.slow
def test_launchers_are_in_the_wheel_as_programs(wheel: zipfile.ZipFile) -> None:
    script = (BIN / "slurmsky").read_bytes()
    for path in BIN.iterdir():
        entry = wheel.getinfo(f"slurmsky/bin/{path.name}")
        assert wheel.read(entry) == script
        assert entry.external_attr >> 16 & 0o111 == 0o111


@pytest.mark.slow
def test_installed_commands_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    script = (BIN / "slurmsky").read_bytes()
    (folder,) = {name.rpartition("/")[0] for name in wheel.namelist() if name.endswith(".data/scripts/sbatch")}
    for name in scripts():
        assert wheel.read(f"{folder}/{name}") == script
    assert f"{folder.rpartition('/')[0]}/data/share/man/man1/sbatch.1" in wheel.namelist()


@pytest.mark.slow
def test_an_installed_command_runs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """As pip lays a wheel out: PREFIX/bin beside PREFIX/lib/python3.N/site-packages."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = tmp_path / "lib" / version / "site-packages"
    wheel.extractall(packages)
    (data,) = packages.glob("*.data")
    shutil.move(data / "scripts", tmp_path / "bin")
    for script in (tmp_path / "bin").iterdir():
        script.chmod(0o755)
    (tmp_path / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
    (tmp_path / "link").symlink_to(tmp_path / "bin" / "srun")  # as pipx and uv tool install link
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SLURMSKY_AGENT": "/nowhere"}
    reported = "srun: error: the node's agent does not answer at /nowhere: No such file or directory"
    for command in ([tmp_path / "bin" / "srun"], [tmp_path / "link"]):
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
        name = command[0].name
        assert done.returncode == 1 and done.stderr.splitlines()[-1] == reported.replace("srun:", f"{name}:"), done


@pytest.mark.slow
def test_the_long_description_has_no_link_into_the_repository(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(name).decode()
    assert "# slurmsky" in text and "docs/pictures" not in text
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links and all(link.startswith("https://") for link in links)


def test_the_sdist_holds_the_commands_of_the_pages() -> None:
    """Each path of the repository that README, CONTRIBUTING or docs/install.md names is in the sdist."""
    table = (ROOT / "pyproject.toml").read_text().split("[tool.hatch.build.targets.sdist]\n", 1)[1].split("\n[", 1)[0]
    included = re.findall(r'"([^"]+)"', table)
    pages = "\n".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "docs/install.md"))
    named = {word.strip("./") for word in re.findall(r"[\w./-]+", pages)}
    paths = {name for name in named if "/" in name and (ROOT / name).exists()}
    paths |= {"Dockerfile", "action.yml", "README.md"}
    assert {"scripts/test", "examples/sbatch/hello.sh", "scripts/ci-jobs"} <= paths
    assert {name for name in paths if f"/{name.split('/')[0]}" not in included} == set()
