"""The embedded engine runs the README's first job; its output is in the submit folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_first_job_runs_and_is_accounted(run: Callable[..., object], tmp_path: Path) -> None:
    submitted = run("sbatch", "--wait", ROOT / "examples" / "sbatch" / "hello.sh")
    assert (submitted.code, submitted.out, submitted.err) == (0, "Submitted batch job 1\n", "")
    output = (tmp_path / "work" / "slurm-1.out").read_text()
    assert output.startswith("Hello from job 1 (hello)") and "a step: task 0 of 1\n" in output
    rows = run("sacct", "-n", "-P", "-o", "jobid,state,exitcode").out
    assert rows.splitlines() == ["1|COMPLETED|0:0", "1.batch|COMPLETED|0:0", "1.0|COMPLETED|0:0"]
