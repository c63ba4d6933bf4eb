"""The launchers of a cloud node's commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from slurmsky.agent.cloud.program_install import launcher

CLIENT = """
import os, sys
def run(root, command, args):
    print(root, command, *args, os.environ.get("MY.NAME"))
"""


def test_a_launcher_passes_variables_that_a_shell_would_drop(tmp_path: Path) -> None:
    package = tmp_path / "a lib" / "slurmsky"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "client.py").write_text(CLIENT)
    script = tmp_path / "squeue"
    script.write_text(launcher(sys.executable, str(package.parent), "squeue"))
    script.chmod(0o755)
    done = subprocess.run([script, "-u", "a b"], env={**os.environ, "MY.NAME": "kept"}, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{package.parent} squeue -u a b kept\n", "")


def test_an_interpreter_that_no_first_line_can_name_is_started_by_a_shell(tmp_path: Path) -> None:
    assert launcher("/a b/python", "/lib", "squeue").startswith('#!/bin/sh\nexec "/a b/python" -I -S ')
