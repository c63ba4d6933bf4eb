"""slurmsky doctor: checks of this installation, with remedies.

It runs in the caller's process, so that it works when no controller can start.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ... import client, paths
from ...agent.process.cgroup_tree import memory_place, own_group
from ...top.controller_client import ControllerClient, NoController
from ._base import SlurmskyCommand

if TYPE_CHECKING:
    from ...site.record import Site

GOOD, NOTE, BAD = "ok", "note", "FIX"
_SKY_PATIENCE_S = 15.0
_LEAST_FREE_MIB = 100
_DEPENDENCIES = ("click", "cryptography", "httpx", "lark", "pyyaml")
_OLDEST_SKY = (0, 14, 1)


@dataclass(frozen=True)
class CheckResult:
    """Result of a check.

    ``level`` is ok, note (works, with a limitation) or FIX (broken); ``do`` is the command that helps.
    """

    check: str
    level: str
    text: str
    do: str = ""


def _environment() -> Iterator[CheckResult]:
    here = f"Python {sys.version.split()[0]} at {sys.executable}"
    yield CheckResult("environment", GOOD, here)  # the launcher has already refused a Python that is too old
    missing = []
    for name in _DEPENDENCIES:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield CheckResult(
            "environment", BAD, f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )


def _bin() -> Path | None:
    """Folder of our launchers."""
    package = Path(client.__file__).resolve().parent
    places = (package.parent / "bin", package / "bin", Path(sys.executable).parent)
    return next((place for place in places if (place / "sbatch").exists()), None)


def _path() -> Iterator[CheckResult]:
    ours = _bin()
    first = shutil.which("sbatch")
    here = ours is not None and first is not None
    same = here and (
        os.path.dirname(os.path.realpath(first or "")) == os.path.realpath(str(ours))
        or b"slurmsky" in _start_of(first or "")
    )
    if same:
        yield CheckResult("PATH", GOOD, f"sbatch is {first}")
    else:
        other = f"sbatch is {first}, the command of another Slurm" if first else "sbatch is not on PATH"
        yield CheckResult("PATH", BAD, other, f'export PATH="{ours}:$PATH"' if ours else "install the package again")


def _start_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(2048)
    except OSError:
        return b""


def _state() -> Iterator[CheckResult]:
    home = paths.state(os.environ).home
    place = home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free >> 20
    if not os.access(place, os.W_OK | os.X_OK):
        yield CheckResult("state folder", BAD, f"{home} cannot be written", "export SLURMSKY_HOME=/a/folder/of/yours")
    elif free < _LEAST_FREE_MIB:
        yield CheckResult("state folder", BAD, f"{free} MiB free for {home}", "slurmsky clean; or set SLURMSKY_HOME")
    else:
        yield CheckResult("state folder", GOOD, f"{home}, {free >> 10} GiB free")
    if home.exists() and home.stat().st_mode & 0o077:
        mode = home.stat().st_mode & 0o777
        yield CheckResult("state folder", BAD, f"{home} has mode {mode:04o}: others can read it", f"chmod 700 {home}")
    kind = _file_system(str(place))
    if kind in ("nfs", "nfs4", "cifs", "fuse.sshfs", "lustre"):
        yield CheckResult("state folder", NOTE, f"{home} is on {kind}: its database needs a local disk",
                      "export SLURMSKY_HOME=/local/folder")  # fmt: skip


def _file_system(path: str) -> str:
    best, kind = "", ""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="replace") as file:
            for line in file:
                mount, name = line.split()[1:3]
                mount = mount.replace("\\040", " ")
                inside = os.path.commonpath((path, mount)) == mount
                if inside and len(mount) >= len(best):
                    best, kind = mount, name
    except (OSError, ValueError):
        return ""
    return kind


def _site() -> Iterator[CheckResult]:
    file = paths.site_file(os.environ)
    if file is None:
        yield CheckResult("site file", GOOD, "none: any partition, account and feature is accepted")
        return
    from ...engines import machine_hardware
    from ...site.load import load
    from ...site.record import SiteError

    try:
        site = load(file.read_text("utf-8"), str(file), machine_hardware.detect())
    except OSError as error:
        do = f"unset {paths.SITE}; or slurmsky site init -o {file}"
        yield CheckResult("site file", BAD, f"{file}: {error.strerror}", do)
    except (SiteError, UnicodeDecodeError) as error:
        yield CheckResult("site file", BAD, str(error).splitlines()[0], f"slurmsky site check {file}")
    else:
        names = ", ".join(part.name for part in site.cluster.partitions)
        yield CheckResult("site file", GOOD, f"{file}: partitions {names}")


def _controller() -> Iterator[CheckResult]:
    controller = ControllerClient()
    log = paths.state(os.environ).log
    try:
        started = "" if controller.running() else "; started now"
        controller.start()
        answer = controller.run_command("slurmsky", "status", "--json")
        found = json.loads(answer.out)
    except NoController as error:
        yield CheckResult("controller", BAD, str(error), f"less {log}")
        return
    except ValueError:
        yield CheckResult("controller", BAD, "it runs another version of slurmsky", "slurmsky stop")
        return
    engine = found["engine"]
    yield CheckResult("controller", GOOD, f"pid {found['controller']['pid']}{started}; engine {engine['name']} "
                  f"({engine['reason']})")  # fmt: skip
    for one in found.get("engines", ()):
        yield CheckResult("controller", GOOD if one["ok"] else BAD, one["text"], "" if one["ok"] else "sky api info")
    if found["site_changed"]:
        text = "changed since the running controller read it"
        yield CheckResult("site file", BAD, text, "scontrol reconfigure")
    if found["problem"]:
        yield CheckResult("controller", BAD, found["problem"], f"free space under {found['state_folder']}")
    damaged = found["damaged_records"]
    if damaged:
        names = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
        text = f"{len(damaged)} damaged records of the database were set aside: {names}"
        yield CheckResult("database", BAD, text, f"keep a copy of {found['state_folder']}; see the log {log}")
    if found["nodes_down"]:
        down = ",".join(found["nodes_down"])
        yield CheckResult("nodes", BAD, f"down or drained: {down}", f"scontrol show node {down}; scontrol update "
                      f"NodeName={down} State=RESUME")  # fmt: skip
    else:
        yield CheckResult("nodes", GOOD, f"{found['nodes']['all']} of {found['nodes']['all']} up")
    if not (found["mail_program"] or shutil.which("mail")):
        yield CheckResult(
            "mail", NOTE, "no mail program: --mail-type sends no mail", "install mailx, or set mail_program"
        )


def _sky() -> Iterator[CheckResult]:
    program = shutil.which("sky")
    from ...engines import registry
    from ...engines.base import EngineError
    from ...engines.cloud import LoginRequired

    try:
        installed = version("skypilot")
    except PackageNotFoundError:
        installed = ""
    service = registry.cloud_service(os.environ, _loaded_site(), os.environ.get("USER", ""))
    if not service.configured:
        text = f"installed ({installed or program}) but never used" if installed or program else "not installed"
        do = "sky check" if installed or program else "pip install 'skypilot[kubernetes,aws]'; sky check"
        yield CheckResult("SkyPilot", NOTE, f"{text}: jobs run on this machine", do)
        return
    if installed and _numbers(installed) < _OLDEST_SKY:
        yield CheckResult("SkyPilot", BAD, f"version {installed} is older than 0.14.1", "pip install -U skypilot")
    where = service.endpoint

    async def ask() -> tuple[str, list[str]]:
        try:
            return await service.version(), await service.enabled()
        finally:
            await service.close()

    try:
        server, infra = asyncio.run(asyncio.wait_for(ask(), _SKY_PATIENCE_S))
    except LoginRequired:
        yield CheckResult("SkyPilot", BAD, f"{where} requires a login", f"sky api login -e {where}")
    except asyncio.TimeoutError:
        yield CheckResult("SkyPilot", BAD, f"{where} does not answer in {_SKY_PATIENCE_S:.0f} s", "sky api status")
    except EngineError as error:
        yield CheckResult("SkyPilot", BAD, f"{where}: {error}", "sky api start" if service.local else "sky api info")
    else:
        yield CheckResult("SkyPilot", GOOD, f"server {where}" + (f", version {server}" if server else ""))
        if infra:
            yield CheckResult("SkyPilot", GOOD, f"enabled: {', '.join(infra)}")
        else:
            yield CheckResult("SkyPilot", BAD, "no infra is enabled: jobs run on this machine", "sky check")


def _loaded_site() -> Site:
    from ...engines import machine_hardware
    from ...site.load import default_site, load
    from ...site.record import SiteError

    file, machine = paths.site_file(os.environ), machine_hardware.detect()
    try:
        return load(file.read_text("utf-8"), str(file), machine) if file is not None else default_site(machine)
    except (OSError, SiteError, UnicodeDecodeError):
        return default_site(machine)  # the site-file check reports the error


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+")[0].split(".")[:3] if part.isdecimal())


def _gpus() -> Iterator[CheckResult]:
    devices = [name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdecimal()]
    program = shutil.which("nvidia-smi")
    if not devices and not program:
        yield CheckResult("GPUs", GOOD, "none on this machine")
        return
    if program is None:
        yield CheckResult(
            "GPUs", BAD, f"{len(devices)} devices, but no nvidia-smi on PATH", "install NVIDIA's driver tools"
        )
        return
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield CheckResult("GPUs", BAD, f"nvidia-smi: {error}", "nvidia-smi")
        return
    found = [line.split("(UUID")[0].strip() for line in done.stdout.splitlines() if line.startswith("GPU ")]
    if done.returncode or not found:
        yield CheckResult("GPUs", BAD, "nvidia-smi finds no GPU", "nvidia-smi")
    else:
        yield CheckResult("GPUs", GOOD, "; ".join(found))


def _delegation() -> str:
    """Advice on a control group of its own for the controller."""
    from .service_command import available

    if available():
        return "slurmsky service install (its unit has Delegate=yes)"
    return "systemd runs no services for this user here; cgroups need that, or root"


def _cgroups() -> Iterator[CheckResult]:
    """Check whether cgroups can kill a job's processes and enforce --mem."""
    if own_group() is not None:
        yield CheckResult("cgroups", GOOD, "all processes of a job end with its agent, by cgroup v2")
    else:
        text = "no writable cgroup v2: processes that change their session may outlive a killed agent"
        yield CheckResult("cgroups", NOTE, text, _delegation())
    place = memory_place()
    if not _loaded_site().cluster.constrain_ram_space:
        yield CheckResult("memory", NOTE, "--mem is not enforced: the site file has constrain_ram_space = false",
                          "slurmsky site check")  # fmt: skip
    elif place is not None:
        yield CheckResult("memory", GOOD, f"--mem is enforced by cgroup v{place.files.version}")
    else:
        text = "--mem is not enforced: no writable cgroup with the memory controller"
        yield CheckResult("memory", NOTE, text, _delegation())


def _boot() -> Iterator[CheckResult]:
    """Check whether pending jobs resume after a reboot."""
    from .service_command import available, installed, lingering

    if not installed():
        text = "after a reboot the queue continues with your next command"
        advice = "slurmsky service install" if available() else "crontab -e: @reboot squeue"
        yield CheckResult("boot", NOTE, text, advice)
    elif not lingering():
        yield CheckResult("boot", NOTE, "the service starts when you log in, not at boot", "loginctl enable-linger")
    else:
        yield CheckResult("boot", GOOD, "the controller starts at boot")


CHECKS: tuple[Callable[[], Iterator[CheckResult]], ...] = (
    _environment, _path, _state, _site, _controller, _sky, _gpus, _cgroups, _boot,
)  # fmt: skip


def findings() -> Iterator[CheckResult]:
    """Run all checks in order. A check that raises is itself a finding."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:
            name = check.__name__.strip("_")
            yield CheckResult(name, BAD, f"the check failed: {type(error).__name__}: {error}", "report this as a bug")


@click.command(cls=SlurmskyCommand, example="slurmsky doctor --json | jq '.findings[] | select(.level != \"ok\")'",
               page="troubleshooting")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def command(as_json: bool) -> int:
    """Check this installation: environment, PATH, state folder, site file, controller, SkyPilot, GPUs, cgroups, boot.

    Each finding that is not ok has a command to run. The exit code is 1 if a check fails; notes do not change it.
    """
    bad = False
    every = []
    for one in findings():
        bad = bad or one.level == BAD
        every.append(asdict(one))
        if not as_json:
            click.echo(f"{one.level:<5} {one.check + ':':<13} {one.text}")
            if one.do and one.level != GOOD:
                click.echo(f"{'':<19} > {one.do}")
    if as_json:
        click.echo(json.dumps({"ok": not bad, "findings": every}, indent=2))
    return 1 if bad else 0
