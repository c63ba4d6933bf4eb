"""Numbers and texts of slurmctld's errors."""

from __future__ import annotations

from collections import Counter

import pytest

from slurmsky.controller.slurm_errors import Errno


def test_each_number_has_one_text() -> None:
    numbers = Counter(errno.value[0] for errno in Errno)
    assert [number for number, count in numbers.items() if count > 1] == []


@pytest.mark.parametrize(
    ("errno", "number"),
    [  # slurm/slurm_errno.h of 25.11; an enumeration counts on from its last explicit number
        (Errno.UNREACHABLE, 1001),
        (Errno.INVALID_JOB_ID, 2017),
        (Errno.ALREADY_DONE, 2021),
        (Errno.JOB_PENDING, 2024),
        (Errno.INVALID_NODE_STATE, 2028),
        (Errno.NOT_SUPPORTED, 2036),
        (Errno.DEPENDENCY, 2038),
        (Errno.JOB_LIMIT, 2050),
        (Errno.NOT_PENDING_NOR_RUNNING, 2086),
    ],
)
def test_numbers_are_slurms(errno: Errno, number: int) -> None:
    assert errno.value[0] == number
