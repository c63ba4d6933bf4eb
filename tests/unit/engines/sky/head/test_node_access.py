"""Connections to nodes: the processes that hold them."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from slurmsky.engines.sky.head import node_access

STARTS = """
import os, shutil, subprocess
from slurmsky.engines.sky.head.node_access import tied_to_caller
program = subprocess.Popen(tied_to_caller([shutil.which("sleep"), "60"]), start_new_session=True)
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
    command = node_access.tied_to_caller([str(shutil.which("echo")), "began"])
    command[command.index(str(os.getpid()))] = "1"  # as for a child that init has adopted
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_a_broken_tunnel_is_restored_without_sky_status(tmp_path, monkeypatch):
    """Its server may have just begun, and needs minutes for an answer; the third attempt asks it again."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sky", "ssh"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/calls\nexit 1\n")
        (programs / name).chmod(0o700)
    (programs / "sky").write_text((programs / "sky").read_text().replace("exit 1", "exit 0"))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    async def fail(times):
        tunnel = node_access.SshTunnel("c", "127.0.0.1:1", tmp_path)
        for _ in range(times):
            with pytest.raises(node_access.HeadUnreachable, match="it ended at once"):
                await tunnel.path()

    asyncio.run(fail(4))
    assert (tmp_path / "calls").read_text().split() == ["sky", "ssh", "ssh", "ssh", "sky", "ssh"]


#: creates the socket, and writes more errors than a pipe holds
TALKS = """#!/bin/bash
for word; do case "$word" in *.sock:*) socket=${word%%:*};; esac; done
head -c 200000 /dev/zero >&2
touch "$socket"
exec sleep 60
"""


def test_ssh_may_write_more_errors_than_a_pipe_holds(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("sky", "#!/bin/sh\n"), ("ssh", TALKS)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    faults: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", faults.append)

    async def once() -> None:
        tunnel = node_access.SshTunnel("c", "127.0.0.1:1", tmp_path)
        await asyncio.wait_for(tunnel.path(), 60)
        tunnel.close()

    asyncio.run(once())
    gc.collect()
    assert not faults
