"""Registry of a node's values for sinfo, JSON and scontrol. The rows are in ``data/node_fields.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Callable

from slurmsky.model.cluster import NodeConfig
from slurmsky.model.job import Node
from slurmsky.model.states import NodeState

from ..report_context import ReportContext
from ..text.units import mebibytes
from .node_state import complete_state, state_words
from .tres_texts import device_text, tres
from .value_registry import Registry


def _gres_used(node: Node) -> str:
    """Allocated devices: ``gpu:h100:2(IDX:0-1)``, ``gpu:h100:0(IDX:N/A)``; without device files ``disk:2``."""
    parts = []
    for name, kind, _ in node.config.gres:
        device = _device(name, kind)
        count = node.alloc_gres.get(device, 0)
        indices = node.alloc_gres_ids.get(device, ())
        if name != "gpu":
            parts.append("%s:%d" % (device, count))
        else:
            parts.append(device_text(device, indices) if indices else "%s:%d(IDX:N/A)" % (device, count))
    return ",".join(parts)


def _gres(node: Node) -> str:
    return ",".join(
        "%s%s:%d" % (_device(name, kind), ":no_consume" if name in node.config.gres_not_consumed else "", count)
        for name, kind, count in node.config.gres
    )


def _device(name: str, kind: str) -> str:
    return name + ":" + kind if kind else name


def _instance(node: Node) -> str:
    if not (node.instance_id or node.instance_type):
        return ""
    return "InstanceId=%s InstanceType=%s " % (node.instance_id, node.instance_type)


def _reason_lines(node: Node, context: ReportContext) -> tuple[str, ...]:
    if not node.reason:
        return ()
    first, *more = node.reason.split("\n")
    who = " [%s@%s]" % (node.reason_user, context.clock.text(node.reason_time)) if node.reason_time else ""
    return ("Reason=%s%s" % (first, who), *("       " + line for line in more if line))


def _reason_user_and_uid(node: Node, context: ReportContext) -> str:
    uid = context.uids.get(node.reason_user)
    return node.reason_user if uid is None else "%s(%d)" % (node.reason_user, uid)


def configured_tres(nodes: Sequence[NodeConfig], context: ReportContext, with_nodes: bool = True) -> str:
    """TRES of nodes, for a partition with the number of nodes."""
    cpus = sum(node.cpus for node in nodes)
    parts = [("cpu", str(cpus)), ("mem", mebibytes(sum(node.memory_mib for node in nodes)))]
    if with_nodes:
        parts.append(("node", str(len(nodes))))
    parts.append(("billing", str(cpus)))
    parts += _gres_counts(((name, kind, count) for node in nodes for name, kind, count in node.gres), context)
    return tres(parts)


def _gres_counts(devices: Iterable[tuple[str, str, int]], context: ReportContext) -> list[tuple[str, str]]:
    totals: dict[str, int] = {}
    for name, kind, count in devices:
        for key in (name, name + ":" + kind) if kind else (name,):
            totals[key] = totals.get(key, 0) + count
    return [
        ("gres/" + key, str(count)) for key, count in sorted(totals.items()) if "gres/" + key in context.counted_gres
    ]


def _tres_in_use(node: Node, context: ReportContext) -> str:
    if node.state not in (NodeState.ALLOCATED, NodeState.MIXED):
        return ""
    parts = [("cpu", str(node.alloc_cpus))]
    if node.alloc_memory_mib:
        parts.append(("mem", mebibytes(node.alloc_memory_mib)))
    used = ((*name.partition(":")[::2], count) for name, count in node.alloc_gres.items() if count)
    parts += _gres_counts(used, context)
    return tres(parts)


_OF_NODE: dict[str, Callable[[Node], Any]] = {
    "gres": _gres,
    "gres_used": _gres_used,
    "host_name": lambda node: node.config.host_name or node.config.name,
    "idle_cpus": lambda node: node.config.cpus - node.alloc_cpus,
    "instance": _instance,
    "sockets_total": lambda node: node.config.sockets * node.config.boards,
    "state_compact": lambda node: state_words(node)[1],
    "state_complete": complete_state,
    "state_long": lambda node: state_words(node)[0],
}
_IN_CONTEXT: dict[str, Callable[[Node, ReportContext], Any]] = {
    "reason_lines": _reason_lines,
    "reason_user_and_uid": _reason_user_and_uid,
    "tres_configured": lambda node, context: configured_tres([node.config], context, with_nodes=False),
    "tres_in_use": _tres_in_use,
}

NODE_VALUES = Registry("node_fields", _OF_NODE, _IN_CONTEXT)
