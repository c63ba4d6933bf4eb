"""JSON records of nodes, partitions and lines of sinfo. The parsers are NODE, PARTITION_INFO and SINFO_DATA."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from slurmsky.language.hostlist import compress
from slurmsky.model.cluster import PartitionConfig
from slurmsky.model.job import Node

from ..fields.node_values import NODE_VALUES, configured_tres
from ..fields.sinfo_fields import NodeRow, node_usable, nodes_aiot
from ..report_context import ReportContext
from .job_records import ENDLESS, FORMS, UNSET, Record, number

_FORMS: dict[str, Callable[[Any], Any]] = {
    **FORMS,
    "energy": lambda watts: {
        "average_watts": watts,
        "base_consumed_energy": 0,
        "consumed_energy": 0,
        "current_watts": number(watts),
        "previous_consumed_energy": 0,
        "last_collected": 0,
    },
    "flags": lambda state: state.split("+"),
    "list": list,
    "percent": lambda load: round(load * 100),
}


def node_records(nodes: Iterable[Node], context: ReportContext) -> Iterator[Record]:
    """The records of nodes as scontrol show node prints them."""
    fields = NODE_VALUES.fields_of("json")
    readers = [(field, NODE_VALUES.reader(field.value, context), _FORMS[field.form]) for field in fields]
    constants = {field.name: form(json.loads(field.value[1:])) for field, _, form in readers if field.value[0] == "="}
    template = {field.name: constants.get(field.name) for field in fields}
    plain = [(field.name, read) for field, read, form in readers if field.form == "raw" and field.name not in constants]
    others = [(field.name, read, form) for field, read, form in readers
              if field.form != "raw" and field.name not in constants]  # fmt: skip
    for node in nodes:
        record = {**template, **{name: read(node) for name, read in plain}}
        for name, read, form in others:
            record[name] = form(read(node))
        yield record


def partition_record(part: PartitionConfig, context: ReportContext) -> Record:
    """Record of a partition as scontrol show partition prints it."""
    known = {node.name: node for node in context.cluster.nodes}
    nodes = [known[name] for name in part.nodes if name in known]
    word, _, shares = part.oversubscribe.upper().partition(":")
    count = {"NO": 1, "EXCLUSIVE": 0}.get(word, int(shares or 4))
    return {
        "nodes": {"allowed_allocation": "", "configured": compress(part.nodes), "total": len(nodes)},
        "accounts": {"allowed": ",".join(part.allow_accounts), "deny": ""},
        "groups": {"allowed": ",".join(part.allow_groups)},
        "qos": {"allowed": ",".join(part.allow_qos), "deny": "", "assigned": part.qos},
        "alternate": "",
        "tres": {"billing_weights": "", "configured": configured_tres(nodes, context)},
        "cluster": "",
        "select_type": [],
        "cpus": {"task_binding": 0, "total": sum(node.cpus for node in nodes)},
        "defaults": {
            "memory_per_cpu": part.def_mem_per_cpu_mib or 0,
            "partition_memory_per_cpu": number(part.def_mem_per_cpu_mib),
            "partition_memory_per_node": number(part.def_mem_per_node_mib or 0),
            "time": number(part.default_time_min),
            "job": "",
        },
        "grace_time": part.grace_time_s,
        "maximums": {
            "cpus_per_node": number(part.max_cpus_per_node),
            "cpus_per_socket": ENDLESS,
            "memory_per_cpu": part.max_mem_per_cpu_mib or 0,
            "partition_memory_per_cpu": number(part.max_mem_per_cpu_mib),
            "partition_memory_per_node": number(part.max_mem_per_node_mib or 0),
            "nodes": number(part.max_nodes),
            "shares": count,
            "oversubscribe": {"jobs": count, "flags": ["force"] if word == "FORCE" else []},
            "time": number(part.max_time_min),
            "over_time_limit": number(part.over_time_limit_min),
        },
        "minimums": {"nodes": part.min_nodes},
        "name": part.name,
        "node_sets": "ALL" if part.nodes_text.upper() == "ALL" else "",
        "priority": {"job_factor": part.priority_job_factor, "tier": part.priority_tier},
        "timeouts": {"resume": UNSET, "suspend": UNSET},
        "topology": "",
        "partition": {"state": [part.state]},
        "suspend_time": UNSET,
    }


def sinfo_record(row: NodeRow, context: ReportContext) -> Record:
    """The record of a line of sinfo."""
    nodes = row.nodes
    first = nodes[0] if nodes else None

    def span(values: list[float]) -> Record:
        return {"minimum": min(values, default=0), "maximum": max(values, default=0)}

    def value(name: str) -> str:
        return str(NODE_VALUES.reader(name, context)(nodes[0]))

    used, idle, other, total = nodes_aiot(row)
    cpus = [node.config.cpus for node in nodes]
    busy = sum(node.alloc_cpus for node in nodes)
    free = [node.free_mib for node in nodes]
    gone = sum(node.config.cpus - node.alloc_cpus for node in nodes if not node_usable(node))
    return {
        "port": first.config.port if first else 0,
        "node": {"state": value("state_complete").split("+") if first else []},
        "nodes": {
            "allocated": used,
            "idle": idle,
            "other": other,
            "total": total,
            "hostnames": [],  # sinfo collects them for formats that print them
            "addresses": [],
            "nodes": [node.config.name for node in nodes],
        },
        "cpus": {
            "allocated": busy,
            "idle": sum(cpus) - busy - gone,
            "other": gone,
            "total": sum(cpus),
            **span(list(cpus)),
            "load": span([round(node.load * 100) for node in nodes]),
            "per_node": {"max": number(row.partition.max_cpus_per_node)},
        },
        "sockets": span([node.config.sockets for node in nodes]),
        "cores": span([node.config.cores for node in nodes]),
        "threads": span([node.config.threads for node in nodes]),
        "disk": span([node.config.tmp_mib for node in nodes]),
        "memory": {
            **span([node.config.memory_mib for node in nodes]),
            "free": {"minimum": number(min(free, default=0)), "maximum": number(max(free, default=0))},
            "allocated": nodes[-1].alloc_memory_mib if nodes else 0,
        },
        "weight": span([node.config.weight for node in nodes]),
        "features": {
            "total": ",".join(first.config.features) if first else "",
            "active": ",".join(first.config.active) if first else "",
        },
        "gres": {
            "total": value("gres") if first else "",
            "used": value("gres_used") if first else "",
        },
        "cluster": "",
        "comment": first.comment if first else "",
        "extra": first.extra if first else "",
        "reason": {
            "description": first.reason if first else "",
            "time": int(first.reason_time) if first else 0,
            "user": first.reason_user if first else "",
        },
        "reservation": first.reservation if first else "",
        "resource_spec": {"cpus": "", "memory": 0},
        "partition": partition_record(row.partition, context),
    }
