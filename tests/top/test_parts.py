"""Parts of `slurmsky top`: safe text, ends of files, rows, and 10,000 jobs."""

from __future__ import annotations

import asyncio
import os
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from slurmsky.commands.slurmsky import top_command
from slurmsky.top import rows
from slurmsky.top.bars import head
from slurmsky.top.controller_client import CommandOutput, ControllerClient, NoController
from slurmsky.top.job_details import JobDetails, detail_lines, efficiency_lines, why_lines
from slurmsky.top.keys import KEYS, hints
from slurmsky.top.plain_text import output_line, plain
from slurmsky.top.screen import Top
from slurmsky.top.tail import MOST_LINES, TAIL_BYTES, Tail

# --- what stands above all


@pytest.mark.parametrize(
    ("width", "start"),
    [(120, " slurmsky top   2 running   13 waiting   1 other   CPUs 10/128   GPUs 3/16 "),
     (80, " slurmsky top   2 running  13 waiting  1 other  CPUs 10/128  GPUs 3/16 "),
     (68, " 2 running  13 waiting  1 other  CPUs 10/128  GPUs 3/16 "), (40, " 2 running  13 waiting ")],
)  # fmt: skip
def test_head(width: int, start: str) -> None:
    def job(name: str, state: str) -> rows.JobLine:
        return rows.JobLine(name, 7, "p", "u", state, "", "0:00", "1", "n1", "x")

    pairs = ("5", "R"), ("7_1", "R"), ("7_[2-20:2,22%3]", "PD"), ("8+0", "PD"), ("8+1", "PD"), ("9", "S")
    jobs = [job(*pair) for pair in pairs]
    node = rows.NodeLine("n1", "p", "mixed", 5, 64, 1, 1, "1.0", 3, 16, "h100", "")
    text = head(width, jobs, [node, node._replace(gpus_used=0, gpus=0)], "", False).plain
    assert text.startswith(start.rstrip()) and cell_len(text) == width
    cut = head(80, [job("7_[2-20,40-...%3]", "PD")], [], "", False).plain
    assert "19+ waiting" in cut
    assert "gone" in head(30, jobs, [], "gone", True).plain


def test_devices_of_a_job() -> None:
    def uses(**record: Any) -> str:
        lines = detail_lines(JobDetails("7", {"name": "x", "job_state": ["RUNNING"], **record}))
        return next(text for line in lines for (label, _), (text, _) in zip(line[::2], line[1::2], strict=True)
                    if label.strip() == "Uses").strip()  # fmt: skip

    held = "cpu=4,mem=10G,node=2,billing=4,gres/gpu=4,gres/gpu:h100=4"
    assert uses(tres_alloc_str=held, gres_detail=["gpu:h100:2(IDX:0-1)", "gpu:h100:2(IDX:1,3)"]) == (
        "cpu 4, mem 10G, gpu 4 h100")  # fmt: skip
    assert uses(tres_alloc_str="cpu=1", gres_detail=["gpu:1(IDX:0),shard:8(IDX:0)"]) == "cpu 1, gpu 1, shard 8"
    assert uses(tres_req_str="cpu=1", tres_per_node="gres/gpu:h100:2", gres_detail=[]) == "cpu 1, gpu 2/node"
    assert uses(tres_req_str="cpu=1", tres_per_job="gres/gpu:3") == "cpu 1, gpu 3"


# --- text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 日本", "größe 日本"),
        ("a\nb\tc", "a b c"),
        ("a\x1b[31m\x07", "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"),
        ("\x9b31m", "\N{REPLACEMENT CHARACTER}31m"),
        ("bytes \udcff", "bytes \N{REPLACEMENT CHARACTER}"),
        ("right \u202eto\u2066 left\u200f", "right to left"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\U0001f469"),
        ("heart \u2764\ufe0f", "heart \u2764"),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;ZXZpbA==", ""),
        ("\x1bP1;2|dcs\x1b\\after", "after"),
        ("\x1b(B\x1b[?25l\x1b=x", "x"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1b", ""),
        ("  3%\r 50%\r100%\r", "100%"),
        ("windows\r", "windows"),
        ("ab\b\b\b\bc", "c"),
        ("a\tb", "a       b"),
        ("a\x00b", "a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_output_line(line: str, shown: str) -> None:
    assert output_line(line) == shown


@given(st.text())
def test_control_characters_are_removed(text: str) -> None:
    for shown in (plain(text), output_line(text)):
        assert shown.isprintable()
        assert plain(shown) == shown


@given(st.binary(max_size=300))
def test_any_bytes_are_output(data: bytes) -> None:
    for line in data.split(b"\n"):
        assert output_line(line.decode("utf-8", "replace")).isprintable()


# --- files


def test_tail_of_a_growing_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    tail = Tail(str(path))
    assert tail.read().problem == "no such file (yet)"
    assert tail.read() is tail.read()
    path.write_text("one\ntwo")
    assert tail.read().lines == ("one", "two")
    assert tail.read() is tail.read()
    with path.open("a") as file:
        file.write("!\nthree\n")
    assert tail.read().lines == ("one", "two!", "three")
    path.write_text("")
    assert tail.read().lines == ()
    path.unlink()
    assert tail.read().problem == "no such file (yet)"


def test_tail_of_a_large_file_costs_its_end(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        file.truncate(20 << 30)  # a hole
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    tail = Tail(str(path)).read()
    assert tail.lines[-1] == "last"
    assert tail.size == (20 << 30) + 6
    path.write_bytes(b"x" * 50 + b"\n" + b"y\n" * TAIL_BYTES)
    tail = Tail(str(path)).read()
    assert set(tail.lines) == {"y"}
    assert len(tail.lines) == MOST_LINES


def test_the_tail_of_a_path_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/null")):
        assert Tail(str(path)).read().problem == "not a regular file"
    assert Tail("nul\0").read().problem == "no file has such a name"
    assert Tail(f"/{'n' * 300}").read().problem == "File name too long"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_the_tail_of_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.touch(0)
    assert Tail(str(path)).read().problem == "Permission denied"


# --- rows


def job_text(*jobs: tuple[str, ...]) -> str:
    return "".join("\x1e" + "\x1f".join(job) + "\n" for job in jobs)


def test_jobs_with_any_name() -> None:
    names = ["plain", "with\nnewline", "with \x1f separators \x1f", "", " ", "ü日"]
    text = job_text(*((f"{n}", f"{n}", "debug", "me", "R", "RUNNING", "1:00", "1", "n1", name)
                      for n, name in enumerate(names, 1)))  # fmt: skip
    assert [job.name for job in rows.jobs(text)] == names
    assert rows.jobs("") == []
    assert rows.jobs("squeue says something else\n") == []


def test_an_arrays_rest_is_one_line_while_it_shrinks() -> None:
    text = job_text(("7_[2-9%1]", "7", "p", "u", "PD", "PENDING", "0:00", "1", "(Resources)", "x"),
                    ("7_[3-9%1]", "7", "p", "u", "PD", "PENDING", "0:00", "1", "(Resources)", "x"),
                    ("7_2", "8", "p", "u", "R", "RUNNING", "0:01", "1", "n1", "x"))  # fmt: skip
    one, other, element = rows.jobs(text)
    assert one.key == other.key != element.key
    assert (one.name_for_commands, element.name_for_commands) == ("7", "7_2")


def test_nodes_of_several_partitions_are_shown_once() -> None:
    fields = ("n1", "{}", "mixed", "3/5/0/8", "4000", "100", "0.50", "gpu:a100:4", "gpu:a100:1(IDX:0)", "none", "")
    line = "\x1f".join(fields)
    (node,) = rows.nodes(f"{line.format('debug*')}\n{line.format('gpu')}\n\n")
    assert node == rows.NodeLine("n1", "debug*,gpu", "mixed", 3, 8, 4000, 100, "0.50", 1, 4, "a100", "")


@pytest.mark.parametrize(
    ("gres", "count", "kind"),
    [
        ("gpu:h100:4", 4, "h100"),
        ("gpu:2", 2, ""),
        ("gpu", 1, ""),
        ("gpu:h100:2(IDX:0-1)", 2, "h100"),
        ("gpu:a100:2(S:0),gpu:v100:1(S:1),shard:3", 3, "a100/v100"),
        ("(null)", 0, ""),
        ("gpu:h100:0(IDX:N/A)", 0, "h100"),
    ],
)
def test_gpus(gres: str, count: int, kind: str) -> None:
    assert (rows._gpus(gres), rows._gpu_type(gres)) == (count, kind)


# --- a job


def line_texts(lines: Any) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


SEFF = """Job ID: 7
Cluster: c
State: RUNNING
Cores: 2
CPU Utilized: 00:00:10
CPU Efficiency: 5.00% of 00:03:20 core-walltime
Job Wall-clock time: 00:01:40
Memory Utilized: 0.00 MB
Memory Efficiency: 0.00% of 2.00 GB (2.00 GB/node)
WARNING: Efficiency statistics can only be obtained after the job has ended
"""


def test_efficiency_adds_what_runs() -> None:
    details = JobDetails("7", {"job_state": ["RUNNING"]}, SEFF,
                      "7.batch|cpu=00:00:30,mem=1024M\n7.0|cpu=00:01:00,mem=1.5G,vmem=9G\n")  # fmt: skip
    lines = line_texts(efficiency_lines(details))
    assert lines[0] == "CPU    ######......  50.00% of 00:03:20 core time"
    assert lines[1] == "Memory #########...  75.00% of 2.00 GB"
    assert lines[2].startswith("so far")
    assert not [line for line in lines if line.startswith(("WARNING", "CPU Util", "Memory Eff"))]
    nothing = SEFF.replace("5.00%", "0.00%")
    assert line_texts(efficiency_lines(JobDetails("7", {}, nothing)))[0] == "It has no measurements yet."
    little = SEFF.replace("5.00%", "0.87%")
    assert line_texts(efficiency_lines(JobDetails("7", {}, little)))[0].startswith("CPU    #...........   0.87%")
    ended = line_texts(efficiency_lines(JobDetails("7", {}, SEFF)))
    assert ended[0] == "CPU    #...........   5.00% of 00:03:20 core time"
    assert "Memory Efficiency: 0.00% of 2.00 GB (2.00 GB/node)" in ended


def test_output_of_an_arrays_waiting_rest_is_its_pattern() -> None:
    record = {"stdout_expanded": "/w/slurm-42_4294967294.out", "standard_output": "/w/slurm-%A_%a.out"}
    assert "Output    /w/slurm-%A_%a.out" in "\n".join(line_texts(detail_lines(JobDetails("42[]", record))))


def test_the_answer_of_why_is_wrapped_to_the_pane() -> None:
    text = "Job 7 (x) waits: what it asks for is in use (Resources).\n  One.\nWhat to do:\n  squeue --start -j 7\n"
    lines = why_lines(JobDetails("7", {}, why=text), 30)
    assert line_texts(lines) == ["Job 7 (x) waits: what it asks", "  for is in use (Resources).", "  One.",
                                 "What to do:", "  squeue --start -j 7"]  # fmt: skip
    assert [line[0][1] for line in lines] == ["bold", "bold", "", "", "green"]


def test_details_of_a_forgotten_job() -> None:
    assert line_texts(detail_lines(JobDetails("7", {}))) == ["This job is no longer in the queue."]


# --- keys


def test_hints_fit() -> None:
    for width in (20, 40, 80, 120):
        line = "".join(f"{key} {word}  " for key, word in hints(width))
        assert line.endswith("? Help  q Quit  ")
        assert cell_len(line) <= max(width, 16)
    assert ("c", "Cancel") in hints(80)
    assert len({key.shown for key in KEYS}) == len(KEYS)


# --- without textual


def test_without_textual_top_prints_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Caller:
        env = {"TERM": "xterm"}  # noqa: RUF012

        class request:
            ttys = (True, True, True)

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    assert top_command._problem(Caller) == ""  # type: ignore[arg-type]
    for version in (missing, lambda name: "0.89.1"):
        monkeypatch.setattr(top_command, "version", version)
        reported = top_command._problem(Caller)  # type: ignore[arg-type]
        assert reported.startswith("needs textual, which is not installed here: ")
        assert reported.endswith(" 'textual>=8'")


# --- 10,000 jobs


class Thousands(ControllerClient):
    """A controller with many jobs, whose answers always differ slightly."""

    def __init__(self, count: int) -> None:
        self.inside_job = False
        self.count = count
        self.requested: list[tuple[str, ...]] = []
        self.gone = False

    def start(self) -> None:
        self.gone = False

    def run_command(self, command: str, *args: str, **extra: str) -> CommandOutput:
        self.requested.append((command, *args))
        if self.gone:
            raise NoController("no controller is running")
        if command == "squeue" and "-o" in args:
            return CommandOutput(0, job_text(*(
                (str(n), str(n), "debug", "someone", "R" if n < 100 else "PD", "RUNNING" if n < 100 else "PENDING",
                 f"{len(self.requested) % 60}:00", "1", "n1" if n < 100 else "(Resources)", f"job {n} ü")
                for n in range(1, self.count + 1))), "")  # fmt: skip
        if command == "squeue" and "--json" in args:
            return CommandOutput(
                0, f'{{"jobs": [{{"job_id": {args[-1]}, "job_state": ["PENDING"], "name": "x"}}]}}', ""
            )
        return CommandOutput(0, "", "")


def test_ten_thousand_jobs_are_shown_quickly() -> None:
    async def drive() -> None:
        controller = Thousands(10_000)
        app = Top(0.5, controller)
        async with app.run_test(size=(80, 24)) as pilot:
            table = app._job_table
            while table.num_rows < 10_000:
                await pilot.pause(0.05)
            began = time.thread_time()
            await pilot.press("end", "pageup", *["up"] * 15, "home", *["down"] * 15, *["pagedown"] * 10)
            keys_s = time.thread_time() - began
            assert table.current is not None
            place = [job.key for job in table.all_rows].index(table.current.key)
            assert place == 15 + 10 * table._page
            # Each key repaints the screen and nothing more.
            assert keys_s < 5.0, keys_s
            began = time.thread_time()
            await pilot.press("s", "s", "s", "S", "slash", *"9999", "enter")
            assert time.thread_time() - began < 5.0
            assert table.num_shown == 1
            assert table.current.id == "9999"
            controller.gone = True
            while not app._lost:
                await pilot.pause(0.05)
            assert table.num_shown == 1  # what was known stays

    asyncio.run(drive())
