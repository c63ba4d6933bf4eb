"""Devices that a step requests of its job."""

from __future__ import annotations

import pytest

from slurmsky.agent.steps import step_gpus
from slurmsky.model.allocation import NodeShare
from slurmsky.model.spec import JobSpec

_SHARES = [NodeShare("n1", "", gres={"disk": (0,), "gpu:h100": (0, 1)})]


@pytest.mark.parametrize(
    ("spec", "unknown", "other_type"),
    [
        (JobSpec(gres="disk"), False, False),
        (JobSpec(gres="disk:1,gpu:h100:2"), False, False),
        (JobSpec(gres="gres/gpu:h100=2"), False, False),
        (JobSpec(gres="none"), False, False),
        (JobSpec(gres="tape"), True, False),
        (JobSpec(gres="tape:0"), False, False),
        (JobSpec(gres="gpu:a100"), False, True),
        (JobSpec(gres="disk:fast:1"), False, True),
        (JobSpec(gpus="h100:1"), False, False),
        (JobSpec(gpus_per_task="a100:1"), False, True),
    ],
)
def test_devices_and_types_that_the_job_lacks(spec: JobSpec, unknown: bool, other_type: bool) -> None:
    assert (step_gpus.unknown(spec.gres, _SHARES), step_gpus.other_type(spec, _SHARES)) == (unknown, other_type)
