"""The words of queries without a shell (asking.py) equal the words that bash passes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import asking
from groups import GROUPS

JOBS = {f"J{number}": str(number) for number in range(1, 400)}
LINES = [line for cases in GROUPS.values() for case in cases for line in case.lines() if asking.words(line, JOBS)]


def test_words_are_split_as_by_bash(tmp_path: Path) -> None:
    names = {words[0] for line in LINES if (words := asking.words(line, JOBS))}
    echo = "".join(f"{name}() {{ printf '%s\\0' {name} \"$@\"; printf '\\n\\0'; }}\n" for name in names)
    shell = subprocess.run(["bash", "-s"], input=echo + "\n".join(LINES), env=JOBS, cwd=tmp_path, text=True,
                           capture_output=True, check=True)  # fmt: skip
    assert [asking.words(line, JOBS) for line in LINES] == [
        row.split("\0")[:-1] for row in shell.stdout.split("\n\0")[:-1]
    ]
    assert len(LINES) > 900


def test_lines_that_need_a_shell_are_left_to_it() -> None:
    for line in (
        "squeue | wc -l",
        "squeue -n a{b,c}",
        "squeue -j $J999",
        "squeue -h > x",
        "squeue -n 'a",
        "scancel 1",
        "",
    ):
        assert asking.words(line, JOBS) is None
