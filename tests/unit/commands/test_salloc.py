"""salloc's exit code."""

from __future__ import annotations

import pytest

from slurmsky.commands.salloc import _exit_code


@pytest.mark.parametrize(("status", "code"), [(0, 0), (7, 7), (-1, 0), (-2, 0), (-3, 0), (-9, 0), (-15, 1), (-11, 1)])
def test_signals_of_the_user_are_no_failure_of_salloc(status: int, code: int) -> None:
    assert _exit_code(status) == code
