"""Encodes and decodes the records of the store."""

from __future__ import annotations

from dataclasses import dataclass

from ...model.codec import compact as compact
from ...model.codec import job_from_dict as job_from_dict
from ...model.codec import job_to_json as job_to_json
from ...model.step_codec import step_from_dict as step_from_dict
from ...model.step_codec import step_to_dict as step_to_dict


@dataclass
class Managed:
    """A SkyPilot managed job at the last read. ``job_id`` 0: a job of slurmsky, whose job ids are in its name."""

    managed_job_id: int
    job_id: int = 0
    name: str = ""
    status: str = ""
    over: float = 0.0  # end time, 0.0 until it ends
    clusters: tuple[str, ...] = ()
    cost: float = 0.0  # dollars so far
    hourly: float = 0.0  # dollars an hour while it runs
    cost_final: bool = False  # the cost is final
