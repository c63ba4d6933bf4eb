"""Snakemake's Slurm executor: an array and its successor, a failing rule, an interrupted run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from common import reach, wait

RULES = """
rule both:
    input: "all.txt"
rule part:
    output: "part-{i}.txt"
    threads: 2
    resources: mem_mb=100, runtime=5, cpus_per_task=2
    shell: "echo {wildcards.i} $SLURM_ARRAY_TASK_ID > {output}"
rule whole:
    input: expand("part-{i}.txt", i=range(3))
    output: "all.txt"
    resources: mem_mb=100, runtime=5
    shell: "cat {input} > {output}"
rule bad:
    output: "bad.txt"
    resources: mem_mb=100, runtime=5
    shell: "exit 3"
rule slow:
    output: "slow.txt"
    resources: mem_mb=100, runtime=5
    shell: "echo $SLURM_JOB_ID > slow.id; sleep 300"
"""


def start(*words: str) -> "subprocess.Popen[bytes]":
    program = Path(sys.executable).with_name("snakemake")
    line = [program, "--executor", "slurm", "--jobs", "4", "--slurm-init-seconds-before-status-checks", "2",
            "--latency-wait", "20", "--nocolor", *words]  # fmt: skip
    with open("snakemake.log", "wb") as log:
        return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                env={**os.environ, "HOME": os.getcwd(), "XDG_CACHE_HOME": os.getcwd()})  # fmt: skip


def log() -> str:
    return Path("snakemake.log").read_text()


Path("Snakefile").write_text(RULES)
assert start("--slurm-array-jobs", "part", "--slurm-status-command", "squeue").wait(300) == 0, log()
rows = [line.split() for line in Path("all.txt").read_text().splitlines()]
assert [row[0] for row in rows] == ["0", "1", "2"]
assert {row[1] for row in rows} == {"1", "2", "3"}
assert start("bad.txt", "--slurm-pass-command-as-script").wait(300) == 1, log()
assert "SLURM status is: 'FAILED'" in log(), log()
run = start("slow.txt")
wait("the slow rule: " + log(), lambda: Path("slow.id").exists() and Path("slow.id").read_text())
run.send_signal(signal.SIGINT)
assert run.wait(120) != 0, log()
reach(Path("slow.id").read_text().strip(), "CANCELLED")
