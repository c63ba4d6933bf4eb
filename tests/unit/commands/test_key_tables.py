"""Key tables of scontrol and sacctmgr agree with the records that they change."""

from __future__ import annotations

from dataclasses import fields

import pytest

from slurmsky.commands.accounting.entity_options import ACCOUNT_KEYS, LIMITS, QOS_KEYS, USER_KEYS
from slurmsky.commands.scontrol.job_keys import JOB_KEYS, SELECTS
from slurmsky.commands.scontrol.reservation_verbs import RESERVATION_KEYS
from slurmsky.commands.scontrol.update_nodes import NODE_KEYS
from slurmsky.commands.scontrol.update_partitions import PARTITION_KEYS, REFUSED
from slurmsky.commands.scontrol.update_records import NodeUpdate, ReservationUpdate, StepUpdate
from slurmsky.commands.scontrol.update_steps import STEP_KEYS
from slurmsky.controller.jobs.job_update import JobUpdate
from slurmsky.language.key_values import KeyTable
from slurmsky.model.cluster import PartitionConfig
from slurmsky.model.policy import AccountConfig, QosConfig, UserAssociation


def _names(record: type) -> set[str]:
    return {one.name for one in fields(record)}


@pytest.mark.parametrize(
    ("table", "known"),
    [
        pytest.param(JOB_KEYS, JobUpdate.__annotations__.keys() | SELECTS, id="job"),
        pytest.param(PARTITION_KEYS, _names(PartitionConfig) | {REFUSED}, id="partition"),
        pytest.param(NODE_KEYS, NodeUpdate.__annotations__.keys(), id="node"),
        pytest.param(STEP_KEYS, StepUpdate.__annotations__.keys(), id="step"),
        pytest.param(RESERVATION_KEYS, ReservationUpdate.__annotations__.keys(), id="reservation"),
        pytest.param(ACCOUNT_KEYS, _names(AccountConfig) | LIMITS, id="account"),
        pytest.param(USER_KEYS, _names(UserAssociation) | LIMITS, id="user"),
        pytest.param(QOS_KEYS, _names(QosConfig) | LIMITS, id="qos"),
    ],
)
def test_each_key_sets_a_field_of_the_record(table: KeyTable[object], known: set[str]) -> None:
    assert {key.field for key in table.keys} - {""} <= known


@pytest.mark.parametrize(
    "table", [JOB_KEYS, PARTITION_KEYS, NODE_KEYS, STEP_KEYS, RESERVATION_KEYS, ACCOUNT_KEYS, USER_KEYS, QOS_KEYS]
)
def test_each_key_is_found_by_its_full_name(table: KeyTable[object]) -> None:
    hidden = {key.name for key in table.keys if table.find(key.name) is not key}
    assert hidden == set()
