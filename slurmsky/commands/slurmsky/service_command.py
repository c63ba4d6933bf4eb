"""slurmsky service: a systemd user unit for the controller."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from ... import client, paths
from ...options.usage_errors import CommandError
from ._base import SlurmskyGroup, failed

UNIT = "slurmsky.service"
#: advice for users without units of their own, as in containers and after su
_WITHOUT_SYSTEMD = (
    "systemd runs no units for this session. If the machine has systemd, log in directly (ssh, not su).",
    "Otherwise start the controller at boot by cron: crontab -e, and the line @reboot squeue",
)
_TEXT = """# Written by: slurmsky service install
[Unit]
Description=slurmsky controller (the queue of your Slurm jobs)
Documentation=man:sbatch(1)

[Service]
Type=exec
ExecStart={command}
Environment={environment}
# Jobs and node agents outlive the controller, as they do when it is stopped by hand.
KillMode=process
Restart=on-failure
Delegate=yes
UMask=0077

[Install]
WantedBy=default.target
"""


def unit_file() -> Path:
    """Path of the unit file, which may not exist."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".config"
    return folder / "systemd" / "user" / UNIT


def installed() -> bool:
    """Return whether the unit file exists."""
    return unit_file().exists()


def lingering() -> bool:
    """Return whether user services run without a login session (loginctl linger)."""
    return Path("/var/lib/systemd/linger", getpass.getuser()).exists()


def text() -> str:
    """Text of the unit for this interpreter, state folder, site and engine."""
    root = Path(client.__file__).resolve().parent.parent
    values = {paths.HOME: str(paths.state(os.environ).home), "PATH": os.environ.get("PATH", os.defpath)}
    if os.environ.get(paths.SITE):
        values[paths.SITE] = os.path.abspath(os.environ[paths.SITE])
    if os.environ.get(paths.ENGINE):
        values[paths.ENGINE] = os.environ[paths.ENGINE]
    if not str(root).endswith(("site-packages", "dist-packages")):
        values["PYTHONPATH"] = str(root)
    quoted = " ".join(_quoted(f"{name}={value}") for name, value in values.items())
    command = f"{_quoted(sys.executable)} -m slurmsky --stay"
    return _TEXT.format(command=command, environment=quoted)


def _quoted(word: str) -> str:
    """Escape a word for a unit file. The characters %, quotes and backslashes are special there."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def available() -> bool:
    """Return whether systemd runs units for this user; it does not in most containers, nor after su."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")  # systemctl reads it, too
    return folder != "" and shutil.which("systemctl") is not None and Path(folder, "systemd", "private").exists()


def _systemctl(*words: str) -> None:
    """Run systemctl; raise CommandError with its output on failure."""
    program = shutil.which("systemctl")
    if program is None:
        raise failed("slurmsky: service: there is no systemd here")
    done = subprocess.run([program, "--user", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        stderr_lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise failed(f"slurmsky: service: systemctl --user {shlex.join(words)}: {stderr_lines[-1]}")


@click.group(cls=SlurmskyGroup, example="slurmsky service install && loginctl enable-linger", page="guide")
def command() -> None:
    """Run the controller as a systemd user unit. Pending jobs then continue after a reboot.

    Without the unit the first command starts the controller.
    """


@command.command("install", example="slurmsky service install", page="guide")
@click.option("--print", "only_print", is_flag=True, help="Print the unit and change nothing.")
def install(only_print: bool) -> int:
    """Write the unit for this user, enable and start it."""
    if only_print:
        click.echo(text(), nl=False)
        return 0
    try:
        _systemctl("show-environment")
    except CommandError as error:  # before a file is written
        raise failed(*error.lines, *_WITHOUT_SYSTEMD) from error
    file = unit_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text())
    click.echo(f"wrote {file}")
    _systemctl("daemon-reload")
    from .stop_command import stop

    stop()  # the unit starts its own controller
    _systemctl("enable", "--now", UNIT)
    click.echo(f"{UNIT} is enabled and runs: systemctl --user status {UNIT}")
    if lingering():
        click.echo("lingering is on: it starts at boot")
    else:
        click.echo("It starts when you log in. For a start at boot: loginctl enable-linger")
    return 0


@command.command("uninstall", example="slurmsky service uninstall", page="guide")
def uninstall() -> int:
    """Stop and remove the unit; the state stays."""
    if not installed():
        click.echo("the service is not installed")
        return 0
    remove()
    return 0


def remove() -> None:
    """Stop and remove the unit; without systemd only remove its file."""
    file = unit_file()
    if shutil.which("systemctl"):
        try:
            _systemctl("disable", "--now", UNIT)
        except CommandError as error:
            click.echo("\n".join(error.lines), err=True)
    file.unlink(missing_ok=True)
    click.echo(f"removed {file}")


@command.command("status", page="guide")
def status() -> int:
    """Print whether the unit is installed, and whether it starts at boot."""
    if not installed():
        click.echo("not installed: slurmsky service install")
        return 1
    click.echo(f"{unit_file()}; " + ("starts at boot" if lingering() else "starts at login; loginctl enable-linger"))
    return 0
