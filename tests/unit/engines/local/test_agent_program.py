"""Copies of the package from which agents run.

There is one for each version, removed when no agent runs from it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from slurmsky import paths
from slurmsky.engines import agent_files
from slurmsky.engines.local import agent_program


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one module of a package."""
    path = tmp_path / "package" / "module.py"
    path.parent.mkdir()
    path.write_text("VERSION = 1\n")
    monkeypatch.setattr(agent_files, "entries", lambda: iter([("slurmsky/module.py", path)]))
    return path


def test_an_update_makes_another_copy(tmp_path: Path, module: Path) -> None:
    first = agent_program.current(tmp_path)
    assert agent_program.current(tmp_path) == first
    module.write_text("VERSION = 12\n")
    second = agent_program.current(tmp_path)
    assert [(copy / "slurmsky" / "module.py").read_text() for copy in (first, second)] == [
        "VERSION = 1\n",
        "VERSION = 12\n",
    ]


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, module: Path) -> None:
    copy = agent_program.current(tmp_path)
    copy.parent.chmod(0o777)
    with pytest.raises(paths.ForeignFolder, match="open to other users"):
        agent_program.current(tmp_path)
    (tmp_path / "home").mkdir()
    assert "agents" not in agent_program.modules(tmp_path, tmp_path / "home")


@pytest.mark.parametrize("runs", [True, False])
def test_an_old_copy_stays_while_an_agent_runs_from_it(tmp_path: Path, module: Path, runs: bool) -> None:
    old = agent_program.current(tmp_path)
    os.utime(old, (0, 0))
    agent = os.open(old, os.O_RDONLY)
    if runs:
        fcntl.flock(agent, fcntl.LOCK_SH)
    module.write_text("VERSION = 12\n")
    agent_program.current(tmp_path)
    assert old.exists() is runs
    os.close(agent)


def test_agents_run_from_the_package_where_no_copy_can_be_made(tmp_path: Path, module: Path) -> None:
    assert agent_program.modules(Path("/proc"), tmp_path) == agent_program.modules(None, tmp_path)


def test_an_agents_copy_outlives_the_cache(tmp_path: Path, module: Path) -> None:
    cache, home = tmp_path / "cache", tmp_path / "home"
    home.mkdir()
    copy = Path(agent_program.modules(cache, home))
    assert copy.parent == home / "agents"
    shutil.rmtree(cache)
    assert (copy / "slurmsky" / "module.py").read_text() == "VERSION = 1\n"
    assert agent_program.modules(cache, home) == str(copy)  # while this controller runs
    assert agent_program.linked(agent_program.current(cache), home) == copy  # and later


def test_agents_run_from_the_cache_on_another_file_system(
    tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: str, target: str) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)

    monkeypatch.setattr(os, "link", link)
    copy = agent_program.current(tmp_path / "cache")
    assert agent_program.modules(tmp_path / "cache", tmp_path) == str(copy)
    assert list((tmp_path / "agents").iterdir()) == []
