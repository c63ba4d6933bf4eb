"""Job and Step to JSON and back: the one place that knows how records are stored."""
from __future__ import annotations

import json
from dataclasses import MISSING, dataclass
from typing import Any

from ..model.allocation import share_from_dict, share_to_dict
from ..model.job import Job, Step, Usage
from ..model.spec import JobSpec
from ..model.states import JobFlag, JobState


@dataclass
class Managed:
    """A SkyPilot managed job as it was read last; ``job_id`` 0: one of ours, of the jobs that its name tells."""

    managed_job_id: int
    job_id: int = 0
    name: str = ""
    status: str = ""
    over: float = 0.0  # end time, 0.0 while it is not over
    clusters: tuple[str, ...] = ()
    cost: float = 0.0  # dollars so far
    hourly: float = 0.0  # dollars an hour while it runs
    settled: bool = False  # the cost is final


_JOB_DEFAULTS = dict(Job.__dataclass_fields__)
_PLAIN = {name: field.default for name, field in _JOB_DEFAULTS.items() if field.default is not MISSING}
_STATES = {state.value: state for state in JobState}


def job_to_json(job: Job) -> str:
    """The job without its spec and steps, which have tables of their own."""
    data: dict[str, Any] = {}
    for name, value in job.__dict__.items():
        if name in ("spec", "steps"):
            continue
        if value != _JOB_DEFAULTS[name].default:
            data[name] = value
    data["state"] = job.state.value
    data["flags"] = job.flags.value
    data["shares"] = [share_to_dict(share) for share in job.shares]
    data["pending_tasks"] = [(part.start, part.stop, part.step) for part in job.pending_tasks]
    return json.dumps(data, separators=(",", ":"))


def job_from_json(text: str, spec: JobSpec) -> Job:
    """Inverse of job_to_json."""
    data = json.loads(text)
    data["spec"] = spec
    data["state"] = _STATES[data["state"]]
    data["flags"] = JobFlag(data["flags"]) if data["flags"] else JobFlag.NONE
    data["shares"] = [share_from_dict(share) for share in data["shares"]]
    data["pending_tasks"] = tuple([range(*part) for part in data["pending_tasks"]])
    for name in ("argv", "planned_nodes", "het_ids"):
        if name in data:
            data[name] = tuple(data[name])
    # sacct reads ten thousand of them: a call with a hundred arguments would take most of its time.
    job = object.__new__(Job)
    job.__dict__.update(_PLAIN)
    job.__dict__.update(data, steps={})
    return job


def step_to_dict(step: Step) -> dict[str, Any]:
    """JSON-ready dict of a step without its series, which have a table of their own."""
    usage = {name: value for name, value in step.usage.__dict__.items() if name != "series"}
    return {**step.__dict__, "state": step.state.value, "usage": usage}


def step_from_dict(data: dict[str, Any]) -> Step:
    """Inverse of step_to_dict; a state may be its number or its name."""
    state = data["state"]
    usage = Usage(**data.get("usage", {}))
    return Step(**{
        **data,
        "state": JobState[state] if isinstance(state, str) else JobState(state),
        "usage": usage,
        "step_id": str(data["step_id"]),
        "nodes": tuple(data.get("nodes", ())),
        "tasks_per_node": tuple(data.get("tasks_per_node", ())),
    })
