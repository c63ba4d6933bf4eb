"""The folder of a job: script, environment and limits, as submitted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...language import filename
from ...language.sluid import sluid
from ...model.job import Job


@dataclass(frozen=True)
class Payload:
    """Files of a submitted job: script, arguments, environment after --export."""

    script: bytes | None
    script_path: str  # as in scontrol's Command=; "" for none
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    umask: int
    rlimits: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Surroundings:
    """Environment, umask and limits that a job inherits from the submitter."""

    environment: dict[str, str]
    umask: int
    rlimits: dict[str, tuple[int, int]]


def read_surroundings(folder: Path) -> Surroundings:
    """Read what ``spool`` wrote."""
    data = (folder / "environment").read_bytes()
    pairs = (os.fsdecode(item).partition("=") for item in data.split(b"\0") if item)
    limits = json.loads((folder / "limits").read_bytes())
    return Surroundings(
        {key: value for key, _, value in pairs},
        limits["umask"],
        {name: (pair[0], pair[1]) for name, pair in limits["rlimits"].items()},
    )


def spool(folder: Path, payload: Payload) -> None:
    """Write script and environment to the job's folder, mode 0700.

    Raises OSError (full disk, no permission): the job does not exist then.
    """
    # Remove stray files, such as those of a submission that failed before its commit: no client got this id.
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    if payload.script is not None:
        # Two links to one file: the job executes the first and may delete it; the second remains.
        write_file(folder / "script", payload.script, 0o700)
        os.link(folder / "script", folder / "slurm_script")
    text = b"\0".join(os.fsencode(f"{key}={value}") for key, value in payload.environment.items())
    write_file(folder / "environment", text, 0o600)
    limits = {"umask": payload.umask, "rlimits": dict(payload.rlimits)}
    write_file(folder / "limits", json.dumps(limits).encode(), 0o600)


def file_path(job: Job, pattern: str, node: str = "") -> str:
    """Return a batch job's file pattern as an absolute path.

    Source: common/fname handling of slurmstepd.
    """
    values = filename.FilenameValues(
        job_id=job.job_id,
        array_job_id=job.array_job_id or job.job_id,
        array_task_id=job.array_task_id,
        user=job.user,
        job_name=job.name,
        node=node,
        restart_count=job.restarts,
        sluid=sluid(job.submit_time, job.job_id),
    )
    name = filename.expand(pattern, values)
    return os.path.join(job.work_dir, name)


def write_file(path: Path, data: bytes, mode: int) -> None:
    """Write a file with this mode in place. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(handle, view) :]
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(handle)
