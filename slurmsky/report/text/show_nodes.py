"""scontrol show node and show partition, as in Slurm 25.11.

Source: api/node_info.c, api/partition_info.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Callable, Optional

from slurmsky.language.hostlist import compress
from slurmsky.model.cluster import NodeConfig, PartitionConfig
from slurmsky.model.job import Node
from slurmsky.model.spec import INFINITE

from ..fields.node_values import NODE_VALUES, configured_tres
from ..fields.sinfo_fields import oversubscribe
from ..fields.text_forms import text_forms
from ..report_context import ReportContext
from .show_job import record_text, unless_blank
from .units import format_minutes, null_if_empty

#: Lines of a node: keys of ``data/node_fields.csv``, or constant texts. "?": omitted if the value is ""; "*": also
#: omitted if "", and without its key; "-d": with --details only. "+": Slurm prints a blank after this word, which the
#: next word does not repeat.
_LAYOUT = """
NodeName ?Arch CoresPerSocket+
CPUAlloc CPUEfctv CPUTot CPULoad
AvailableFeatures
ActiveFeatures
Gres
-d ?GresDrain
-d ?GresUsed
NodeAddr NodeHostName+ ?Port+ ?Version
?OS+
RealMemory AllocMem FreeMem Sockets Boards
State ThreadsPerCore TmpDisk Weight Owner=N/A MCS_label=N/A
?Partitions+
BootTime SlurmdStartTime
LastBusyTime ResumeAfterTime=None
CfgTRES
AllocTRES
CurrentWatts=0 AveWatts=0
*Reason
?Comment
?Extra
*Instance
"""


def node_text(context: ReportContext, detail: bool = False, oneliner: bool = False) -> Callable[[Node], str]:
    """Printer of ``scontrol show node``. ``detail`` is -d."""
    separator, end = (" ", "\n") if oneliner else ("\n   ", "\n\n")
    forms = {**text_forms(context), **_FORMS, "lines": separator.join}
    fields = {field.name: field for field in NODE_VALUES.fields_of("scontrol")}
    template, texts = "", list[Callable[[Node], Any]]()
    for line in _LAYOUT.strip().splitlines():
        before = separator
        for key in line.removeprefix("-d ").split() if detail or not line.startswith("-d") else ():
            name, after = key.strip("?*+"), " " if key[-1] == "+" else ""
            if "=" in name:
                template += before + name
            else:
                read, form = NODE_VALUES.reader(fields[name].value, context), forms.get(fields[name].form)
                text = read if form is None else _formed(read, form)
                label = before if key[0] == "*" else before + name + "="
                optional = key[0] in "?*"
                template += "%s" if optional else label + "%s" + after
                texts.append(unless_blank(label, text, after) if optional else text)
            before = "" if after else " "
    template = template.removeprefix(separator) + end
    return lambda node: template % tuple([text(node) for text in texts])


def _formed(read: Callable[[Node], Any], form: Callable[[Any], str]) -> Callable[[Node], str]:
    known = cache(form)  # many nodes have equal values
    return lambda node: known(read(node))


_FORMS: dict[str, Callable[[Any], str]] = {
    "drain": lambda gres: "N/A" if gres else "",
    "joined": ",".join,
    "list": lambda names: null_if_empty(",".join(names)),
    "load": "%.2f".__mod__,
}


def show_partition(partition: PartitionConfig, context: ReportContext, oneliner: bool = False) -> str:
    """``scontrol show partition`` for one partition."""
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
    yield "TRES=" + (configured_tres(nodes, context) if nodes else "(null)")
