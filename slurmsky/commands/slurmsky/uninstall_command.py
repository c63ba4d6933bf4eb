"""slurmsky uninstall: ends this user's processes and removes their files."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import click

from ... import client, paths
from ...top.controller_client import ControllerClient, NoController
from . import service_command as service
from ._base import SlurmskyCommand, failed
from .stop_command import stop

_STOP_S = 20.0


def _processes_of_state(home: Path) -> list[int]:
    """Processes of a state folder: controller, agents and their children."""
    mark = os.fsencode(f"{paths.HOME}={home}")
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) in (os.getpid(), os.getppid()):
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                environment = file.read().split(b"\0")
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        ours = any(word == b"slurmsky" or word.startswith(b"slurmsky.") for word in words[:4])
        if mark in environment and ours:
            found.append(int(entry))
    return found


def _end(processes: list[int]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + _STOP_S
        while processes and time.monotonic() < deadline:
            processes = [pid for pid in processes if Path(f"/proc/{pid}").exists() and not _zombie(pid)]
            time.sleep(0.05)


def _zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


@click.command(cls=SlurmskyCommand, example="slurmsky uninstall --cancel-jobs\npip uninstall slurmsky",
               page="guide#this-installation")  # fmt: skip
@click.option("--cancel-jobs", is_flag=True, help="Cancel the jobs that wait and run first.")
@click.option("--keep-history", is_flag=True, help="Keep the state folder with the queue's database.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(cancel_jobs: bool, keep_history: bool, yes: bool) -> int:
    """Stop all processes of slurmsky; remove the service, the state and the private environments.

    Run this before `pip uninstall slurmsky`, so that no process remains. The command refuses to run while jobs are
    pending or running; --cancel-jobs cancels them. The site file and the output of jobs stay.
    """
    home, cache = paths.state(os.environ).home, paths.cache(os.environ)
    controller = ControllerClient()
    if controller.running() or (home / paths.DATABASE_NAME).exists():
        try:
            controller.start()
            waiting = controller.run_command("squeue", "-h", "-a", "-o", "%i").out.split()
        except NoController as error:
            if not yes:
                raise failed(
                    f"slurmsky: uninstall: {error}", "With --yes the state is removed despite this."
                ) from error
            waiting = []
        if waiting and not cancel_jobs:
            raise failed(f"slurmsky: uninstall: {len(waiting)} jobs wait or run: {', '.join(waiting[:10])}",
                         "With --cancel-jobs they are cancelled.")  # fmt: skip
    else:
        waiting = []
    removed = [service.unit_file()] if service.installed() else []
    removed += [] if keep_history or not home.exists() else [home]
    removed += [cache] if cache.exists() else []
    for place in removed:
        click.echo(f"to be removed: {place}")
    if not yes and not click.confirm("Stop slurmsky and remove these?", default=False, err=True):
        return 1
    if waiting:
        controller.run_command("scancel", *waiting)
        _wait_for_the_end(controller)
    if service.installed():
        service.remove()
    stop()
    _end(_processes_of_state(home))
    for place in removed:
        shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink(missing_ok=True)
    root = Path(client.__file__).resolve().parent.parent
    (root / ".slurmsky-env").unlink(missing_ok=True)
    click.echo(f"All processes of slurmsky have ended. {_last_step(root)}")
    return 0


def _last_step(root: Path) -> str:
    """Shell command that removes the package: a clone or an installed one."""
    if (root / "pyproject.toml").exists():
        return f"Remove the clone: rm -r {shlex.quote(str(root))}"
    return f"Remove the package: {shlex.quote(sys.executable)} -m pip uninstall slurmsky"


def _wait_for_the_end(controller: ControllerClient) -> None:
    deadline = time.monotonic() + _STOP_S * 3
    while time.monotonic() < deadline:
        if not controller.run_command("squeue", "-h", "-a", "-o", "%i").out.split():
            return
        time.sleep(0.2)
    raise failed("slurmsky: uninstall: jobs have not ended after a minute; squeue lists them")
