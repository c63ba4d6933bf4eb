"""A node of an existing cluster belongs to one user at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from slurmsky.agent.cloud import node_owner

HOLD = """import sys; from slurmsky.agent.cloud.node_owner import reserve
print(reserve(*sys.argv[1:]), flush=True); input()"""


def holder(folder: Path, owner: str) -> tuple[subprocess.Popen[str], str]:
    """A process that tries to hold the machine, and its answer."""
    command = [sys.executable, "-c", HOLD, str(folder), owner]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_one_user_at_a_time_with_any_number_of_nodes(tmp_path: Path) -> None:
    folder = tmp_path / "owners"
    ada, answer = holder(folder, "ada@login")
    with ada:
        assert answer == "" and folder.stat().st_mode & 0o7777 == 0o1777
        more, answer = holder(folder, "ada@login")
        assert answer == ""
        more.communicate()
        assert node_owner.reserve(str(folder), "bob@laptop") == "ada@login"
        ada.communicate()
    bob, answer = holder(folder, "bob@laptop")  # ada's processes have ended
    assert answer == ""
    bob.communicate()
