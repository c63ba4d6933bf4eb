"""slurmsky report: pages of jobs that ran, and how a browser shows them."""

from __future__ import annotations

import stat
import sys
import time
from pathlib import Path

import pytest
from local_engine import LocalEngine

sys.path.insert(0, str(Path(__file__).parent))

import browser

pytestmark = pytest.mark.xdist_group("page")  # one engine for all

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
SCRIPT = """#!/bin/bash
#SBATCH -J train -N2 -n4 --mem=800 -t 10 --gpus-per-node=2 -o /dev/null
srun -n4 python3 -c '
import os, time
block, end = bytearray(30 << 20), time.monotonic() + 7
while time.monotonic() < end: sum(range(20000)) if os.environ["SLURM_LOCALID"] == "0" else time.sleep(0.1)'
srun -n1 -N1 false
exit 3
"""
LONG = "a-name-without-any-place-to-break-" * 8


@pytest.fixture(scope="module")
def jobs(engine: LocalEngine) -> dict[str, int]:
    """Run jobs of all kinds; returns their ids by kind."""
    (engine.root / "train.sh").write_text(SCRIPT)
    ids = {}

    def submit(name: str, *words: str) -> None:
        done = engine.run(["sbatch", "--parsable", *words])
        assert done.returncode == 0, done.stderr
        ids[name] = int(done.stdout)

    submit("train", "train.sh")
    submit("array", "-J", "sweep", "--array=0-4%2", "-o", "/dev/null", "--wrap", "exit $((SLURM_ARRAY_TASK_ID == 3))")
    submit("hostile", "-J", HOSTILE, "--comment", HOSTILE + "\nü", "-o", "/dev/null", "--wrap", "kill -9 $$")
    submit("long", "-J", LONG, "--comment", LONG, "-D", "/tmp", "-o", "/dev/null", "--wrap", "true")
    submit("held", "-H", "-J", "later", "-o", "/dev/null", "--wrap", "true")
    end = time.monotonic() + 100
    while engine.run("squeue -h -t R,PD -o %T | grep -v PENDING; squeue -h -t PD -o %r | grep -v JobHeldUser").stdout:
        assert time.monotonic() < end, engine.run("squeue").stdout
        time.sleep(0.3)
    return ids


@pytest.fixture(scope="module")
def pages(engine: LocalEngine, jobs: dict[str, int]) -> dict[str, str]:
    found = {name: engine.run(["slurmsky", "report", str(job)]).stdout for name, job in jobs.items()}
    found["all"] = engine.run(["slurmsky", "report", "--since", "now-1hour"]).stdout
    return found


def test_a_job_and_its_steps(pages: dict[str, str], jobs: dict[str, int]) -> None:
    page = pages["train"]
    for text in (f"Job {jobs['train']} ", "FAILED", "exit 3", "Step 1 (false) ended with exit 1.", "0 python3",
                 "n[1-2]", "GPUs busy", 'class="spark"', "sbatch --parsable train.sh"):  # fmt: skip
        assert text in page, text


def test_an_array_and_a_window(pages: dict[str, str], jobs: dict[str, int]) -> None:
    for page in (pages["array"], pages["all"]):
        for task in range(5):
            assert f">{jobs['array']}_{task} sweep<" in page
        assert "exit 1" in page
        assert f"Job {jobs['array']}_3 (sweep) is FAILED: exit code 1" in page
    assert f"Job {jobs['held']} (later) waits" in pages["all"] and f"scontrol release {jobs['held']}" in pages["all"]
    assert "JobHeldUser" in pages["all"] and "signal 9 (KILL)" in pages["all"]


def test_names_are_escaped_on_the_page(pages: dict[str, str]) -> None:
    for page in (pages["hostile"], pages["all"]):
        assert "<script" not in page and "<img" not in page and "&lt;script&gt;alert(1)" in page


def test_the_page_has_the_usage_series(engine: LocalEngine, pages: dict[str, str]) -> None:
    """The GPUs of the two nodes were half busy, as this machine's nvidia-smi says; the CPUs at times."""
    assert "CPUs busy" in pages["train"] and "memory in use" in pages["train"]
    assert "peak" in pages["train"] and ">held: 4 GPUs<" in pages["train"]


@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        ("", "a job or --since is needed", 2),
        ("7 --since now", "a job or --since, not both", 2),
        ("--until now", "a job or --since is needed", 2),
        ("--since", "option '--since' requires an argument", 2),
        ("--since=noday", "Invalid time specification (pos=0): noday", 1),
        ("--since now -u nobody-of-this-name", "Invalid user id: nobody-of-this-name", 1),
        ("99", "slurmsky: report: Invalid job id specified", 1),
        ("x7", "Bad job/step specified: x7", 1),
        ("--colour=red 7", "unrecognized option '--colour=red'", 2),
        ("--since now-1hour -o /nowhere/x.html", "slurmsky: report: /nowhere/x.html: No such file or directory", 1),
    ],
)
def test_bad_calls(words: str, error: str, code: int, engine: LocalEngine) -> None:
    done = engine.run("slurmsky report " + words)
    assert (done.returncode, done.stdout) == (code, "") and error in done.stderr


def test_the_page_is_written_to_the_named_file(engine: LocalEngine, jobs: dict[str, int]) -> None:
    job = jobs["train"]
    assert engine.run(f"slurmsky report {job} -o page.html").stdout == ""
    file = engine.root / "page.html"
    assert file.read_text().startswith("<!doctype html>") and stat.S_IMODE(file.stat().st_mode) == 0o600
    typed = engine.run(f"script -qec 'slurmsky report {job}' /dev/null")
    assert typed.stdout.strip() == f"report-{job}.html" and (engine.root / f"report-{job}.html").exists()
    assert "--since WHEN" in engine.run("slurmsky report --help").stdout
    assert "No job waited or ran" in engine.run("slurmsky report -S 2001-01-01 -E 2001-01-02").stdout


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_pages_look_right(dark: bool, pages: dict[str, str], tmp_path: Path, jobs: dict[str, int]) -> None:
    """At the width of a screen and of a telephone all text is readable and nothing overflows."""
    browser.needed()
    some = {name: pages[name] for name in ("train", "long", "hostile", "all")}
    looks = browser.screenshots(tmp_path, some, (1280, 400), dark)
    for (name, width), screenshots in looks.items():
        assert (screenshots.found, screenshots.dark, screenshots.wide) == ([], dark, width), (name, width)
    for width in (1280, 400):
        assert f"Job {jobs['train']} FAILED train" in looks["train", width].text
        assert "Warnings" in looks["train", width].text
        assert " ".join(HOSTILE.split()) in looks["hostile", width].text
        assert "All jobs" in looks["all", width].text


def test_a_picture_of_the_page(pages: dict[str, str], tmp_path: Path) -> None:
    browser.needed()
    file = tmp_path / "page.html"
    file.write_text(pages["train"])
    pixels = browser.picture(tmp_path, file, 1280, 1400)
    assert len(set(pixels)) > 100
