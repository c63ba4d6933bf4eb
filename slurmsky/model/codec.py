"""Converts Job and Step to JSON and back, for the store and for the record that a job's nodes get."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

from .allocation import share_from_dict, share_to_dict
from .job import Job, Step, Usage
from .spec import JobSpec
from .states import JobFlag, JobState

_STATES = {state.value: state for state in JobState}


def _plain(record: type) -> dict[str, Any]:
    """The defaults of a record's fields, except those of a default_factory."""
    found = {field.name: field.default for field in fields(record)}
    return {name: value for name, value in found.items() if value is not MISSING}


_JOB, _STEP, _USAGE = _plain(Job), _plain(Step), _plain(Usage)
_UNKNOWN = object()
#: json.dumps without spaces; json.dumps itself would make an encoder for each call
compact = json.JSONEncoder(separators=(",", ":")).encode


def _said(record: Any, defaults: dict[str, Any], *apart: str) -> dict[str, Any]:
    """The fields that differ from their defaults, without those named in ``apart``."""
    default = defaults.get
    # Most fields hold the default itself: "is" sorts those out at half the cost of "!=".
    return {
        name: value
        for name, value in record.__dict__.items()
        if value is not (known := default(name, _UNKNOWN)) and value != known and name not in apart
    }


def job_to_json(job: Job) -> str:
    """The job as JSON, without spec and steps, which the store keeps in other tables."""
    data = _said(job, _JOB, "spec", "steps", "shares", "flags", "pending_tasks")
    data["state"] = job.state.value
    if job.flags:
        data["flags"] = job.flags.value
    if job.shares:
        data["shares"] = [share_to_dict(share) for share in job.shares]
    if job.pending_tasks:
        data["pending_tasks"] = [(part.start, part.stop, part.step) for part in job.pending_tasks]
    return compact(data)


# sacct reads ten thousand records and more. A constructor call with a hundred arguments would take most of sacct's
# time, and so would a hundred entries in each record's dictionary. So the functions below bypass the constructor, and
# a field with its default value is found as an attribute of the class.


def job_from_dict(data: dict[str, Any], spec: JobSpec) -> Job:
    """Inverse of job_to_json, from its parsed text; the job takes over ``data`` as its dictionary."""
    data["spec"] = spec
    data["state"] = _STATES[data["state"]]
    data["flags"] = JobFlag(data["flags"]) if data.get("flags") else JobFlag.NONE
    shares = data.get("shares")
    data["shares"] = [share_from_dict(share) for share in shares] if shares else []
    parts = data.get("pending_tasks")
    data["pending_tasks"] = tuple([range(*part) for part in parts]) if parts else ()
    for name in ("argv", "planned_nodes", "het_ids"):
        if name in data:
            data[name] = tuple(data[name])
    data["steps"] = {}
    job = object.__new__(Job)
    job.__dict__ = data
    return job


def step_to_dict(step: Step) -> dict[str, Any]:
    """JSON-ready dict of a step without usage series, which the store keeps in another table."""
    data = _said(step, _STEP, "usage")
    data["state"] = step.state.value
    data["usage"] = _said(step.usage, _USAGE, "series")
    return data


def step_to_message(step: Step) -> dict[str, Any]:
    """JSON-ready dict of a step for events, which carry the state's name and the usage series."""
    data = step_to_dict(step)
    data["state"] = step.state.name
    if step.usage.series:
        data["usage"]["series"] = step.usage.series
    return data


def step_from_dict(data: dict[str, Any]) -> Step:
    """Inverse of step_to_dict; a state may be its number or its name."""
    usage = object.__new__(Usage)
    usage.__dict__ = {"series": {}, **(data.get("usage") or {})}
    data = {**data, "usage": usage}
    state = data["state"]
    data["state"] = JobState[state] if isinstance(state, str) else _STATES[state]
    data["step_id"] = str(data["step_id"])
    for name in ("nodes", "tasks_per_node"):
        if name in data:
            data[name] = tuple(data[name])
    step = object.__new__(Step)
    step.__dict__ = data
    return step
