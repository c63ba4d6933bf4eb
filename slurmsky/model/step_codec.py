"""Codec of Step: JSON for the store and for events."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from .states import JobState
from .step import Step, Usage

_STATES = {state.value: state for state in JobState}
_UNKNOWN = object()


def plain_defaults(record: type) -> dict[str, Any]:
    """Defaults of a record's fields, except those of a default_factory."""
    found = {field.name: field.default for field in fields(record)}
    return {name: value for name, value in found.items() if value is not MISSING}


def changed_fields(record: Any, defaults: dict[str, Any], *omitted: str) -> dict[str, Any]:
    """Fields that differ from their defaults, without those in ``omitted``."""
    default = defaults.get
    # Most fields are the default object itself: "is" finds these at half the cost of "!=".
    return {
        name: value
        for name, value in record.__dict__.items()
        if value is not (known := default(name, _UNKNOWN)) and value != known and name not in omitted
    }


_STEP, _USAGE = plain_defaults(Step), plain_defaults(Usage)


def step_to_dict(step: Step) -> dict[str, Any]:
    """Encode a step without usage series, JSON-ready. The store keeps the series in another table."""
    data = changed_fields(step, _STEP, "usage")
    data["state"] = step.state.value
    data["usage"] = changed_fields(step.usage, _USAGE, "series")
    return data


def step_to_message(step: Step) -> dict[str, Any]:
    """Encode a step for events, JSON-ready, with the state's name and the usage series."""
    data = step_to_dict(step)
    data["state"] = step.state.name
    if step.usage.series:
        data["usage"]["series"] = step.usage.series
    return data


def step_from_dict(data: dict[str, Any]) -> Step:
    """Inverse of step_to_dict. A state may be its number or its name."""
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
