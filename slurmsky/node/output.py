"""Files of a job or step: what a name means, and how it is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class NameFacts:
    """Values of the ``%`` patterns. Source: slurmstepd's fname.c; see tests/data/filename_patterns.csv."""

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


def expand(pattern: str, facts: NameFacts) -> str:
    """The name with its patterns replaced.

    A backslash anywhere makes the whole name literal and goes away itself; ``%4j`` pads a number to at most
    10 digits;
    letters that mean nothing stay as they are.
    """
    if "\\" in pattern:
        return pattern.replace("\\", "")
    if "%" not in pattern:
        return pattern
    array_task = facts.array_task_id if facts.array_task_id is not None else 0xFFFFFFFE
    numbers = {
        "A": str(facts.array_job_id or facts.job_id),
        "a": str(array_task),
        "b": str(array_task % 10),
        "j": str(facts.job_id),
        "n": str(facts.node_id),
        "t": str(facts.task_id),
        "r": str(facts.restarts),
        "s": facts.step_id,
    }
    words = {"N": facts.node, "u": facts.user, "x": facts.job_name, "%": "%"}
    result: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char != "%":
            result.append(char)
            position += 1
            continue
        end = position + 1
        while end < len(pattern) and pattern[end].isdigit():
            end += 1
        letter = pattern[end : end + 1]
        width = min(int(pattern[position + 1 : end] or 0), 10)
        if letter == "J":
            text = str(facts.job_id).zfill(width)
            result.append(text if facts.step_id == "batch" else "%s.%s" % (text, facts.step_id))
        elif letter in numbers and letter:
            text = numbers[letter]
            result.append(text.zfill(width) if text.isdigit() else text)
        elif letter in words and letter:
            result.append(words[letter])
        else:
            result.append(pattern[position : end + 1])
        position = end + 1
    return "".join(result)


def is_per_task(pattern: str) -> bool:
    """True when each task, or each node, has a file of its own: its node opens it."""
    if "\\" in pattern:
        return False
    index = 0
    while True:
        index = pattern.find("%", index)
        if index < 0:
            return False
        index += 1
        while index < len(pattern) and pattern[index].isdigit():
            index += 1
        if pattern[index : index + 1] in ("t", "n", "N"):
            return True
        index += 1


def open_output(path: str, mode: Optional[str]) -> int:
    """A descriptor to write to. ``mode``: "append", or anything else for truncate. Parent folders are not
    made."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    if mode is None or not mode.startswith("a"):
        flags |= os.O_TRUNC
    return os.open(path, flags, 0o666)


def open_input(path: str) -> int:
    """A descriptor to read from."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


#: exit code of a task whose files could not be opened (slurmstepd ends it before exec)
IO_FAILED = 1
