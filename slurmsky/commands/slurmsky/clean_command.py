"""slurmsky clean: removes unused environments and old job files."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from ... import client_setup, paths
from ...top.controller_client import ControllerClient, NoController
from ._base import SlurmskyCommand

_DAY_S = 86400.0
_DEFAULT_DAYS = 30


@dataclass(frozen=True)
class UnusedFolder:
    """An unneeded folder, and the reason."""

    path: Path
    why: str

    def size(self) -> int:
        """Size on disk in bytes."""
        if self.path.is_symlink():  # another path of a clone
            return 0
        total = 0
        for root, _, names in os.walk(self.path):
            for name in names:
                try:
                    total += os.lstat(os.path.join(root, name)).st_blocks * 512
                except OSError:
                    continue
        return total


def environments() -> Iterator[UnusedFolder]:
    """Private environments whose clone is gone or has other dependencies."""
    for place in sorted(paths.cache(os.environ).glob("*/")):
        if not (place / "python").exists() and not list(place.glob("venv-*")):
            continue
        root = Path("/" + place.name.replace("%", "/"))
        if not (root / "slurmsky").is_dir():
            # The name of a folder for a long path is a hash; the environment's metadata then names the clone.
            root = _root_of(place) or root
        if not (root / "slurmsky").is_dir():
            yield UnusedFolder(place, f"its clone {root} was removed")
            continue
        if (root / "pyproject.toml").exists() and not place.is_symlink():
            needed = client_setup.environment_name(root)
            for venv in sorted(place.glob("venv-*")):
                if venv.name != needed and not _in_use(venv):
                    yield UnusedFolder(venv, f"{root} has other dependencies now")


def _root_of(place: Path) -> Path | None:
    for file in place.glob("venv-*/lib/python3*/site-packages/slurmsky-*.dist-info/direct_url.json"):
        try:
            url = str(json.loads(file.read_text()).get("url", ""))
        except (OSError, ValueError):
            continue
        if url.startswith("file://"):
            return Path(url.removeprefix("file://"))
    return None


def _in_use(folder: Path) -> bool:
    """Return whether a process, such as an old controller, runs from this folder."""
    mark = os.fsencode(folder) + b"/"
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if mark in file.read():
                        return True
            except OSError:
                continue
    return False


def jobs(days: float) -> Iterator[UnusedFolder]:
    """Spool folders of jobs that ended this many days ago.

    They hold script, environment and spool files. Job records stay.
    """
    home = paths.state(os.environ)
    before = time.time() - days * _DAY_S
    live = _active_job_ids()
    for root in (home.jobs, home.home / "sky", home.home / "kept"):
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            number = re.match(r"(?:.*\D)?(\d+)$", folder.name) if root.name != "kept" else None
            if not folder.is_dir() or (number and int(number[1]) in live):
                continue
            if _last_change(folder) < before:
                yield UnusedFolder(folder, f"unchanged for {days:g} days")


def _last_change(folder: Path) -> float:
    try:
        return max((entry.lstat().st_mtime for entry in (folder, *folder.iterdir())), default=0.0)
    except OSError:
        return time.time()


def _active_job_ids() -> set[int]:
    """Ids of active jobs, with array base ids. Without a controller they come from the database."""
    controller = ControllerClient()
    try:
        controller.start()
        answer = controller.run_command("squeue", "-h", "-a", "-o", "%A %F")
    except NoController as error:
        raise click.ClickException(f"clean: {error}") from error
    return {int(word) for word in answer.out.split() if word.isdecimal()}


@click.command(
    cls=SlurmskyCommand, example="slurmsky clean --dry-run\nslurmsky clean --days 7", page="guide#this-installation"
)
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be removed.")
@click.option("--days", type=click.FloatRange(min=0), default=_DEFAULT_DAYS, show_default=True,
              help="Minimum number of days since the end of a job whose files are removed.")  # fmt: skip
@click.option("--environments", "only_environments", is_flag=True, help="Only private environments.")
def command(dry_run: bool, days: float, only_environments: bool) -> int:
    """Remove unused private environments and the files of jobs that ended long ago.

    An environment is unused if its clone was deleted or has other dependencies now. The accounting of the jobs stays,
    but scontrol write batch_script and scontrol requeue no longer work for them.
    """
    found = [*environments(), *(() if only_environments else jobs(days))]
    freed = 0
    for one in found:
        size = one.size()
        freed += size
        click.echo(f"{'would remove' if dry_run else 'removed'} {one.path} ({size / 1e6:.1f} MB): {one.why}")
        if dry_run:
            continue
        if one.path.is_symlink():
            one.path.unlink(missing_ok=True)
        else:
            shutil.rmtree(one.path, ignore_errors=True)
    click.echo(f"{freed / 1e6:.1f} MB {'could be' if dry_run else 'are'} free" if found else "nothing to remove")
    return 0
