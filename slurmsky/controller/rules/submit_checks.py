"""Checks at submit, with slurmctld's errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ...language import constraint, dependency, hostlist, licenses
from ...language.syntax_errors import LanguageError
from ...model.cluster import ClusterConfig, PartitionConfig
from ...model.policy import NORMAL
from ...model.spec import JobSpec
from ...site import assumed
from ..slurm_errors import Errno, SlurmError
from . import deadlines
from .demand import demand_of, gres_names
from .job_feasibility import impossible, too_big, usable_cpus
from .job_placement import consumes_memory, partition_nodes
from .partition_access import exceeds_memory, exempted

_PARTS_OF_GPUS = frozenset({"mps", "shard"})


def partitions_of(cluster: ClusterConfig, spec: JobSpec) -> list[PartitionConfig]:
    """Partitions of a job, by falling tier, of equal tiers in the order given.

    Source: partition_mgr.c get_part_list.
    """
    if spec.partition is None:
        default = cluster.default_partition
        if default is None:
            raise SlurmError(Errno.DEFAULT_PARTITION_NOT_SET)
        return [default]
    found = []
    for name in spec.partition.split(","):
        partition = assumed.partition_for(cluster, name)
        if partition is None:
            raise SlurmError(Errno.INVALID_PARTITION, f"invalid partition specified: {name or '(null)'}")
        found.append(partition)
    return sorted(found, key=lambda partition: -partition.priority_tier)


def _exempted_partitions(cluster: ClusterConfig, spec: JobSpec) -> list[PartitionConfig]:
    """Return a job's partitions without the limits that its QOS lifts."""
    flags = next((one.flags for one in cluster.qos if one.name == spec.qos), ())
    return [exempted(partition, flags) for partition in partitions_of(cluster, spec)]


#: validates a spec in a partition whose nodes an engine creates: True if the engine can create them, False if the
#: partition has fixed nodes; raises SlurmError
EngineCheck = Callable[[JobSpec, str], bool]


def check(
    cluster: ClusterConfig,
    spec: JobSpec,
    now: float,
    engine_check: EngineCheck = lambda spec, name: False,
    account: str = "",
) -> None:
    """Raise SlurmError if slurmctld would refuse the job at submit. ``account``: "" = unknown, and not validated."""
    parts = _exempted_partitions(cluster, spec)
    _check_request(cluster, spec, now)
    _check_limits(cluster, spec, parts, now, account)
    for partition in parts:
        if engine_check(spec, partition.name):
            return
    _check_names(cluster, spec)
    if spec.hold or cluster.open:
        return
    if waits_for_growth(cluster, spec):
        return
    demand = demand_of(spec)
    problem = None
    for partition in parts:
        nodes = partition_nodes(cluster, partition)
        problem = impossible(demand.limited_to(partition), nodes, consumes_memory(cluster))
        if problem is None:
            return
    assert problem is not None
    raise SlurmError(Errno.NODE_CONFIG_UNAVAILABLE, *([problem.detail] if problem.detail else []))


def _check_limits(
    cluster: ClusterConfig, spec: JobSpec, parts: Sequence[PartitionConfig], now: float, account: str
) -> None:
    """Raise SlurmError for contradictory or exceeded limits.

    EnforcePartLimits ALL: every partition of the list must admit the job; ANY: one of them. Source: job_mgr.c
    _valid_job_part.
    """
    enforce = cluster.enforce_part_limits.upper()
    faults = []
    for partition in parts:
        try:
            deadlines.check(spec, partition, now, enforce in ("ALL", "ANY", "YES"))
            if enforce in ("ALL", "ANY", "YES"):
                _check_admission(cluster, spec, partition, account)
        except SlurmError as fault:
            faults.append(fault)
    if faults and (enforce in ("ALL", "YES") or len(faults) == len(parts)):
        raise faults[0]


def _check_admission(cluster: ClusterConfig, spec: JobSpec, partition: PartitionConfig, account: str) -> None:
    """Raise SlurmError if the partition's limits exclude the job.

    Source: job_mgr.c _part_access_check, _qos_part_check, _validate_min_mem_partition.
    """
    demand = demand_of(spec)
    nodes = partition_nodes(cluster, partition)
    # A job has at least one CPU on each node. Source: job_mgr.c _part_access_check.
    if max(demand.num_cpus, demand.min_nodes) > usable_cpus(partition, nodes):
        raise SlurmError(Errno.TOO_MANY_NODES)
    # Unknown nodes are refused later, by their name.
    others = {node.name for node in cluster.nodes} - {node.name for node in nodes}
    if others & set(demand.required):
        raise SlurmError(Errno.NODES_NOT_IN_PARTITION)
    if demand.min_nodes < partition.min_nodes or too_big(demand, partition, nodes):
        raise SlurmError(Errno.INVALID_NODE_COUNT)
    if partition.allow_qos and (spec.qos or NORMAL.name) not in partition.allow_qos:
        raise SlurmError(Errno.INVALID_QOS)
    if account and partition.allow_accounts and account not in partition.allow_accounts:
        raise SlurmError(Errno.INVALID_ACCOUNT)
    if exceeds_memory(spec, partition):
        raise SlurmError(Errno.TASK_MEMORY)


def waits_for_growth(cluster: ClusterConfig, spec: JobSpec) -> str:
    """Return why an accepted job waits for a larger partition, or ""."""
    if cluster.open:
        return ""
    demand = demand_of(spec)
    reasons = [
        too_big(demand, partition, partition_nodes(cluster, partition))
        for partition in _exempted_partitions(cluster, spec)
    ]
    return next(filter(None, reasons), "")


def _check_names(cluster: ClusterConfig, spec: JobSpec) -> None:
    """Validate names of nodes, features and devices. An open cluster accepts any well-formed name."""
    wanted, excluded = node_names(cluster, spec.nodelist or ""), node_names(cluster, spec.exclude or "")
    if set(wanted) & set(excluded):
        raise SlurmError(Errno.INVALID_NODE_NAME)
    check_features(cluster, spec.constraint or "", Errno.INVALID_FEATURE)
    check_features(cluster, spec.prefer or "", Errno.INVALID_PREFER)
    check_features(cluster, spec.batch_features or "", Errno.INVALID_FEATURE)
    _check_gres(cluster, spec)


def node_names(cluster: ClusterConfig, text: str) -> list[str]:
    """Nodes of a --nodelist or --exclude text. Raises SlurmError for malformed and unknown names."""
    try:
        names = hostlist.expand(text) if text else []
    except LanguageError as error:
        raise SlurmError(Errno.INVALID_NODE_NAME) from error
    known = {node.name for node in cluster.nodes}
    if not all(name in known or (cluster.open and assumed.node_name(name)) for name in names):
        raise SlurmError(Errno.INVALID_NODE_NAME)
    return names


def check_features(cluster: ClusterConfig, text: str, errno: Errno) -> None:
    """Raise SlurmError(``errno``) for malformed or unknown features."""
    try:
        names = set(constraint.parse(text).names()) if text else set()
    except LanguageError as error:
        raise SlurmError(errno) from error
    if not cluster.open and not names <= {feature for node in cluster.nodes for feature in node.features}:
        raise SlurmError(errno)


def _check_request(cluster: ClusterConfig, spec: JobSpec, now: float) -> None:
    """Validate the parts of a request that do not depend on nodes."""
    if spec.nodes_min == 0 and not spec.hold:
        raise SlurmError(Errno.INVALID_NODE_COUNT)
    if spec.expedited_requeue:  # slurmctld's default; SlurmctldParameters=enable_expedited_requeue needs epilogs
        raise SlurmError(Errno.NOT_SUPPORTED)
    check_licenses(cluster, spec)
    check_dependency(spec)
    if spec.nice is not None and spec.nice < 0 and os.geteuid() != 0:
        raise SlurmError(Errno.INVALID_NICE)


def check_licenses(cluster: ClusterConfig, spec: JobSpec) -> None:
    """Raise SlurmError for unknown or too many licences."""
    if not spec.licenses:
        return
    total = dict(cluster.licenses)
    try:
        wanted = licenses.parse(spec.licenses)
    except LanguageError as error:
        raise SlurmError(Errno.INVALID_LICENSES) from error
    if cluster.open and not total:
        return
    if any(name not in total for name, _ in wanted.counts) or wanted.first_available(lambda name: total[name]) is None:
        raise SlurmError(Errno.INVALID_LICENSES)


def _check_gres(cluster: ClusterConfig, spec: JobSpec) -> None:
    """Validate generic resources; shares of GPUs exclude whole GPUs.

    Source: gres.c _foreach_job_state_validate.
    """
    try:
        names = gres_names(spec)
    except LanguageError as error:
        raise SlurmError(Errno.INVALID_TRES) from error
    if names & _PARTS_OF_GPUS and ("gpu" in names or spec.gpu_freq):
        raise SlurmError(Errno.INVALID_GRES)
    if cluster.open:
        return
    known = {name for node in cluster.nodes for name, _, _ in node.gres}
    if names - known - {"gpu"} or ("gpu" in names and "gpu" not in known and not spec.hold and not known):
        raise SlurmError(Errno.INVALID_GRES)


def check_dependency(spec: JobSpec) -> None:
    """Raise SlurmError for a malformed or unsupported dependency."""
    if not spec.dependency:
        return
    try:
        parsed = dependency.parse(spec.dependency)
    except LanguageError as error:
        raise SlurmError(Errno.DEPENDENCY) from error
    kinds = {condition.type for condition in parsed.conditions}
    if "expand" in kinds:
        raise SlurmError(Errno.NOT_SUPPORTED)
