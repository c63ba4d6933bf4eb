"""A test case, and its run against a side: the real Slurm, or slurmsky.

A case is a list of actions in one folder of its own. Command lines are shell lines; `$J1`, `$J2`, ... are the
job ids that earlier lines printed, in order. Every command line is noted: what it printed and its exit code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asking
from polling import PATIENCE_S, Poll

HERE = Path(__file__).resolve().parent
SLEEPER = "#!/bin/sh\nsleep 100\n"


@dataclass(frozen=True)
class Run:
    """A shell line whose answer is recorded.

    `free`: the order of its lines is not part of the answer.
    """

    line: str
    free: bool = False


@dataclass(frozen=True)
class Wait:
    """Wait until `squeue -t all -j JOB -h -o '%T %r'` matches `state`, a regular expression."""

    job: str
    state: str
    limit_s: float = PATIENCE_S


@dataclass(frozen=True)
class Until:
    """Wait until a shell line succeeds; record nothing."""

    line: str
    limit_s: float = PATIENCE_S


@dataclass(frozen=True)
class Inside:
    """Shell lines that run one after the other inside one allocation; each answer is recorded.

    `via` is "salloc", or "sbatch" for a batch script.
    """

    alloc: str
    lines: tuple[Run, ...]
    via: str = "salloc"


Action = str | Run | Wait | Until | Inside


@dataclass(frozen=True)
class Case:
    name: str
    actions: tuple[Action, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False  # takes a minute or more
    minutes: int = 2  # its jobs are younger than this, on a busy machine too

    def free(self) -> list[bool]:
        """For each of `lines()`, whether the order of its answer's lines matters."""
        found: list[bool] = []
        for action in self.actions:
            runs = action.lines if isinstance(action, Inside) else (action,) if isinstance(action, str | Run) else ()
            found.extend(isinstance(run, Run) and run.free for run in runs)
        return found

    def lines(self) -> list[str]:
        """The recorded command lines, in order."""
        found: list[str] = []
        for action in self.actions:
            if isinstance(action, str):
                found.append(action)
            elif isinstance(action, Run):
                found.append(action.line)
            elif isinstance(action, Inside):
                found.extend(run.line for run in action.lines)
        return found


@dataclass(frozen=True)
class Answer:
    """The output of a command line, and the exit code of the shell."""

    stdout: str
    stderr: str
    code: int


class NeverHappened(Exception):
    """A case waited for a state that was not reached."""


class Side:
    """One of the two sides: its PATH, further environment, and the folder of the cases' folders."""

    def __init__(self, path: str, root: Path, extra: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.env = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME") if name in os.environ}
        self.env.update(PATH=path, LANG="C.UTF-8", LC_ALL="C.UTF-8", SHELL="/bin/bash", TERM="dumb")
        self.env.update(extra or {})

    def shell(self, line: str, folder: Path, env: Mapping[str, str], limit_s: float = PATIENCE_S) -> Answer:
        """bash's answer to one line.

        A line that never ends gives exit code 124, as timeout(1) does.
        """
        words = asking.words(line, env) if "SLURMSKY_HOME" in env else None
        if words and (answer := asking.ask(words, folder, env)):
            out, err, code = answer
            return Answer(out.decode(errors="replace"), err.decode(errors="replace"), code)
        with (folder / ".stdout").open("w+b") as out, (folder / ".stderr").open("w+b") as err:
            # Files, not pipes: a background process that a line leaves behind must not hold us up.
            process = subprocess.Popen(
                ["bash", "-c", line],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                code = 124
            out.seek(0)
            err.seek(0)
            return Answer(out.read().decode(errors="replace"), err.read().decode(errors="replace"), code)

    def run(self, case: Case) -> tuple[Path, list[Answer]]:
        """The case's folder, and an answer for each of `case.lines()`. All its jobs have ended afterwards."""
        folder = self.root / case.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in {"job.sh": SLEEPER, **case.files}.items():
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(0o755)
        env = {**self.env, "PWD": str(folder), "PYTHON": sys.executable}
        jobs: list[str] = []
        answers: list[Answer] = []
        try:
            for action in case.actions:
                if isinstance(action, Wait):
                    self._wait(action, folder, env)
                elif isinstance(action, Until):
                    self._until(action, folder, env)
                elif isinstance(action, Inside):
                    answers.extend(self._inside(action, folder, env, jobs))
                else:
                    run = Run(action) if isinstance(action, str) else action
                    answer = self.shell(run.line, folder, env)
                    answers.append(_sorted(answer) if run.free else answer)
                    self._note_jobs(answer, jobs, env)
        finally:
            self._clean(folder, env, jobs)
        return folder, answers

    def _note_jobs(self, answer: Answer, jobs: list[str], env: dict[str, str]) -> None:
        text = answer.stdout + answer.stderr
        for job in re.findall(r"(?:Submitted batch job|[Gg]ranted job allocation) (\d+)", text):
            if job not in jobs:
                jobs.append(job)
                env[f"J{len(jobs)}"] = job

    def _wait(self, wait: Wait, folder: Path, env: Mapping[str, str]) -> None:
        end, poll = time.monotonic() + wait.limit_s, Poll()
        seen = ""
        while time.monotonic() < end:
            seen = self.shell(f"squeue -t all -j {wait.job} -h -o '%T %r'", folder, env).stdout.strip()
            if re.search(wait.state, seen):
                return
            poll.wait()
        raise NeverHappened(f"{wait.job} should match {wait.state!r} and is {seen!r}")

    def _until(self, until: Until, folder: Path, env: Mapping[str, str]) -> None:
        end, poll = time.monotonic() + until.limit_s, Poll()
        while time.monotonic() < end:
            if self.shell(until.line, folder, env).code == 0:
                return
            poll.wait()
        raise NeverHappened(f"never true: {until.line}")

    def _inside(self, inside: Inside, folder: Path, env: dict[str, str], jobs: list[str]) -> list[Answer]:
        (folder / "lines.json").write_text(json.dumps([run.line for run in inside.lines]))
        command = f"{sys.executable} -I {HERE / 'inside.py'} lines.json answers.json"
        if inside.via == "salloc":
            result = self.shell(f"salloc {inside.alloc} {command}", folder, env)
        else:
            (folder / "inside.sh").write_text(f"#!/bin/bash\n{command}\n")
            result = self.shell(f"sbatch {inside.alloc} inside.sh", folder, env)
        self._note_jobs(result, jobs, env)
        until = Until("test -s answers.json", PATIENCE_S if inside.via == "sbatch" else 1)
        try:
            self._until(until, folder, env)
        except NeverHappened as exc:
            raise NeverHappened(f"{inside.via} gave no answers: {result}") from exc
        rows = json.loads((folder / "answers.json").read_text())
        found = [Answer(row["stdout"], row["stderr"], row["code"]) for row in rows]
        pairs = zip(inside.lines, found, strict=True)
        return [_sorted(answer) if run.free else answer for run, answer in pairs]

    def _clean(self, folder: Path, env: Mapping[str, str], jobs: list[str]) -> None:
        # Jobs of srun and salloc have no line that names them; their working directory does.
        listed = self.shell("squeue -h -o '%A %Z'", folder, env).stdout.split("\n")
        mine = {row.split(" ", 1)[0] for row in listed if row.endswith(str(folder))} | set(jobs)
        if mine:
            self.shell("scancel " + " ".join(sorted(mine)), folder, env)
        end, poll = time.monotonic() + PATIENCE_S, Poll()
        while time.monotonic() < end:
            left = set(self.shell("squeue -h -o %A", folder, env).stdout.split())
            if not left & mine:
                return
            poll.wait()
        raise NeverHappened(f"jobs do not end: {sorted(left & mine)}")


def _sorted(answer: Answer) -> Answer:
    def ordered(text: str) -> str:
        return "".join(sorted(text.splitlines(keepends=True)))

    return Answer(ordered(answer.stdout), ordered(answer.stderr), answer.code)
