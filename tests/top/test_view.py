"""`slurmsky top` in a terminal, with real jobs of a local engine: output and keys."""

from __future__ import annotations

import os
import re
import signal
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polling import wait_for

Top = Callable[..., Any]


LOGS = "for i in $(seq 40); do echo line $i; done; echo 'last words: ä日本'; sleep 600"


def test_at_80_by_24(queue: Any, top: Top) -> None:
    running = queue.submit("-J", "größe 日本", "--mem=100M", "--wrap", LOGS)
    held = queue.submit("-H", "-J", "held-job", "-p", "gpu", "--gres=gpu:1", "--wrap", "true")
    array = queue.submit("-a", "1-9%1", "-J", "sweep", "--wrap", "sleep 600")
    wait_for(lambda: queue.state(f"{array}_1") == "RUNNING")
    view = top(80, 24)
    view.until("2 running")
    view.press("/", "größe", "enter")
    view.until("last words")
    view.press("escape")
    text = view.until(lambda text: "held-job" in text and f"Job {running} " in text, "all, and the cursor still there")
    lines = text.splitlines()
    assert len(view.screen.display) == 24
    assert "2 running   9 waiting   CPUs 2/16   GPUs 0/2" in lines[0]
    assert re.search(r"\d\d:\d\d:\d\d $", view.screen.display[0])
    assert "1 Queue 4" in lines[1]
    assert "2 Nodes 3" in lines[1]
    assert lines[2].split() == ["JOBID", "PARTITION", "NAME", "USER", "ST", "TIME", "NODES", "NODELIST(REASON)"]
    assert re.search(rf"^ *{held} gpu +held-job +\w+ +PD +0:00 +1 \(JobHeldUser\)", text, re.MULTILINE), text
    assert re.search(rf"^ *{array}_\[2-9%1\] debug +sweep +\w+ +PD +0:00 +1 \(JobArrayTaskLimit\)", text, re.MULTILINE)
    assert re.search(rf"^ *{array}_1 debug +sweep +\w+ +R +\d+:\d\d +1 n[12]", text, re.MULTILINE), text
    assert re.search(rf"^ *{running} debug +größe 日 ?本", text, re.MULTILINE), text
    assert f"Job {running}" in lines[12]
    assert f"slurm-{running}.out" in lines[12]
    assert "line 40" in text
    assert "line 1\n" not in text  # the end is what one wants to see
    assert lines[23].startswith("c Cancel  h Hold  u Release  r Requeue  / Filter  s Sort")
    assert lines[23].endswith("? Help  q Quit")
    view.press("d")
    text = view.until("Submitted")
    assert re.search(r"^Name +größe 日 ?本", text, re.MULTILINE), text
    assert re.search(r"^State +RUNNING", text, re.MULTILINE), text
    assert re.search(r"^Nodes +1 n[12] +Uses +cpu 1, mem 100M", text, re.MULTILINE)
    view.press("e")
    text = view.until("core time")
    assert re.search(r"^CPU +[#.]{12} +\d+\.\d\d% of 00:0\d:\d\d core time", text, re.MULTILINE)
    text = view.until(lambda text: re.search(r"^Memory +[#.]{12} +[1-9]\d*\.\d\d% of 100.00 MB", text, re.MULTILINE),
                      "what sstat says")  # fmt: skip
    assert "so far" in text
    view.press("q")
    assert view.end() == 0


def test_at_120_by_40_output_and_details_stand_side_by_side(queue: Any, top: Top) -> None:
    job = queue.submit("-J", "wide", "--wrap", LOGS)
    view = top(120, 40)
    text = view.until(lambda text: "last words" in text and "Submitted" in text and "core time" in text, "all")
    lines = text.splitlines()
    assert len(lines) == 40
    assert re.search(rf"^ *{job} +debug +wide +", text, re.MULTILINE), text
    assert any(re.match(r"line \d+ +Name +wide", line) for line in lines)
    assert "Job ID: " + job in text
    assert "Enter Zoom" in lines[-1]
    assert len(view.raw) < 6000  # a slow line carries all of it


def test_ctrl_l_draws_a_disturbed_screen_again(queue: Any, top: Top) -> None:
    queue.submit("-H", "-J", "small", "--wrap", "true")
    view = top(80, 24)
    view.until("JobHeldUser")
    view.screen.reset()  # as another program's message on this terminal
    view.press("ctrl-l")
    assert "Queue 1" in view.until("JobHeldUser")


def test_nodes(queue: Any, top: Top) -> None:
    job = queue.submit("-p", "gpu", "-J", "on-gpu", "--gres=gpu:h100:2", "--mem=1000", "-c3", "--wrap", "sleep 99")
    wait_for(lambda: queue.state(job) == "RUNNING")
    queue.run(["scontrol", "update", "nodename=n2", "state=drain", "reason=bad fan"])
    try:
        view = top()
        view.until("1 running")
        view.press("2")
        text = view.until(lambda text: "mixed" in text and "3/8" in text, "the nodes")
        assert re.search(r"^g1 +gpu +mixed +3/8 +[\d.]+ +1\.0G/3\.9G +2/2 +h100", text, re.MULTILINE), text
        assert re.search(r"^n2 +debug\* +drained +0/4 +[\d.]+ +0\.0G/2\.0G +- +bad fan", text, re.MULTILINE), text
        view.press("/", "g1", "enter")
        text = view.until("NodeName=g1")
        view.press("enter", "end")
        view.until("on-gpu")  # the jobs on that node
        view.press("escape", "escape", "1")
        view.until(lambda text: re.search(rf"^ *{job} ", text, re.MULTILINE), "the queue")
    finally:
        queue.run(["scontrol", "update", "nodename=n2", "state=resume"])


def test_jobs_that_have_ended(queue: Any, top: Top) -> None:
    job = queue.submit("-J", "shortlived", "--wrap", "echo over and out; exit 3")
    wait_for(lambda: queue.state(job) == "FAILED")
    view = top()
    view.until("the queue is empty")
    view.press("a", "/", "shortlived", "enter")  # its id may stand in the list of an array, too
    view.until(lambda text: re.search(rf"^ *{job} .* F ", text, re.MULTILINE) and "over and out" in text, "the job")
    view.press("e")
    view.until("State: FAILED (exit code 3)")


def test_output_is_live_and_its_control_sequences_have_no_effect(queue: Any, top: Top) -> None:
    evil = r"printf '\033]0;owned\007\033[2J\033[31mred\033[0m\tx\rtab %s\b\b\342\200\256\302\233\n' abcd; "
    script = evil + "while [ ! -e go ]; do sleep 0.1; done; echo went; sleep 600"
    job = queue.submit("-J", "a\tb\x1b[31mc\x07", "--wrap", script)
    view = top()
    view.until(lambda text: "tab ab" in text, "the cleaned line")
    assert re.search(r"^tab ab\W?$", view.text, re.MULTILINE), view.text
    assert re.search(rf"^ *{job} debug +a b�\[31mc�", view.text, re.MULTILINE), view.text
    (queue.root / "go").touch()
    view.until("went")
    (queue.root / "go").unlink()
    view.press("q")
    assert view.end() == 0
    assert b"owned" not in view.raw
    assert b"\x07" not in re.sub(rb"\x1b\]22;\w*\x07", b"", view.raw)  # the mouse pointer's usual shape, by Textual
    assert "\u202e".encode() not in view.raw
    assert "\x9b".encode() not in view.raw


def test_a_separate_error_file_is_shown(queue: Any, top: Top) -> None:
    queue.submit("-o", "one.out", "-e", "two.err", "--wrap", "echo to out; echo to err >&2; sleep 600")
    view = top()
    view.until("to out")
    view.press("E")
    text = view.until("to err")
    assert "two.err" in text.splitlines()[12]
    view.press("E")
    view.until("to out")


@pytest.mark.parametrize(
    ("make", "reported"),
    [
        (lambda path: None, "no such file (yet)"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.mkdir(), "not a regular file"),
    ],
    ids=["missing", "unreadable", "fifo", "folder"],
)
def test_output_that_cannot_be_read(queue: Any, top: Top, make: Callable[[Path], None], reported: str) -> None:
    job = queue.submit("-o", "gone.%j", "--wrap", "echo seen; sleep 600")
    output = queue.root / f"gone.{job}"
    wait_for(lambda: output.exists() and output.read_text() == "seen\n")
    output.unlink()
    make(output)
    view = top()
    view.until(f"{output}: {reported}")
    if output.is_dir():
        output.rmdir()
    elif os.path.lexists(output):
        output.unlink()
    output.write_text("back\n")
    view.until(lambda text: re.search(r"^back$", text, re.MULTILINE), "the file")


def test_the_terminal_is_restored(queue: Any, top: Top) -> None:
    for way in ("q", "ctrl-c", signal.SIGTERM):
        view = top()
        view.until("the queue is empty")
        assert view.settings()[3] & termios.ICANON == 0
        if isinstance(way, str):
            view.press(way)
        else:
            os.kill(view.process.pid, way)
        assert view.end() == (128 + way if isinstance(way, int) else 0)
        assert view.settings() == view.before
        assert view.raw.rindex(b"\x1b[?1049l") > view.raw.rindex(b"\x1b[?1049h")
        assert view.raw.rindex(b"\x1b[?25h") > view.raw.rindex(b"\x1b[?25l")


def _colours(raw: bytes) -> set[bytes]:
    codes = {code for found in re.findall(rb"\x1b\[([\d;]*)m", raw) for code in re.split(rb";(?!5;)", found)}
    return {code for code in codes if re.fullmatch(rb"3[0-8].*|4[0-8].*|9[0-7]|10[0-7]", code)}


def test_only_basic_colours_are_used(queue: Any, top: Top) -> None:
    queue.submit("-H", "--wrap", "true")
    raw = []
    for env in ({"TERM": "xterm"}, {"COLORTERM": "truecolor"}, {"NO_COLOR": "1"}):
        view = top(80, 24, **env)
        view.until("JobHeldUser")
        view.press("c")
        view.until("Cancel job")
        view.press("n", "q")
        assert view.end() == 0
        raw.append(view.raw)
    for used in (_colours(raw[0]), _colours(raw[1])):
        assert used
        assert all(re.fullmatch(rb"3[0-7]|4[0-7]|9[0-7]|10[0-7]", code) for code in used), used
    assert not _colours(raw[2])
    assert re.search(rb"\x1b\[(\d+;)*7(;\d+)*m +\d+", raw[2])  # the cursor is seen without colours


@pytest.mark.parametrize(("columns", "rows"), [(40, 10), (20, 5), (200, 60)])
def test_any_size(queue: Any, top: Top, columns: int, rows: int) -> None:
    queue.submit("-H", "-J", "small", "--wrap", "true")
    view = top(columns, rows)
    view.until("0 runnin")
    view.press("down", "d", "e", "o", "2", "1", "?", "x", "z", "z", "q")
    assert view.end() == 0


def test_without_a_terminal_or_with_a_bad_option(queue: Any) -> None:
    for args, reported in (
        ([], "slurmsky: top needs a terminal; squeue --iterate=2 repeats itself anywhere"),
        (["-i", "x"], "slurmsky: top: Invalid --iterate specification: x"),
        (["-i", "nan"], "slurmsky: top: Invalid --iterate specification: nan"),
    ):
        done = queue.run(["slurmsky", "top", *args])
        assert (done.returncode, done.stdout, done.stderr.rstrip()) == (1, "", reported)
    assert "--iterate" in queue.run(["slurmsky", "top", "--help"]).stdout


def test_a_controller_that_was_stopped(queue: Any, top: Top) -> None:
    queue.submit("-H", "-J", "stays", "--wrap", "true")
    view = top()
    view.until("stays")
    assert queue.run(["slurmsky", "stop"]).returncode == 0
    text = view.until("no controller is running: Ctrl-L starts one")
    assert "stays" in text  # what was known last
    view.press("ctrl-l")
    view.until(lambda text: "0 running   1 waiting" in text, "the queue again")
    view.press("q")
    assert view.end() == 0
    assert b"lost connection" not in view.raw


def test_a_controller_that_was_killed_and_one_that_a_command_starts(queue: Any, top: Top) -> None:
    job = queue.submit("-J", "survivor", "--wrap", "sleep 600")
    view = top()
    view.until("survivor")
    pid = int((queue.home / "controller.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    view.until("Ctrl-L starts one")
    wait_for(lambda: queue.state(job) == "RUNNING")
    view.until("1 running")
    view.press("c")
    view.until("Cancel job")
    view.press("y")
    view.until("the queue is empty")


def test_inside_a_job(queue: Any, top: Top) -> None:
    """The node's agent relays the queries."""
    view = top(80, 24, before=("srun", "--pty", "-J", "inside"))
    view.until("inside")
    view.press("q")
    assert view.end() == 0


def test_idle_costs_little(queue: Any, top: Top) -> None:
    queue.submit("-J", "talks", "--wrap", "while sleep 0.2; do date; done")
    view = top()
    view.until(lambda text: re.search(r"^\w+ \w+ +\d+ ", text, re.MULTILINE), "output")
    pid = view.process.pid

    def cpu_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = cpu_s(), time.monotonic()
    while time.monotonic() < began + 4:
        view.read(0.2)
    # Asking twice a second, four times as often as usual, and a file that changes each second.
    assert cpu_s() - before < 2.0
