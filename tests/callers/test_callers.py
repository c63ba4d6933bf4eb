"""Other programs can parse the answers to their queries."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from lines import CANCELS, QUESTIONS, SUBMISSIONS, Question, Submission
from local_engine import LocalEngine


def _fill(text: str, ids: dict[str, str]) -> str:
    """Replace {name} for known names; other braces (of regular expressions) stay."""
    return re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], found[0]), text)


@pytest.mark.parametrize("requested", QUESTIONS, ids=lambda requested: f"{requested.project}: {requested.line[:60]}")
def test_question(requested: Question, engine: LocalEngine, ids: dict[str, str]) -> None:
    done = engine.run(_fill(requested.line, ids))
    assert done.returncode == requested.code, done
    if requested.stderr is not None:
        assert requested.stderr in done.stderr
    elif not requested.code:
        assert not done.stderr, done.stderr
    lines = done.stdout.splitlines()
    for pattern, groups in requested.reads:
        matches = [found for found in (re.search(_fill(pattern, ids), line) for line in lines) if found]
        assert matches, f"no line matches {_fill(pattern, ids)} in\n{done.stdout}"
        if groups:
            wanted = tuple(_fill(group, ids) for group in groups)
            assert wanted in [found.groups() for found in matches], done.stdout
    if requested.shape:
        bad = [line for line in lines[requested.skip :] if not re.fullmatch(requested.shape, line)]
        assert not bad


@pytest.fixture(scope="session")
def private_environment(engine: LocalEngine) -> None:
    """Create the files that any first command creates, once.

    A job with its own environment then works without SLURMSKY_PYTHON.
    """
    done = engine.run("env -u SLURMSKY_PYTHON -u XDG_CACHE_HOME squeue -h", limit_s=500)
    assert done.returncode == 0, done


@pytest.mark.timeout(700)
@pytest.mark.usefixtures("private_environment")
@pytest.mark.parametrize("job", SUBMISSIONS, ids=lambda job: job.project)
def test_submission(job: Submission, engine: LocalEngine, ids: dict[str, str], tmp_path: Path) -> None:
    words = {**ids, "dir": str(tmp_path), "script": str(tmp_path / "job.sh")}
    script = _fill(job.script, words).replace("{{", "{").replace("}}", "}")
    (tmp_path / "job.sh").write_text(script)
    done = engine.run(_fill(job.line, words), cwd=tmp_path, stdin=script if job.stdin else "",
                      env={"JUPYTERHUB_API_TOKEN": "x"})  # fmt: skip
    assert done.returncode == 0, done
    found = re.search(job.reads, done.stdout.strip())
    assert found, done
    number = found["id"]
    output = Path(_fill(job.output, words).replace("%j", number))
    end = time.monotonic() + 60
    while not re.fullmatch(job.wrote, text := output.read_text() if output.exists() else ""):
        assert time.monotonic() < end, (text, engine.run(["scontrol", "show", "job", number]).stdout)
        time.sleep(0.2)


@pytest.mark.parametrize(("project", "line"), CANCELS, ids=[name for name, _ in CANCELS])
def test_cancel(project: str, line: str, engine: LocalEngine) -> None:
    numbers = [engine.run("sbatch --parsable -H --wrap true").stdout.strip() for _ in range(2)]
    done = engine.run(line.format(victim=numbers[0], other=numbers[1]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert engine.run(["squeue", "-ho%T", "-tall", "-j", numbers[0]]).stdout == "CANCELLED\n"
    if "{other}" not in line:
        engine.run(["scancel", numbers[1]])
