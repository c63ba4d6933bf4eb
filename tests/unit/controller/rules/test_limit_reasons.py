"""Reasons and sentences of the limits of QOS and associations."""

from __future__ import annotations

import pytest

from slurmsky.controller.rules.limit_policy import Exceeded, LimitSource
from slurmsky.controller.rules.limit_reasons import RUNNING, SENTENCES, SIZES, SUBMITTED, WALL
from slurmsky.model.policy import Limits
from slurmsky.model.spec import INFINITE
from slurmsky.report.fields.field_tables import table


def test_every_reason_is_one_of_slurms() -> None:
    reasons = {word for pair in SIZES.values() for words in pair for word in words if word}
    reasons |= {word for _, *words in (*RUNNING.values(), *SUBMITTED.values()) for word in words if word}
    reasons |= {*WALL, "AccountNotAllowed", "QOSNotAllowed", "MaxMemPerLimit"}
    assert reasons - {row["printed_name"] for row in table("job_reasons")} == set()


def test_every_limit_has_a_sentence() -> None:
    fields = {*RUNNING, *SIZES, "grp_tres_mins", "grp_wall_min", "max_wall_min"}
    assert set(SENTENCES) == fields


@pytest.mark.parametrize(
    ("field", "resource", "text"),
    [
        ("grp_tres", "cpu", "QOS q limits CPUs of all its jobs to 2 (grp_tres); with this job they would hold 3"),
        ("min_tres", "mem", "QOS q requires MiB of memory of a job to be at least 2 (min_tres); this job requests 3"),
        ("max_wall_min", "", "QOS q limits the minutes of a job to 2 (max_wall); this job requests 3"),
    ],
)
def test_a_limit_reads_as_a_sentence(field: str, resource: str, text: str) -> None:
    source = LimitSource("qos", "q", Limits())
    assert str(Exceeded("R", source, field, resource, 2, 3)) == text
    without = Exceeded("R", source, "max_wall_min", "", 2, INFINITE)
    assert str(without).endswith("; this job requests no limit")
