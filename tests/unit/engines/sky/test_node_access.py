"""Connections to nodes: the processes that hold them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

from slurmsky.engines.sky import node_access

STARTS = """
import os, shutil, subprocess
from slurmsky.engines.sky.node_access import tied
program = subprocess.Popen(tied([shutil.which("sleep"), "60"]), start_new_session=True)
while open(f"/proc/{program.pid}/comm").read() != "sleep\\n":
    pass
print(program.pid, flush=True)
program.wait()
"""


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_ssh_ends_with_the_controller_that_was_killed():
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        assert not gone(pid)
        os.kill(controller.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ssh_does_not_begin_once_the_controller_is_gone():
    command = node_access.tied([str(shutil.which("echo")), "began"])
    command[command.index(str(os.getpid()))] = "1"  # as for a child that init has adopted
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
