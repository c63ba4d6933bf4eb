"""Accounts and QOS of sacctmgr are applied at once, stored, and override the site file."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.controller.jobs.job_table import JobTable
from slurmsky.controller.slurm_errors import SlurmError
from slurmsky.controller.store.database import Store
from slurmsky.model.policy import AccountConfig, Limits, QosConfig
from slurmsky.site import load

SITE = """cluster = "small"
accounts = ["lab"]
[[node]]
names = "n1"
[[partition]]
name = "debug"
nodes = "ALL"
default = true
"""
ENFORCED = '[parameters]\nAccountingStorageEnforce = "associations"\n'


def table(folder: Path, site: str = SITE) -> JobTable:
    described = load(site, "site.toml")
    return JobTable(described.cluster, Store(folder / "queue.db"), lambda: 1000.0, described.accounts)


def test_accounts_and_qos_outlive_the_controller(tmp_path: Path) -> None:
    first = table(tmp_path)
    first.overrides.accounts["new"] = AccountConfig("new", limits=Limits(max_jobs_per_user=2, max_tres=(("cpu", 4),)))
    first.overrides.qos["fast"] = QosConfig("fast", priority=7, flags=("DenyOnLimit",))
    first.overrides.users["ada"] = ["new"]
    first.store_accounting()
    assert first.policy.account_of("new", "own") == "new"
    assert first.policy.qos_of("fast", "new") == "fast"
    first.store.close()
    second = table(tmp_path)
    assert second.overrides == first.overrides
    assert second.accounts == ("lab", "new")
    assert second.policy.qos["fast"].priority == 7
    assert {one.name for one in second.cluster.qos} == {"normal", "fast"}


def test_an_account_of_the_site_file_can_be_deleted(tmp_path: Path) -> None:
    job_table = table(tmp_path)
    job_table.overrides.deleted_accounts.add("lab")
    job_table.store_accounting()
    assert job_table.accounts == ()


def test_an_unknown_account_is_refused_only_where_associations_are_enforced(tmp_path: Path) -> None:
    for name, site in (("free", SITE), ("strict", SITE + ENFORCED)):
        (tmp_path / name).mkdir()
        job_table = table(tmp_path / name, site)
        job_table.overrides.accounts["new"] = AccountConfig("new")
        job_table.store_accounting()
        if name == "free":
            assert job_table.policy.account_of("nosuch", "own") == "own"
        else:
            with pytest.raises(SlurmError):
                job_table.policy.account_of("nosuch", "own")
