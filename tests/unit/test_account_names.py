"""Accounts are stored in lower case, as in Slurm; scripts name them in any case."""

from __future__ import annotations

from typing import Any

import pytest

from slurmsky.model.reservation import Reservation
from slurmsky.options import query, table, values
from slurmsky.site import load


@pytest.mark.parametrize("command", ["sbatch", "srun", "salloc", "scancel"])
def test_an_account_is_read_in_lower_case(command: str) -> None:
    assert _read(command, "--account", "ABC123") == "abc123"


@pytest.mark.parametrize("command", ["squeue", "sacct"])
def test_filters_of_accounts_are_read_in_lower_case(command: str) -> None:
    assert _read(command, "--accounts", "ABC123,lab") == ("abc123", "lab")


def _read(command: str, name: str, text: str) -> Any:
    assert query  # its import adds the readers of filters
    option = table.load(command).find(name)
    assert option is not None
    return values.read(option, text, values.ReadContext())[option.field]


def test_accounts_of_a_site_file() -> None:
    text = """
accounts = ["ABC123"]
[[partition]]
name = "p"
allow_accounts = "Lab,abc123"
[[account]]
name = "Lab"
"""
    site = load(text, "site.toml")
    assert site.cluster.partitions[0].allow_accounts == ("lab", "abc123")
    assert site.accounts == ("abc123", "lab") and [one.name for one in site.cluster.accounts] == ["lab"]


def test_a_reservation_admits_an_account_however_it_names_it() -> None:
    assert Reservation("r", 0, 10, ("n1",), accounts=("Lab",)).admits("ada", frozenset(), "lab")
    assert not Reservation("r", 0, 10, ("n1",), accounts=("-Lab",)).admits("ada", frozenset(), "lab")
