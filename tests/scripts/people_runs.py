"""Runs the scripts of people/ and collects their output; `python people_runs.py` records the oracle.

The oracle is a real Slurm with four nodes of 8 CPUs, 4 GB and 4 GPUs: a copy of each script is adapted to it, by taking
away the names and sizes that only another cluster has. Here the scripts run as they are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

PEOPLE = Path(__file__).with_name("people")
GOLDEN = Path(__file__).with_name("people_golden.json")
#: command lines for scripts that take arguments
ARGUMENTS = {"args_and_stdin.sh": ["first word", "second"]}
SCRIPTS = sorted(path.name for path in PEOPLE.iterdir() if path.is_file() and path.name != "activate.sh")
#: what only another cluster has: taken away for the oracle
_NAMES = re.compile(
    r"(?:--(?:partition|account|qos|constraint|reservation|licenses|nodelist|exclude|mem|mem-per-cpu|tmp|wckey)"
    r"|(?<=\s)-[pAC])[= \t]\s*(?:'[^']*'|\"[^\"]*\"|[^\s#]+)"
)
_SIZES = (("--gres=lscratch:100", ""), ("--gpus-per-node=8", "--gpus-per-node=4"))
_OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE")
#: lines of one of the two only: of its module system, of its build, and of a step that waits for CPUs
_OTHER_LINES = re.compile(
    r"^.*(?:module: command not found|slurmsky: module|lacks support for cpu binding|temporarily disabled, retrying"
    r"|Step created for|warning: --mpi=pmix: this machine has no|launch/slurm|srun: Terminating ).*\n",
    re.MULTILINE,
)
Outcome = dict[str, object]


def adapted(text: str) -> str:
    """The script for the oracle."""
    lines = []
    for line in text.split("\n"):
        if line.startswith("#SBATCH"):
            line = _NAMES.sub("", line)
            for old, new in _SIZES:
                line = line.replace(old, new)
        line = re.sub(r"^(.*\bsbatch .*?) -p \w+", r"\1", line)
        lines.append(line.replace("--mpi=pmix", "--mpi=pmi2"))  # it has the plugin, and no library for it
    return "\n".join(lines)


def run_all(env: Mapping[str, str], adapt: bool = False, limit_s: float = 240) -> dict[str, Outcome]:
    """Submit every script in a folder of its own, wait for all jobs, and collect states and files."""
    root = Path(tempfile.mkdtemp(prefix="people.", dir="/tmp"))
    found: dict[str, Outcome] = {}
    numbers: dict[str, str] = {}
    try:
        for name in SCRIPTS:
            folder = root / name.partition(".")[0]
            shutil.copytree(PEOPLE, folder)
            if adapt:
                (folder / name).write_text(adapted((PEOPLE / name).read_text()))
            words = ["sbatch", name, *ARGUMENTS.get(name, ())]
            done = subprocess.run(words, cwd=folder, env=env_of(env, folder), capture_output=True, text=True)
            found[name] = {"submit": done.returncode, "stderr": done.stderr if done.returncode else ""}
            numbers[name] = "".join(re.findall(r"Submitted batch job (\d+)", done.stdout))
        wait(env, limit_s)
        before = {path.name for path in PEOPLE.iterdir()}
        for name in SCRIPTS:
            folder = root / name.partition(".")[0]
            found[name]["jobs"] = states(env, folder)
            found[name]["files"] = {
                re.sub(rf"(?<!\d){numbers[name] or 'J'}(?!\d)", "J", path.name, count=1): text(path)
                for path in sorted(folder.rglob("*.*"))
                if path.is_file() and path.name not in before and path.suffix in (".out", ".log", ".txt", ".err")
            }
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return found


def env_of(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment of a submitter with the programs of the scripts, and without startup files."""
    return {**env, "HOME": str(folder), "PATH": f"{folder}/stubs:{env['PATH']}"}


def wait(env: Mapping[str, str], limit_s: float) -> None:
    """Wait until no job of ours is left."""
    deadline = time.monotonic() + limit_s
    words, empty = ["squeue", "-h", "--me", "-o", "%i"], 0
    while empty < 3 and time.monotonic() < deadline:  # the accounting follows a moment later
        time.sleep(0.5)
        left = subprocess.run(words, env=dict(env), capture_output=True, text=True).stdout.split()
        empty = 0 if left else empty + 1


def states(env: Mapping[str, str], folder: Path) -> list[str]:
    """State and exit code of the jobs that were submitted in a folder."""
    words = ["sacct", "-X", "-n", "-P", "-S", "now-30minutes", "-o", "workdir,state,exitcode"]
    answer = subprocess.run(words, env=dict(env), capture_output=True, text=True).stdout
    rows = [line.split("|") for line in answer.splitlines()]
    ours = [(state.split(" ")[0], code) for path, state, code in rows if f"{path}/".startswith(f"{folder}/")]
    return sorted(f"{state} {code}" for state, code in ours)


def text(path: Path) -> str:
    """A file's text without values that differ from run to run."""
    found = path.read_text(errors="replace")
    found = re.sub(_OTHER_LINES, "", found)
    found = re.sub(r"/tmp/people\.\w+", "ROOT", found)
    found = re.sub(r"JOB \d+(?:\.\w+)? ON \S+ CANCELLED AT \S+", "JOB J ON N CANCELLED AT T", found)
    found = re.sub(r" DUE to SIGNAL (?:Terminated|Killed)(?= \*\*\*)", "", found)  # 25.11 adds the signal
    found = re.sub(r"STEP \d+\.\w+ ON \S+ CANCELLED AT \S+", "STEP J ON N CANCELLED AT T", found)
    found = re.sub(r"StepId=\d+\.", "StepId=J.", found)
    found = re.sub(r"\b(?:vm(?:-\d+)?|n[1-4]|node\d+)\b|%s" % re.escape(os.uname().nodename), "NODE", found)
    return "".join(sorted(found.splitlines(keepends=True)))  # stderr of a task and of its step are not in order


def main() -> None:
    """Record the oracle's answers."""
    env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "USER": "root", "LANG": "C.UTF-8"}
    outcome = run_all(env, adapt=True)
    GOLDEN.write_text(json.dumps(outcome, indent=1, sort_keys=True) + "\n")
    for name, one in outcome.items():
        if one["submit"]:
            print(name, one["stderr"], file=sys.stderr)


if __name__ == "__main__":
    main()
