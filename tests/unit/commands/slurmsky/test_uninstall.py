"""slurmsky uninstall prints the last command, which a shell can run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from slurmsky.commands.slurmsky.uninstall_command import _last_step


@pytest.mark.parametrize("name", ["plain", "two words", "it's", "$HOME"])
def test_the_path_of_a_clone_is_quoted(tmp_path: Path, name: str) -> None:
    clone = tmp_path / name
    clone.mkdir()
    (clone / "pyproject.toml").write_text("")
    assert shlex.split(_last_step(clone).partition(": ")[2]) == ["rm", "-r", str(clone)]


def test_the_path_of_the_interpreter_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python3")
    words = shlex.split(_last_step(tmp_path).partition(": ")[2])
    assert words == ["/opt/my python/bin/python3", "-m", "pip", "uninstall", "slurmsky"]
