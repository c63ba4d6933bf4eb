"""A submission from a file that blocks delays no other client and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polling import PATIENCE_S, alive, wait_for

from .conftest import Engine

Run = Callable[..., Any]


def test_submissions_from_fifos_delay_no_other_command(engine: Engine, run: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    waiting = [run.start("sbatch", fifo) for _ in range(12)]  # type: ignore[attr-defined]
    assert run("sbatch", "--wait", "--wrap", "true")[0] == 0
    assert all(one.poll() is None for one in waiting)
    # Each reader of a FIFO may get a part of what is written: one of them is enough.
    for one in waiting[1:]:
        one.kill()
        one.wait()
    fifo.write_text("#!/bin/sh\nexit 0\n")
    assert waiting[0].wait(PATIENCE_S) == 0
    again = run.start("sbatch", fifo)  # type: ignore[attr-defined]
    controller = engine.controller()
    assert run("slurmsky", "stop")[0] == 0
    wait_for(lambda: not alive(controller))
    again.kill()
    again.wait()


def test_a_fifo_of_node_names_is_read_by_its_caller(engine: Engine, run: Run, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for command, *rest in (("sbatch", "--wait", "--wrap", "true"), ("salloc", "true")):
        for option in (f"--nodefile={fifo}", f"--nodelist={fifo}"):
            waiting = run.start(command, option, *rest)  # type: ignore[attr-defined]
            assert run("squeue", "-h")[0] == 0
            assert waiting.poll() is None
            fifo.write_text("# names\n" + run("sinfo", "-h", "-o", "%n")[1].split()[0] + "\n")
            assert waiting.wait(PATIENCE_S) == 0
    refused = run("srun", f"--nodelist={fifo}", "true")  # its agent would read the file again
    assert refused[0] == 1 and f"error opening file {fifo}" in refused[2]
    missing = run("sbatch", "--nodefile=/no/such", "--wrap", "true")
    assert missing[0] == 255 and "error opening file /no/such, No such file or directory" in missing[2]
    assert engine.faults() == []


def test_scripts_come_from_every_source_of_the_caller(engine: Engine, run: Run, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "job.sh").write_text("#!/bin/sh\necho from PATH\n")
    (tmp_path / "work" / "folder").mkdir()

    path = f"{tmp_path / 'bin'}:{run.env['PATH']}"  # type: ignore[attr-defined]
    assert run("sbatch", "-oout", "--wait", "job.sh", env={"PATH": path})[0] == 0
    assert (tmp_path / "work" / "out").read_text() == "from PATH\n"
    missing = "sbatch: error: Unable to open file none.sh\n"
    assert run("sbatch", "none.sh") == (1, "", missing)
    assert run("sbatch", "folder")[0] == 1
    assert run("sbatch", "-oout", "--wait", "/dev/stdin", input="#!/bin/sh\necho stdin\n")[0] == 0
    assert (tmp_path / "work" / "out").read_text() == "stdin\n"
    (tmp_path / "environment").write_bytes(b"A=1\0B=2\0")
    assert run("sbatch", "-oout", "--wait", f"--export-file={tmp_path}/environment", "--wrap", "echo $A$B")[0] == 0
    assert (tmp_path / "work" / "out").read_text() == "12\n"
    with open(tmp_path / "environment", "rb") as file:
        code = run.start("sbatch", "-oout", "--wait", f"--export-file={file.fileno()}", "--wrap", "echo $A$B",  # type: ignore[attr-defined]
                         pass_fds=[file.fileno()]).wait(PATIENCE_S)  # fmt: skip
    assert code == 0
    assert engine.faults() == []
