"""Converts SkyPilot's ManagedJobStatus to Slurm's state, flags and reason.

Source: sky/jobs/state.py of SkyPilot 0.14.1, ManagedJobStatus and its schedule states; job_reasons of Slurm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...model.states import JobFlag, JobState


@dataclass(frozen=True)
class MappedStatus:
    """A status in Slurm's terms. ``exit_code`` is the user program's, if SkyPilot reports it."""

    state: JobState
    flags: JobFlag = JobFlag.NONE
    reason: str = "None"
    comment: str = ""
    exit_code: int | None = None


_P, _R = JobState.PENDING, JobState.RUNNING
_PLAIN: dict[str, tuple[JobState, JobFlag, str]] = {
    "PENDING": (_P, JobFlag.NONE, "Priority"),
    "SUBMITTED": (_P, JobFlag.NONE, "None"),
    "STARTING": (_P, JobFlag.NONE, "Resources"),
    "RUNNING": (_R, JobFlag.NONE, "None"),
    "WINDING_DOWN": (_R, JobFlag.COMPLETING, "None"),
    "RECOVERING": (_P, JobFlag.REQUEUED, "NodeDown"),
    "CANCELLING": (JobState.CANCELLED, JobFlag.COMPLETING, "None"),
    "SUCCEEDED": (JobState.COMPLETED, JobFlag.NONE, "None"),
    "CANCELLED": (JobState.CANCELLED, JobFlag.NONE, "None"),
    "FAILED": (JobState.FAILED, JobFlag.NONE, "NonZeroExitCode"),
    "FAILED_SETUP": (JobState.BOOT_FAIL, JobFlag.NONE, "JobLaunchFailure"),
    "FAILED_PRECHECKS": (JobState.FAILED, JobFlag.NONE, "BadConstraints"),
    "FAILED_NO_RESOURCE": (JobState.BOOT_FAIL, JobFlag.NONE, "Resources"),
    "FAILED_CONTROLLER": (JobState.NODE_FAIL, JobFlag.NONE, "SystemFailure"),
    "GONE": (JobState.NODE_FAIL, JobFlag.NONE, "NodeDown"),  # our status for a cluster that no longer exists
}
_CODE = re.compile(r"exit codes? (?:(\d+)|\[([\d, ]+)\])")
_ALLOCATED = re.compile(r"nodes allocated|provision|starting up|setting up|instance is up", re.IGNORECASE)
_MEMORY = re.compile(r"driver on the remote cluster failed|out of memory|OOM", re.IGNORECASE)


def map_status(status: str, details: str = "", schedule_state: str = "", failure: str = "") -> MappedStatus:
    """State, flags and reason of a managed job.

    They follow from its status, its ``details`` and its failure's text. An unknown status counts as pending: a newer
    server must not end jobs.
    """
    state, flags, reason = _PLAIN.get(status, (_P, JobFlag.NONE, "None"))
    text = details or failure or ""
    if status == "PENDING" and schedule_state.startswith("ALIVE"):
        reason = "Resources"  # the launch failed and will be retried
    elif status == "STARTING" and _ALLOCATED.search(details):
        flags, reason = JobFlag.CONFIGURING, "None"
    elif status == "FAILED":
        code = exit_code(failure)
        if code is None and _MEMORY.search(failure):
            return MappedStatus(JobState.OUT_OF_MEMORY, flags, "OutOfMemory", text, None)
        return MappedStatus(state, flags, reason, text, 1 if code is None else code)
    return MappedStatus(state, flags, reason, text, 0 if status == "SUCCEEDED" else None)


def exit_code(failure: str) -> int | None:
    """Exit code in SkyPilot's failure text, or None.

    With codes of several nodes: the first that is not 137, the code of a node killed because another failed.
    """
    found = _CODE.search(failure or "")
    if not found:
        return None
    if found[1]:
        return int(found[1])
    codes = [int(code) for code in found[2].replace(",", " ").split()]
    wrong = [code for code in codes if code]
    return next((code for code in wrong if code != 137), wrong[0] if wrong else 0)
