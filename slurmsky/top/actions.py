"""Actions on a job: command, confirmation and message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .plain_text import plain
from .rows import JobLine


@dataclass(frozen=True)
class Action:
    """A command to run, with its message on success. ``question`` is the confirmation prompt; "" for none."""

    line: tuple[str, ...]
    done: str
    question: str = ""


def _describe(job: JobLine) -> str:
    name = plain(job.name)
    name = name if len(name) <= 40 else name[:39] + "…"
    what = "the waiting elements of array" if job.is_rest else "job"
    since = f" for {job.time}" if job.state == "R" else ""
    return f"{what} {job.name_for_commands} ({name}, {job.state_name.lower()}{since})"


def _cancel(job: JobLine) -> Action:
    name = job.name_for_commands
    # The line of an array's pending elements does not include the running ones.
    states = ("-t", "PENDING") if job.is_rest else ()
    return Action(("scancel", *states, name), f"cancelled {name}", f"Cancel {_describe(job)}?")


def _requeue(job: JobLine) -> Action:
    name = job.name_for_commands
    return Action(("scontrol", "requeue", name), f"requeued {name}", f"Stop and requeue {_describe(job)}?")


def _hold(job: JobLine) -> Action:
    return Action(("scontrol", "hold", job.name_for_commands), f"held {job.name_for_commands}")


def _release(job: JobLine) -> Action:
    return Action(("scontrol", "release", job.name_for_commands), f"released {job.name_for_commands}")


JOB_ACTIONS: dict[str, Callable[[JobLine], Action]] = {
    "cancel": _cancel,
    "requeue": _requeue,
    "hold": _hold,
    "release": _release,
}
