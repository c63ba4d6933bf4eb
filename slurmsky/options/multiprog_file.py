"""Validates the program file of srun --multi-prog.

The file may determine the number of tasks.

Source: srun/multi_prog.c.
"""

from __future__ import annotations

import os.path
from typing import Optional

from ..language import multiprog
from .component_options import Component
from .usage_errors import CommandError, failure


def verify(part: Component, name: str) -> None:
    """Raise CommandError for a file that contradicts the tasks. The step itself reports an unreadable file."""
    try:
        data = part.context.read_file(os.path.join(part.context.cwd, name))
    except OSError:
        return
    text = data.decode("utf-8", "surrogateescape")
    tasks = part.get("ntasks")
    try:
        found = multiprog.parse(text)
        count = found.task_count(tasks)
    except multiprog.MultiProgError as fault:
        raise _invalid(part, name, _first_fault(text, tasks, fault)) from None
    missing = found.missing(count)
    if missing is not None:
        message = f"Configuration file {name} invalid, no record for task id {missing}"
        raise failure(part.command, message, exit_code=part.context.error_exit)
    part.values["ntasks"] = count


def _first_fault(text: str, tasks: Optional[int], fault: multiprog.MultiProgError) -> multiprog.MultiProgError:
    """First error of the file. A line before the fault may name tasks that do not exist."""
    before = "".join(text.splitlines(keepends=True)[: fault.pos - 1])
    try:
        multiprog.parse(before).task_count(tasks)
    except multiprog.MultiProgError as earlier:
        return earlier
    return fault


def _invalid(part: Component, name: str, fault: multiprog.MultiProgError) -> CommandError:
    lines = [fault.message] if fault.message else []
    line = f"Line {fault.pos} of configuration file {name} invalid"
    return failure(part.command, *lines, line, exit_code=part.context.error_exit)
