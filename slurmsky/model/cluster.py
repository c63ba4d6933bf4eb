"""Nodes, partitions and the cluster, as in a slurm.conf."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Union

from .policy import AccountConfig, QosConfig, UserAssociation
from .spec import INFINITE, DeclaredOption


@dataclass(frozen=True)
class NodeConfig:
    """One node's configuration. Source: slurm.conf NodeName line."""

    name: str
    address: str = "127.0.0.1"
    host_name: str = ""
    port: int = 0
    cpus: int = 1  # logical CPUs = boards * sockets * cores * threads, unless only cpus is configured
    boards: int = 1
    sockets: int = 1  # per board
    cores: int = 1  # per socket
    threads: int = 1  # per core
    memory_mib: int = 1
    tmp_mib: int = 0
    weight: int = 1
    features: tuple[str, ...] = ()
    gres: tuple[tuple[str, str, int], ...] = ()  # (name, type or "", count)
    gres_not_consumed: tuple[str, ...] = ()  # names of gres that any number of jobs can hold at once
    state: str = "UNKNOWN"  # configured State=
    reason: str = ""
    arch: str = ""
    os: str = ""
    features_active: Optional[tuple[str, ...]] = None  # set by scontrol update; None: all features

    @property
    def active(self) -> tuple[str, ...]:
        """The features that jobs can have now (ActiveFeatures)."""
        return self.features if self.features_active is None else self.features_active


@dataclass(frozen=True)
class PartitionConfig:
    """One partition.

    Times in minutes; None means not set. Source: slurm.conf PartitionName line.
    """

    name: str
    nodes: tuple[str, ...] = ()
    default: bool = False
    max_time_min: int = INFINITE
    default_time_min: Optional[int] = None
    max_nodes: int = INFINITE
    min_nodes: int = 0
    max_cpus_per_node: int = INFINITE
    state: str = "UP"  # UP | DOWN | DRAIN | INACTIVE
    priority_tier: int = 1
    priority_job_factor: int = 1
    oversubscribe: str = "NO"  # NO | EXCLUSIVE | YES:n | FORCE:n
    hidden: bool = False
    root_only: bool = False
    exclusive_user: bool = False  # a node runs jobs of one user at a time
    grace_time_s: int = 0
    def_mem_per_node_mib: Optional[int] = None
    def_mem_per_cpu_mib: Optional[int] = None
    max_mem_per_node_mib: Optional[int] = None
    max_mem_per_cpu_mib: Optional[int] = None
    over_time_limit_min: Optional[int] = None
    preempt_mode: str = "OFF"
    qos: str = ""
    allow_accounts: tuple[str, ...] = ()
    allow_qos: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    nodes_text: str = ""  # as configured, e.g. "ALL"
    engine: str = ""  # "" = the site's engine


@dataclass(frozen=True)
class ClusterConfig:
    """The cluster: nodes and partitions in configured order, and limits.

    Limits are in seconds unless the name has another unit.
    """

    name: str = "slurmsky"
    nodes: tuple[NodeConfig, ...] = ()
    partitions: tuple[PartitionConfig, ...] = ()
    licenses: tuple[tuple[str, int], ...] = ()
    max_array_size: int = 1_000_001  # slurm.conf's default is 1001; slurmsky needs no limit that low
    max_job_count: int = 200_000
    min_job_age_s: int = 300
    job_files_days: int = 7  # days for which the folders of ended jobs are kept
    kill_wait_s: int = 30
    constrain_ram_space: bool = True  # the node limits the memory of jobs by control groups, if it has them
    over_time_limit_min: int = 0
    mail_program: str = ""
    batch_requeue: bool = True
    enforce_part_limits: str = "NO"
    idle_exit_s: int = 600
    prolog: str = ""
    epilog: str = ""
    task_prolog: str = ""
    task_epilog: str = ""
    inactive_limit_s: int = 0
    max_script_size: int = 4 * 1024 * 1024
    parameters: tuple[tuple[str, str], ...] = ()  # other parameters of slurm.conf
    declared_options: tuple[DeclaredOption, ...] = ()
    qos: tuple[QosConfig, ...] = ()  # () = any name is accepted and has no effect
    accounts: tuple[AccountConfig, ...] = ()  # () = accounts have no limits
    associations: tuple[UserAssociation, ...] = ()  # users' associations with own settings
    #: no configuration describes the cluster: any name is accepted, and a job gets the nodes that it requests
    open: bool = False
    #: rules for unknown partition names: (shell pattern, partition or "refuse"); the first match applies
    unknown_partition: tuple[tuple[str, str], ...] = ()

    def node(self, name: str) -> NodeConfig:
        """The node with this name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def partition(self, name: str) -> Optional[PartitionConfig]:
        """The partition with this name, or None."""
        for partition in self.partitions:
            if partition.name == name:
                return partition
        return None

    def parameter(self, name: str) -> str:
        """Return another parameter of slurm.conf; "": not set."""
        return dict(self.parameters).get(name, "")

    @property
    def requeue_delay_s(self) -> int:
        """Seconds before a requeued job may start again.

        ``requeue_delay`` of SchedulerParameters. slurmctld's default is the life time of a credential, 120 s; there are
        no credentials here.
        """
        options = dict(word.partition("=")[::2] for word in self.parameter("SchedulerParameters").split(","))
        delay = options.get("requeue_delay", "")
        return int(delay) + 1 if delay.isdecimal() else 2

    def mail_address(self, user: str) -> Optional[str]:
        """Return the address for a user's mails in MailDomain, or None."""
        domain = self.parameter("MailDomain")
        return f"{user}@{domain}" if domain else None

    def lineage(self, account: str) -> list[AccountConfig]:
        """Return the account and those above it, as far as described."""
        known = {one.name: one for one in self.accounts}
        found: list[AccountConfig] = []
        while account in known and known[account] not in found:
            found.append(known[account])
            account = known[account].parent
        return found

    def account(self, name: str, user: str = "") -> AccountConfig:
        """Return a user's account with the QOS of the nearest association.

        The nearest association with a QOS is the user's, or an account's.
        """
        lineage = self.lineage(name)
        found = lineage[0] if lineage else AccountConfig(name)
        lineage = lineage or self.lineage(found.parent)
        nearest: list[Union[UserAssociation, AccountConfig]] = [
            one for one in self.associations if (one.account, one.user) == (name, user)
        ]
        nearest += lineage
        qos = next((one.qos for one in nearest if one.qos), ())
        default = next((one.default_qos for one in nearest if one.default_qos), "")
        return replace(found, qos=qos, default_qos=default)

    @property
    def default_partition(self) -> Optional[PartitionConfig]:
        """The partition of jobs that name no partition."""
        for partition in self.partitions:
            if partition.default:
                return partition
        return None
