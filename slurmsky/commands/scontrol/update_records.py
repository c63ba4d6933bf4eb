"""Typed updates of nodes, steps and reservations.

A request sets the fields that are present; absent fields stay unchanged. Updates of jobs are JobUpdate; those of
partitions set fields of PartitionConfig.
"""

from __future__ import annotations

from typing import TypedDict


class NodeUpdate(TypedDict, total=False):
    """Update of nodes, by the names of Slurm's update_node_msg_t.

    Texts are as typed; the controller parses them for each node.
    """

    addr: str
    cert: str
    comment: str
    cpu_bind: str
    extra: str
    features: str
    features_act: str
    gres: str
    host: str
    instance_id: str
    instance_type: str
    names: str
    reason: str
    resume_after: str
    state: str
    topology: str
    weight: str


class StepUpdate(TypedDict, total=False):
    """Update of steps. Without ``step_id`` it concerns all numbered steps of the job."""

    job_id: int
    step_id: str
    time_limit: int  # minutes


Signed = tuple[str, tuple[str, ...]]  # "+" or "-" of += and -=, and the words of a list


class ReservationUpdate(TypedDict, total=False):
    """Update of reservations, by the names of Slurm's resv_desc_msg_t. Times are seconds since the epoch."""

    accounts: Signed
    allowed_partitions: Signed
    burst: str
    comment: str
    cores: int
    count: int  # number of nodes
    delay: tuple[str, int]  # seconds
    duration: tuple[str, int]  # seconds, with the sign of += and -=
    end: int
    features: str
    flags: Signed
    groups: Signed
    licenses: str
    name: str
    nodes: Signed
    partition: str
    purge: int  # seconds
    qos: Signed
    skip: bool  # to the next occurrence of a recurring reservation
    start: int
    tres: dict[str, int]  # counts that become ``count`` and ``cores``
    users: Signed
