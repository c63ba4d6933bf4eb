"""Configuration of the cluster after scontrol's changes and after a reconfigure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_store import MemoryStore

from slurmsky.controller.jobs.cluster_table import ClusterTable
from slurmsky.model.cluster import ClusterConfig, NodeConfig, PartitionConfig

DEBUG = PartitionConfig("debug", nodes=("n1",))


def changed_and_reconfigured(flags: str) -> ClusterTable:
    """Cluster table after scontrol update, create partition and reconfigure."""
    store = MemoryStore()
    site = ClusterConfig(nodes=(NodeConfig("n1"),), partitions=(DEBUG,), parameters=(("ReconfigFlags", flags),))
    table = ClusterTable(site, store, lambda: 0.0, ())
    assert not table.reconfigurable
    table.store_partition(replace(DEBUG, default_time_min=10), "DOWN")
    table.store_partition(PartitionConfig("new", nodes=("n1",)))
    again = ClusterTable(site, store, lambda: 0.0, ())
    assert again.cluster.partition("new") and again.partition_states == {"debug": "DOWN"}
    assert again.reconfigurable == (flags != "KeepPartInfo")
    again.forget_configuration()
    return ClusterTable(site, store, lambda: 0.0, ())


@pytest.mark.parametrize(
    ("flags", "default", "names", "states"),
    [
        ("", None, ["debug"], {}),
        ("KeepPartState", None, ["debug"], {"debug": "DOWN"}),
        ("KeepPartInfo", 10, ["debug", "new"], {"debug": "DOWN"}),
    ],
)
def test_reconfigure_drops_changed_partitions_unless_flags_keep_them(
    flags: str, default: int | None, names: list[str], states: dict[str, str]
) -> None:
    table = changed_and_reconfigured(flags)
    debug = table.cluster.partition("debug")
    assert debug and debug.default_time_min == default
    assert [part.name for part in table.cluster.partitions] == names
    assert table.partition_states == states


def test_parameters_of_slurm_conf_have_their_effect() -> None:
    site = ClusterConfig(parameters=(("SchedulerParameters", "bf_interval=1,requeue_delay=9"), ("MailDomain", "x.org")))
    assert (site.requeue_delay_s, site.mail_address("ann")) == (10, "ann@x.org")
    assert (ClusterConfig().requeue_delay_s, ClusterConfig().mail_address("ann")) == (2, None)
