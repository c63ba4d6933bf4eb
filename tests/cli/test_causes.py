"""Cause of a job that ends before its script begins.

sacct, seff, scontrol and sbatch show the cause.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from local_engine import LocalEngine

# options, exit code as sacct prints it, cause, warning ("" where nothing can be seen at submit)
CAUSES = [
    (["-o", "/proc/no/x"], "0:53", "its output file cannot be opened: there is no folder /proc/no", ""),
    (["-o", "/tmp"], "0:53", "its output file cannot be opened: /tmp: Is a directory",
     "the job's output file cannot be written: /tmp is a folder"),
    (["-e", "/proc/no/x"], "0:53", "its error file cannot be opened: there is no folder /proc/no", ""),
    (["-o", "/etc/passwd/x"], "0:53", "its output file cannot be opened: /etc/passwd/x: Not a directory",
     "the job's output file cannot be written: /etc/passwd is not a folder"),
    (["-i", "/no/such"], "0:53", "its input file cannot be opened: there is no folder /no",
     "the job's input file /no/such does not exist"),
    (["-D", "/proc/no/such"], "0:53",
     "its output file cannot be opened: there is no working folder /proc/no/such", ""),
]  # fmt: skip


@pytest.mark.parametrize(("options", "code", "cause", "warning"), CAUSES, ids=lambda value: str(value)[:30])
def test_a_file_that_cannot_be_opened(
    engine: LocalEngine, options: list[str], code: str, cause: str, warning: str
) -> None:
    submitted = engine.run(["sbatch", "--wait", *options, "--wrap=true"])
    assert submitted.stderr == (f"sbatch: warning: {warning}\n" if warning else "")
    _holds(engine, submitted.stdout.split()[-1], code, cause)


def test_a_missing_interpreter(engine: LocalEngine) -> None:
    script = Path(engine.root) / "interpreter.sh"
    script.write_text("#!/no/such/shell\ntrue\n")
    submitted = engine.run(["sbatch", "--wait", str(script)])
    assert submitted.stderr == "sbatch: warning: the script's interpreter /no/such/shell is missing\n"
    cause = "the script cannot be executed: execve(): bad interpreter(/no/such/shell): No such file or directory"
    _holds(engine, submitted.stdout.split()[-1], "2:0", cause)


def test_an_interpreter_that_cannot_be_executed(engine: LocalEngine) -> None:
    program, script = Path(engine.root) / "program", Path(engine.root) / "unexecutable.sh"
    program.write_text("")
    script.write_text(f"#!{program}\ntrue\n")
    submitted = engine.run(["sbatch", "--wait", str(script)])
    assert submitted.stderr == f"sbatch: warning: the script's interpreter {program} cannot be executed\n"
    text = engine.run(["slurmsky", "why", submitted.stdout.split()[-1]]).stdout
    assert "edit the first line of the script, as #!/bin/bash (chmod +x the program that it names)" in text


def test_an_interpreter_that_is_a_folder(engine: LocalEngine) -> None:
    folder, script = Path(engine.root) / "folder", Path(engine.root) / "folder.sh"
    folder.mkdir()
    script.write_text(f"#!{folder}\ntrue\n")
    submitted = engine.run(["sbatch", "--wait", str(script)])
    assert submitted.stderr == f"sbatch: warning: the script's interpreter {folder} cannot be executed\n"
    text = engine.run(["slurmsky", "why", submitted.stdout.split()[-1]]).stdout
    assert "edit the first line of the script, as #!/bin/bash" in text


def test_a_working_folder_that_cannot_be_entered(engine: LocalEngine) -> None:
    file, output = Path(engine.root) / "no-folder", Path(engine.root) / "where.out"
    file.write_text("")
    submitted = engine.run(["sbatch", "--wait", "-D", str(file), "-o", str(output), "--wrap=pwd"])
    fault = f"the job's working folder {file} cannot be entered: the job would run in /tmp"
    assert submitted.stderr == f"sbatch: warning: {fault}\n"
    assert output.read_text().splitlines()[-1] == "/tmp"


def test_an_output_that_is_no_file(engine: LocalEngine) -> None:
    job = engine.run(["sbatch", "--wait", "-o", "/dev/full", "--wrap=echo x"]).stdout.split()[-1]
    text = engine.run(["slurmsky", "why", job]).stdout
    assert "  Its output file /dev/full cannot be read: not a regular file.\n" in text


def test_a_script_that_fails_alone_has_no_cause(engine: LocalEngine) -> None:
    job = engine.run(["sbatch", "--wait", "-o/dev/null", "--wrap=exit 2"]).stdout.split()[-1]
    assert engine.run(["sacct", "-XnP", "-j", job, "-o", "reason,systemcomment"]).stdout == "None|\n"
    assert "Cause:" not in engine.run(["seff", job]).stdout


def test_quiet_submission_has_no_warning(engine: LocalEngine) -> None:
    assert engine.run(["sbatch", "-Q", "--hold", "-o", "/etc/passwd/x", "--wrap=true"]).stderr == ""


def test_a_dependency_that_can_never_hold(engine: LocalEngine) -> None:
    first = engine.run(["sbatch", "--wait", "-o/dev/null", "--wrap=exit 1"]).stdout.split()[-1]
    second = engine.run(
        ["sbatch", "--wait", "-o/dev/null", "-d", f"afterok:{first}", "--kill-on-invalid-dep=yes", "--wrap=true"]
    ).stdout.split()[-1]
    shown = engine.run(["sacct", "-XnP", "-j", second, "-o", "state,systemcomment"]).stdout
    assert shown == f"CANCELLED|its dependency can never be satisfied: afterok:{first}(failed)\n"


def _holds(engine: LocalEngine, job: str, code: str, cause: str) -> None:
    columns = engine.run(["sacct", "-XnP", "-j", job, "-o", "state,exitcode,reason,systemcomment"]).stdout
    assert columns.startswith(f"FAILED|{code}|JobLaunchFailure|{cause}")
    assert f"\nCause: {cause}" in engine.run(["seff", job]).stdout
    assert f"SystemComment={cause}" in engine.run(["scontrol", "show", "job", job]).stdout
