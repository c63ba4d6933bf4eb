"""Names and opening of a job's or step's files."""

from __future__ import annotations

import json
import os
from typing import NamedTuple, Optional


class NameValues(NamedTuple):
    """Values of the ``%`` patterns.

    Source: slurmstepd's fname.c; see tests/data/filename_patterns.csv.
    """

    job_id: int
    array_job_id: int
    array_task_id: Optional[int]
    step_id: str
    node: str
    node_id: int
    task_id: int
    user: str
    job_name: str
    restarts: int = 0


def expand(pattern: str, name_values: NameValues) -> str:
    """Replace the patterns in a name (language.filename)."""
    if "%" not in pattern and "\\" not in pattern and pattern.lower() != "none":
        return pattern
    from ...language import filename

    return filename.expand(
        pattern,
        filename.FilenameValues(
            job_id=name_values.job_id,
            user=name_values.user,
            job_name=name_values.job_name,
            array_job_id=name_values.array_job_id or None,
            array_task_id=name_values.array_task_id,
            step_id=int(name_values.step_id) if name_values.step_id.isdecimal() else None,
            node=name_values.node,
            node_id=name_values.node_id,
            task_id=name_values.task_id,
            restart_count=name_values.restarts,
        ),
    )


def expand_node(path: str, node: str) -> str:
    """Replace the node's patterns in a batch job's file name. The controller leaves them unexpanded."""
    return path.replace("%N", node) if "%N" in path else path


def is_per_task(pattern: str) -> bool:
    """True if each task or node has its own file. The node opens the file."""
    if "%" not in pattern:
        return False
    from ...language import filename

    return filename.is_per_task(pattern) or filename.is_per_node(pattern)


def open_output(path: str, mode: Optional[str]) -> int:
    """Open a file for writing. ``mode``: "append", else truncate.

    Missing parent folders are created. Source: slurmstepd/io.c _init_task_stdio_fds.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    if mode is None or not mode.startswith("a"):
        flags |= os.O_TRUNC
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        try:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        descriptor = os.open(path, flags, 0o666)
    if _note:
        note = os.open(_note, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(note, json.dumps([os.path.abspath(path), os.fstat(descriptor).st_size]).encode() + b"\n")
        os.close(note)
    return descriptor


#: the file in a cloud node's private folder in which its agent records output files
NOTE = "outputs"
_note = ""


def record_in(path: str) -> None:
    """Record each output file opened from now on, with its size.

    A cloud node's output files are sent to the user as they grow.
    """
    global _note
    _note = path


def open_input(path: str) -> int:
    """Open a file for reading."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


#: exit code of a task whose files could not be opened (slurmstepd ends it before exec)
IO_FAILED = 1
