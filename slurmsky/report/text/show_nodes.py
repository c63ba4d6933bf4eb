"""scontrol show node and show partition, as Slurm 25.11 writes them.

Source: api/node_info.c, api/partition_info.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from slurmsky.language.hostlist import compress
from slurmsky.model.cluster import NodeConfig, PartitionConfig
from slurmsky.model.job import Node
from slurmsky.model.spec import INFINITE
from slurmsky.model.states import NodeState

from ..fields import tres_texts
from ..fields.node_state import complete_state
from ..fields.sinfo_fields import gres_text, gres_used_text, oversubscribe
from ..report_context import ReportContext
from .show_job import record_text
from .units import format_minutes, mebibytes, null_if_empty


def show_node(node: Node, context: ReportContext, detail: bool = False, oneliner: bool = False) -> str:
    """``scontrol show node`` for one node; ``detail`` is -d."""
    return record_text(list(_node_lines(node, context, detail)), oneliner)


def _node_lines(node: Node, context: ReportContext, detail: bool) -> Iterator[str]:
    config, text = node.config, context.clock.text
    # In Slurm some of these lines end with a blank.
    arch = "Arch=%s " % config.arch if config.arch else ""
    yield "NodeName=%s %sCoresPerSocket=%d " % (config.name, arch, config.cores)
    yield "CPUAlloc=%d CPUEfctv=%d CPUTot=%d CPULoad=%.2f" % (
        node.alloc_cpus,
        config.cpus,
        config.cpus,
        node.load,
    )
    yield "AvailableFeatures=" + null_if_empty(",".join(config.features))
    yield "ActiveFeatures=" + null_if_empty(",".join(config.active))
    yield "Gres=" + gres_text(node)
    if detail and config.gres:
        yield "GresDrain=N/A"
        yield "GresUsed=" + gres_used_text(node)
    port = "Port=%d " % config.port if config.port else ""
    version = "Version=" + node.version if node.version else ""
    yield "NodeAddr=%s NodeHostName=%s %s%s" % (
        config.address,
        config.host_name or config.name,
        port,
        version,
    )
    if config.os:
        yield "OS=%s " % config.os
    yield "RealMemory=%d AllocMem=%d FreeMem=%s Sockets=%d Boards=%d" % (
        config.memory_mib,
        node.alloc_memory_mib,
        node.free_mib or "N/A",
        config.sockets * config.boards,
        config.boards,
    )
    yield "State=%s ThreadsPerCore=%d TmpDisk=%d Weight=%d Owner=N/A MCS_label=N/A" % (
        complete_state(node),
        config.threads,
        config.tmp_mib,
        config.weight,
    )
    if node.partitions:
        yield "Partitions=%s " % ",".join(node.partitions)
    yield "BootTime=%s SlurmdStartTime=%s" % (
        text(node.boot_time) if node.boot_time else "None",
        text(node.agent_start_time) if node.agent_start_time else "None",
    )
    yield "LastBusyTime=%s ResumeAfterTime=None" % text(node.last_busy_time)
    configured, in_use = node_tres(node, context)
    yield "CfgTRES=" + tres_texts.tres(configured)
    yield "AllocTRES=" + tres_texts.tres(in_use)
    yield "CurrentWatts=0 AveWatts=0"
    if node.reason:
        yield from _reason(node, context)
    if node.comment:
        yield "Comment=" + node.comment
    if node.extra:
        yield "Extra=" + node.extra
    if node.instance_id or node.instance_type:
        yield "InstanceId=%s InstanceType=%s " % (node.instance_id, node.instance_type)


def _reason(node: Node, context: ReportContext) -> Iterator[str]:
    first, *more = node.reason.split("\n")
    who = " [%s@%s]" % (node.reason_user, context.clock.text(node.reason_time)) if node.reason_time else ""
    yield "Reason=%s%s" % (first, who)
    yield from ("       " + line for line in more if line)


def _configured(nodes: list[NodeConfig], context: ReportContext, with_nodes: bool) -> list[tuple[str, str]]:
    cpus = sum(node.cpus for node in nodes)
    parts = [("cpu", str(cpus)), ("mem", mebibytes(sum(node.memory_mib for node in nodes)))]
    if with_nodes:
        parts.append(("node", str(len(nodes))))
    parts.append(("billing", str(cpus)))
    if context.counts_gres:
        parts += _gres_counts((name, kind, count) for node in nodes for name, kind, count in node.gres)
    return parts


def _gres_counts(devices: Iterator[tuple[str, str, int]]) -> list[tuple[str, str]]:
    totals: dict[str, int] = {}
    for name, kind, count in devices:
        for key in (name, name + ":" + kind) if kind else (name,):
            totals[key] = totals.get(key, 0) + count
    return [("gres/" + key, str(count)) for key, count in sorted(totals.items())]


def _in_use(node: Node, context: ReportContext) -> list[tuple[str, str]]:
    if node.state not in (NodeState.ALLOCATED, NodeState.MIXED):
        return []
    parts = [("cpu", str(node.alloc_cpus))]
    if node.alloc_memory_mib:
        parts.append(("mem", mebibytes(node.alloc_memory_mib)))
    if context.counts_gres:
        devices = ((*name.partition(":")[::2], count) for name, count in node.alloc_gres.items() if count)
        parts += _gres_counts(devices)
    return parts


def node_tres(node: Node, context: ReportContext) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """CfgTRES and AllocTRES of a node."""
    return _configured([node.config], context, with_nodes=False), _in_use(node, context)


def partition_tres(nodes: list[NodeConfig], context: ReportContext) -> list[tuple[str, str]]:
    """TRES of a partition with these nodes."""
    return _configured(nodes, context, with_nodes=True)


def show_partition(partition: PartitionConfig, context: ReportContext, oneliner: bool = False) -> str:
    """``scontrol show partition`` for one partition, whose nodes come from the cluster."""
    known = {node.name: node for node in context.cluster.nodes}
    nodes = [known[name] for name in partition.nodes if name in known]
    return record_text(list(_partition_lines(partition, nodes, context)), oneliner)


def _yes(flag: bool) -> str:
    return "YES" if flag else "NO"


def _unlimited(number: int) -> str:
    return "UNLIMITED" if number == INFINITE else str(number)


def _memory_limit(prefix: str, per_cpu: Optional[int], per_node: Optional[int]) -> str:
    if per_cpu is not None:
        return "%sMemPerCPU=%d" % (prefix, per_cpu)
    return "%sMemPerNode=%s" % (prefix, per_node or "UNLIMITED")


def _partition_lines(part: PartitionConfig, nodes: list[NodeConfig], context: ReportContext) -> Iterator[str]:
    def named(names: tuple[str, ...]) -> str:
        return ",".join(names) or "ALL"

    yield "PartitionName=" + part.name
    yield "AllowGroups=%s AllowAccounts=%s AllowQos=%s" % (
        named(part.allow_groups),
        named(part.allow_accounts),
        named(part.allow_qos),
    )
    yield "AllocNodes=ALL Default=%s QoS=%s" % (_yes(part.default), part.qos or "N/A")
    default_time = "NONE" if part.default_time_min is None else format_minutes(part.default_time_min)
    yield (
        "DefaultTime=%s DisableRootJobs=NO ExclusiveUser=%s ExclusiveTopo=NO GraceTime=%d Hidden=%s"
        % (default_time, _yes(part.exclusive_user), part.grace_time_s, _yes(part.hidden))
    )
    yield "MaxNodes=%s MaxTime=%s MinNodes=%d LLN=NO MaxCPUsPerNode=%s MaxCPUsPerSocket=UNLIMITED" % (
        _unlimited(part.max_nodes),
        format_minutes(part.max_time_min),
        part.min_nodes,
        _unlimited(part.max_cpus_per_node),
    )
    yield "Nodes=" + (compress(part.nodes) or "(null)")
    yield "PriorityJobFactor=%d PriorityTier=%d RootOnly=%s ReqResv=NO OverSubscribe=%s" % (
        part.priority_job_factor,
        part.priority_tier,
        _yes(part.root_only),
        oversubscribe(part),
    )
    over = "NONE" if part.over_time_limit_min is None else _unlimited(part.over_time_limit_min)
    yield "OverTimeLimit=%s PreemptMode=%s" % (over, part.preempt_mode)
    yield "State=%s TotalCPUs=%d TotalNodes=%d SelectTypeParameters=NONE" % (
        part.state,
        sum(node.cpus for node in nodes),
        len(nodes),
    )
    yield "JobDefaults=(null)"
    yield "%s %s" % (
        _memory_limit("Def", part.def_mem_per_cpu_mib, part.def_mem_per_node_mib),
        _memory_limit("Max", part.max_mem_per_cpu_mib, part.max_mem_per_node_mib),
    )
    yield "TRES=" + (tres_texts.tres(partition_tres(nodes, context)) if nodes else "(null)")
