"""Codec of Job: JSON for the store and for the job's nodes."""

from __future__ import annotations

import json
from typing import Any

from . import plain
from .allocation import NodeShare
from .job import Job
from .spec import JobSpec
from .states import JobFlag, JobState
from .step_codec import changed_fields, plain_defaults

_STATES = {state.value: state for state in JobState}


_JOB = plain_defaults(Job)
#: json.dumps without spaces; json.dumps itself would create an encoder for each call
compact = json.JSONEncoder(separators=(",", ":")).encode


def job_to_json(job: Job) -> str:
    """Encode a job as JSON, without spec and steps. The store keeps these in other tables."""
    data = changed_fields(job, _JOB, "spec", "steps", "shares", "flags", "pending_tasks")
    data["state"] = job.state.value
    if job.flags:
        data["flags"] = job.flags.value
    if job.shares:
        data["shares"] = [plain.write(share) for share in job.shares]
    if job.pending_tasks:
        data["pending_tasks"] = [(part.start, part.stop, part.step) for part in job.pending_tasks]
    return compact(data)


# sacct reads ten thousand records and more. A constructor call with a hundred arguments would take most of sacct's
# time, and so would a hundred entries in each record's dictionary. So the functions below bypass the constructor, and
# a field with its default value is found as an attribute of the class.


def job_from_dict(data: dict[str, Any], spec: JobSpec) -> Job:
    """Inverse of job_to_json, from parsed JSON. ``data`` becomes the job's dictionary."""
    data["spec"] = spec
    data["state"] = _STATES[data["state"]]
    data["flags"] = JobFlag(data["flags"]) if data.get("flags") else JobFlag.NONE
    if data.pop("launched", False):
        data["awaits_nodes"] = True  # the name in records of 0.1 before its release
    shares = data.get("shares")
    data["shares"] = [plain.read(NodeShare, share) for share in shares] if shares else []
    parts = data.get("pending_tasks")
    data["pending_tasks"] = tuple([range(*part) for part in parts]) if parts else ()
    if "followers" in data:
        data["followers"] = tuple(map(tuple, data["followers"]))
    for name in ("argv", "planned_nodes", "het_ids"):
        if name in data:
            data[name] = tuple(data[name])
    data["steps"] = {}
    job = object.__new__(Job)
    job.__dict__ = data
    return job
