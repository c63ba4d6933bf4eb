"""The application ``slurmsky`` in the caller's process: help, suggestions, commands for the controller."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from slurmsky import client_application
from slurmsky.commands.slurmsky import _application, _base, completion_command
from slurmsky.options.usage_errors import CommandError

ROOT = Path(__file__).parents[4]
NAMES = [entry.name for entry in _application.ENTRIES]


def commands() -> list[tuple[str, click.Command]]:
    """Every command with its words, subcommands of groups too."""
    ctx = click.Context(_application.application)
    found = []
    for name in NAMES:
        command = _application.application.get_command(ctx, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {child}", command.commands[child]) for child in command.list_commands(ctx)]
    return found


def test_the_client_knows_what_the_controller_runs() -> None:
    assert {entry.name for entry in _application.ENTRIES if not entry.here} == client_application.IN_CONTROLLER


def test_each_module_is_a_command() -> None:
    modules = {path.stem for path in (ROOT / "slurmsky/commands/slurmsky").glob("*_command.py")}
    assert modules == {f"{name}_command" for name in NAMES}


@pytest.mark.parametrize(("words", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_help_of_every_command(words: str, command: click.Command, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "-h"):
        assert _application.main([*words.split(), option]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"Usage: slurmsky {words} ")
        assert "\nMore: " in shown or words in ("help",)
    for param in command.params:
        assert not isinstance(param, click.Option) or param.help, param.name


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",)])
def test_the_list_of_commands(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert _application.main(words) == 0
    shown = capsys.readouterr().out
    for entry in _application.ENTRIES:
        assert f"\n  {entry.name} " in shown
    assert "Example:" in shown


BAD = [
    (["stat"], "slurmsky: unknown command: stat. Did you mean status", "slurmsky"),
    (["doctr"], "slurmsky: unknown command: doctr. Did you mean doctor", "slurmsky"),
    (["xyzzy"], "slurmsky: unknown command: xyzzy", "slurmsky"),
    (["stop", "now"], "slurmsky: stop: Got unexpected extra argument", "slurmsky stop"),
    (["doctor", "--jsn"], "slurmsky: doctor: unrecognized option '--jsn'. Did you mean --json?", "slurmsky doctor"),
    (["status", "x"], "slurmsky: status: Got unexpected extra argument", "slurmsky status"),
    (["site", "chek"], "slurmsky: site: No such command 'chek'", "slurmsky site"),
    ([" "], "slurmsky: unknown command: ' '", "slurmsky"),
    (["Why"], "slurmsky: unknown command: Why. Did you mean why", "slurmsky"),
    (["tunnel"], "slurmsky: tunnel: Missing argument 'JOB'", "slurmsky tunnel"),
    (["completion"], "slurmsky: completion: Missing argument '{bash|zsh|fish}'. Choose from: b", "slurmsky completion"),
    (["completion", "tcsh"], "slurmsky: completion: Invalid value", "slurmsky completion"),
    (["man", "sbtch"], "slurmsky: man: unknown command: sbtch. Did you mean sbatch", "slurmsky man"),
    (["tunnel", "1", "x"], "slurmsky: tunnel: Invalid value for '[LOCAL:]PORT': x is not PORT", "slurmsky tunnel"),
    (["report"], "slurmsky: report: a job or --since is needed", "slurmsky report"),
    (["report", "-o"], "slurmsky: report: option '-o' requires an argument", "slurmsky report"),
    (["report", "1", "--since", "now"], "slurmsky: report: a job or --since, not both", "slurmsky report"),
]


@pytest.mark.parametrize(("words", "reported", "path"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_unknown_words_are_reported(words: list[str], reported: str, path: str) -> None:
    with pytest.raises(CommandError) as error:
        _application.invoke(words, object())
    assert error.value.exit_code == 2
    assert error.value.lines[0].startswith(reported)
    assert error.value.lines[-1] == f"Try '{path} --help' for more information"


@pytest.mark.parametrize("words", [["status"], ["why", "7"], ["explain", "job.sh"], ["site", "check"]])
def test_the_controller_runs_what_needs_it(words: list[str]) -> None:
    assert _application.main(words) is None


def test_site_check_needs_no_controller_for_an_invalid_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.toml"
    site.write_text("enginee = 1\n")
    monkeypatch.setenv("SLURMSKY_SITE", str(site))
    message = f"{site}:1:1: enginee is not known here. Did you mean engine?\n"
    for words in (["site", "check"], ["site", "check", str(site)]):
        assert _application.main(words) == 1
        assert capsys.readouterr() == ("", message)
    site.write_text("")
    assert _application.main(["site", "check"]) is None


SPLIT = [
    (["job.sh"], [], ["job.sh"]),
    (["--html", "-o", "x", "job.sh", "arg"], ["--html", "-o", "x"], ["job.sh", "arg"]),
    (["-o=x", "-n4", "-o", "y", "job.sh"], ["-o=x"], ["-n4", "-o", "y", "job.sh"]),
    (["-Jhello", "job.sh", "--html"], ["--html"], ["-Jhello", "job.sh"]),
]


@pytest.mark.parametrize(("words", "own", "rest"), SPLIT)
def test_own_options_in_front_of_sbatchs(words: list[str], own: list[str], rest: list[str]) -> None:
    assert _base.split(words, {"--html"}, {"-o"}) == (own, rest)


def test_slurms_commands_do_not_import_click() -> None:
    program = "import sys, slurmsky.client, slurmsky.client_start, slurmsky.commands, slurmsky.commands.squeue; " \
              "sys.exit('click' in sys.modules)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_short_help_works_after_completion_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert _application.main(["completion", "bash"]) == 0
    assert _application.main(["why", "-h"]) == 0 and "Usage: slurmsky why" in capsys.readouterr().out


def test_completion_offers_the_words_of_each_command() -> None:
    found = {}
    for name, command in commands():
        words = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
        options = []
        for param in command.get_params(click.Context(command)):
            if isinstance(param, click.Option):
                options += [name for name in param.opts if name.startswith("--")]
            elif isinstance(param.type, click.Choice):
                words += [str(choice) for choice in param.type.choices]
        found[name] = tuple(words or options)
    assert {name: words for name, words in found.items() if " " not in name} == completion_command.OWN_WORDS


def test_completion_imports_no_other_command() -> None:
    program = (
        "import sys; from slurmsky.commands.slurmsky import _application; _application.main(['completion', 'bash']);"
        "sys.exit(any(name.startswith(('slurmsky.controller', 'slurmsky.translate')) for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.DEVNULL)
    assert done.returncode == 0
