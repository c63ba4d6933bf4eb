"""An engine for a test session: a temporary SLURMSKY_HOME, `bin/` first on PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polling import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parent.parent
BIN = REPOSITORY / "bin"


@dataclass(frozen=True)
class LocalEngine:
    """`env` is a whole environment for commands; `root` a folder for the files of a test."""

    home: Path
    root: Path
    env: Mapping[str, str]

    def run(
        self, command: list[str] | str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
        stdin: str | bytes = b"", limit_s: float = PATIENCE_S,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """The result of a command; a text is a bash line. Raises subprocess.TimeoutExpired."""
        argv = ["bash", "-c", command] if isinstance(command, str) else command
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(argv, cwd=cwd or self.root, env={**self.env, **(env or {})}, input=data,
                              capture_output=True, timeout=limit_s)  # fmt: skip
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(argv, done.returncode, out, err)

    def submit(self, *words: str) -> str:
        """Submit a job that sbatch accepts; return its id."""
        done = self.run(["sbatch", "--parsable", *words])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def record(self, job: str) -> dict[str, Any]:
        """The job's record in squeue --json."""
        jobs: list[dict[str, Any]] = json.loads(self.run(["squeue", "--json", "-t", "all", "-j", job]).stdout)["jobs"]
        return jobs[-1]

    def state(self, job: str) -> str:
        return " ".join(self.record(job)["job_state"])


@contextmanager
def local_engine(site: Path, **extra: str) -> Iterator[LocalEngine]:
    """The local engine for tests.

    It starts with the first command; at the end jobs are cancelled and the engine is stopped.
    """
    # /tmp by name, six random letters: socket paths stay short and folders are equally long in every run.
    home = Path(tempfile.mkdtemp(prefix="sh.", dir="/tmp"))
    root = Path(tempfile.mkdtemp(prefix="so.", dir="/tmp"))
    env = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME") if name in os.environ}
    env.update(PATH=f"{BIN}:/usr/local/bin:/usr/bin:/bin", LANG="C.UTF-8", LC_ALL="C.UTF-8")
    env.update(SHELL="/bin/bash", TERM="dumb", SLURMSKY_PYTHON=sys.executable)
    env.update(SLURMSKY_HOME=str(home), SLURMSKY_SITE=str(site), **extra)
    engine = LocalEngine(home, root, env)
    try:
        yield engine
    finally:
        engine.run(["scancel", "--me"])
        stopped = engine.run(["slurmsky", "stop"])
        _, *faults = _text(home / "controller.log").split("Traceback ")
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)
        assert stopped.returncode == 0, f"slurmsky stop: {stopped}"
        assert not faults, f"the controller raised {len(faults)} times, last: {faults[-1][-2000:]}"


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
