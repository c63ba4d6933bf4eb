"""slurmsky service where systemd refuses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.commands.slurmsky import service_command
from slurmsky.options.usage_errors import CommandError


@pytest.fixture
def no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A systemctl that reaches no systemd, and an empty folder of units."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.mark.usefixtures("no_bus")
def test_remove_prints_what_systemctl_prints_and_continues(capsys: pytest.CaptureFixture[str]) -> None:
    unit = service_command.unit_file()
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    service_command.remove()
    printed = capsys.readouterr()
    assert printed.err == (
        "slurmsky: service: systemctl --user disable --now slurmsky.service: Failed to connect to bus\n"
    )
    assert printed.out == f"removed {unit}\n" and not unit.exists()


@pytest.mark.usefixtures("no_bus")
def test_install_without_a_session_of_systemd_writes_nothing_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(CommandError) as error:
        service_command.command(["install"], standalone_mode=False)
    assert "Failed to connect to bus" in error.value.lines[0] and "@reboot" in error.value.lines[-1]
    assert not (tmp_path / "config").exists() and not service_command.available()


def test_the_unit_keeps_the_engine_that_the_shell_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMSKY_ENGINE", "local")
    assert '"SLURMSKY_ENGINE=local"' in service_command.text()
    monkeypatch.delenv("SLURMSKY_ENGINE")
    assert "SLURMSKY_ENGINE" not in service_command.text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMSKY_HOME", str(tmp_path / "a folder, 100%, $HOME"))
    unit = tmp_path / service_command.UNIT
    unit.write_text(service_command.text())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    line = ["systemd-analyze", "verify", "--user", "--man=no", str(unit)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
