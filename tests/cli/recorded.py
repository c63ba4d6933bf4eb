"""Rows of the recorded input tables, our answers to them, and normalised text."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from local_engine import REPOSITORY, LocalEngine
from polling import PATIENCE_S
from recorded_tables import read_table

AS_OTHER = "setpriv --reuid=65534 --regid=65534 --clear-groups "
ALONE = re.compile("--test-only|completing")
WORKERS = 4  # rows that take no nodes run side by side
STAYS_S = 3.0  # how long a command that "kept waiting" must keep waiting

_TIMING = re.compile(
    r"^(?:(?:srun|salloc): job \d+ (?:queued and waiting for resources|has been allocated resources)"
    r"|salloc: Pending job allocation \d+)\n", re.M)  # fmt: skip
# Whether salloc still receives the revocation of its allocation is a race.
_REVOKED = re.compile(r"(salloc: Relinquishing job allocation \d+\n)salloc: Job allocation \d+ has been revoked\.\n")
_MAPPED = (
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$", re.M), "<date>"),
    (re.compile(r"(?<=\bJob )\d{4,5}\b(?= to start)"), "<id>"),
    (re.compile(r"(?<=allocation )\d{4,5}\b"), "<id>"),
    (re.compile(r"(?<=Submitted batch job )\d+\b"), "<id>"),
    (re.compile(r"^\d{4,5}(?=;|$)", re.M), "<id>"),
    (re.compile(r"(?<=StepId=)\d+"), "<id>"),
    # States of nodes as 25.11 lists them: PERFCTRS was removed, newer ones were added.
    (re.compile(r"(valid states: .*,allocated),\?,(mixed,.*,reserved),perfctrs,(cloud,.*),fail,maint,reboot,.*"),
     r"\1,\2,planned,blocked,\3,power_up,inval,fail,maint,reboot,reboot^,external,dynamic_future,dynamic_norm"),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    number: int
    argv: str
    kind: str
    text: str
    env: str
    stderr: str
    stdout: str
    code: str
    fields: dict[str, str]

    @property
    def other_user(self) -> bool:
        return self.argv.startswith(AS_OTHER)

    @property
    def command(self) -> list[str]:
        """The words of the command line; SCRIPT is a file of the row's own folder."""
        return shlex.split(self.argv.removeprefix(AS_OTHER))


@dataclass(frozen=True)
class Answer:
    stdout: str
    stderr: str
    code: str  # as in the table: a number, "timeout", or a negative signal number
    fields: dict[str, str]  # of `scontrol -o show job`, when a job was submitted and fields are wanted


def rows(table: str) -> list[Row]:
    return [
        Row(number, row["argv"], row["input_kind"], row["stdin_or_script"], row["env"], row["stderr"],
            row.get("stdout_first_400", ""), row["exit_code"], row)
        for number, row in enumerate(read_table(table))
    ]  # fmt: skip


def answer_all(engine: LocalEngine, wanted: list[Row], with_fields: bool) -> dict[int, Answer]:
    """Answers of all rows, by number.

    Rows whose answer names nodes run alone, on a free cluster.
    """
    alone = [row for row in wanted if row.command[0] in ("srun", "salloc") or ALONE.search(row.argv)]
    beside = [row for row in wanted if row not in alone]
    found: dict[int, Answer] = {}
    if os.geteuid() == 0 and any(row.other_user for row in beside):
        _for_others(engine.root)  # once, before threads ask for it at the same time
    with ThreadPoolExecutor(WORKERS) as pool:
        answers = pool.map(lambda row: _answer(engine, row, with_fields), beside)
        found.update(zip((row.number for row in beside), answers, strict=True))
    for row in alone:
        _free(engine)
        found[row.number] = _answer(engine, row, with_fields)
    _free(engine)
    return found


def _free(engine: LocalEngine) -> None:
    """Wait until no job of these rows holds a node."""
    for _ in range(200):
        listed = engine.run("squeue -h -o '%A %Z'").stdout.splitlines()
        left = [line.split(" ", 1)[0] for line in listed if str(engine.root) in line]
        if not left:
            return
        engine.run(["scancel", *left])
        time.sleep(0.05)
    raise AssertionError(f"jobs do not end: {left}")


def _answer(engine: LocalEngine, row: Row, with_fields: bool) -> Answer:
    folder = Path(tempfile.mkdtemp(prefix=f"row{row.number}.", dir=engine.root))
    text = "#!/bin/sh\nsleep 1\n" if row.text.startswith("(valid") else row.text
    if row.kind == "script":
        (folder / "SCRIPT").write_bytes(text.encode())
    env = {**engine.env, **dict(word.split("=", 1) for word in row.env.split())}
    command = row.command
    if row.other_user and os.geteuid() == 0:
        # Another user has another queue; root's is not theirs to see.
        theirs = folder / "home"
        theirs.mkdir()
        for path in (folder, theirs):
            os.chown(path, 65534, 65534)
        engine.root.chmod(0o755)
        env.update(SLURMSKY_HOME=str(theirs), HOME=str(theirs), USER="nobody", LOGNAME="nobody")
        env.update(_for_others(engine.root))
        command = [*AS_OTHER.split(), *command]
    try:
        code, out, err = _run(command, folder, env, text if row.kind == "stdin" else "", row.code == "timeout")
    finally:
        if row.other_user and os.geteuid() == 0:
            subprocess.run(
                [*AS_OTHER.split(), "slurmsky", "stop"], cwd=folder, env=env, capture_output=True, timeout=PATIENCE_S
            )
    fields: dict[str, str] = {}
    job = re.search(r"Submitted batch job (\d+)", out)
    if with_fields and job and not row.other_user:
        shown = engine.run(["scontrol", "-o", "show", "job", job[1]], cwd=folder).stdout
        first = shown.split("\n", 1)[0]  # the leader, where there are several components
        fields = dict(re.findall(r"(?:^|\s)([A-Za-z][\w/:]*)=(\S*)", first))
        engine.run(["scancel", job[1]], cwd=folder)
    return Answer(out, err, code, fields)


@cache
def _for_others(root: Path) -> dict[str, str]:
    """Variables with which another user can run the launchers.

    They do not depend on the owner of this clone and its Python.

    A system interpreter of the same release can be executed by any user; the packages are copied to
    a folder that any user can read.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = next(path for path in (f"/usr/bin/{version}", "/usr/bin/python3", sys.executable) if Path(path).exists())
    place = root / "shared"
    shutil.copytree(REPOSITORY / "bin", place / "bin", symlinks=True)
    for name in ("slurmsky", "grammar"):
        shutil.copytree(REPOSITORY / name, place / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    found = importlib.util.find_spec("lark")
    assert found is not None and found.origin is not None
    shutil.copytree(Path(found.origin).parent, place / "lark")
    subprocess.run(["chmod", "-R", "a+rX", place], check=True)
    return {"PATH": f"{place}/bin:/usr/local/bin:/usr/bin:/bin", "SLURMSKY_PYTHON": python}


def _run(command: list[str], folder: Path, env: dict[str, str], stdin: str, stays: bool) -> tuple[str, str, str]:
    # Files, not pipes: salloc --no-shell and what srun leaves behind must not hold the reader up.
    with (
        (folder / ".out").open("w+b") as out,
        (folder / ".err").open("w+b") as err,
        (folder / ".in").open("w+b") as source,
    ):
        source.write(stdin.encode())
        source.seek(0)
        process = subprocess.Popen(command, cwd=folder, env=env, stdin=source, stdout=out, stderr=err)
        try:
            code = str(process.wait(STAYS_S if stays else PATIENCE_S))
        except subprocess.TimeoutExpired:
            code = "timeout"
        # What a waiting command says about being ended is not part of the row.
        out.seek(0)
        err.seek(0)
        texts = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return code, *texts


def mapped(text: str) -> str:
    """Text without times and ids, and without lines that depend on timing."""
    text = _REVOKED.sub(r"\1", _TIMING.sub("", text))
    for pattern, word in _MAPPED:
        text = pattern.sub(word, text)
    return text
