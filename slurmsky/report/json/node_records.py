"""JSON records of nodes, partitions and lines of sinfo (NODE, PARTITION_INFO, SINFO_DATA)."""

from __future__ import annotations

from slurmsky.language.hostlist import compress
from slurmsky.model.cluster import PartitionConfig
from slurmsky.model.job import Node

from ..fields import tres_texts
from ..fields.node_state import complete_state
from ..fields.sinfo_fields import NodeRow, gres_text, gres_used_text, node_usable, nodes_aiot
from ..report_context import ReportContext
from ..text.show_nodes import node_tres, partition_tres
from .job_records import ENDLESS, UNSET, Record, number, stamp


def node_record(node: Node, context: ReportContext) -> Record:
    """The record of a node as scontrol show node prints it."""
    config = node.config
    free = config.cpus - node.alloc_cpus
    return {
        "architecture": config.arch,
        "burstbuffer_network_address": "",
        "boards": config.boards,
        "boot_time": stamp(node.boot_time),
        "tls_cert_last_renewal": stamp(0),
        "cert_flags": [],
        "cluster_name": "",
        "cores": config.cores,
        "specialized_cores": 0,
        "cpu_binding": 0,
        "cpu_load": round(node.load * 100),
        "free_mem": number(node.free_mib),
        "cpus": config.cpus,
        "effective_cpus": config.cpus,
        "specialized_cpus": "",
        "energy": {
            "average_watts": 0,
            "base_consumed_energy": 0,
            "consumed_energy": 0,
            "current_watts": number(0),
            "previous_consumed_energy": 0,
            "last_collected": 0,
        },
        "external_sensors": {},
        "extra": node.extra,
        "power": {},
        "features": list(config.features),
        "active_features": list(config.active),
        "gpu_spec": "",
        "gres": gres_text(node) if config.gres else "",
        "gres_drained": "N/A",
        "gres_used": gres_used_text(node) if config.gres else "",
        "instance_id": node.instance_id,
        "instance_type": node.instance_type,
        "last_busy": stamp(node.last_busy_time),
        "mcs_label": "",
        "specialized_memory": 0,
        "name": config.name,
        "next_state_after_reboot": ["INVALID"],
        "address": config.address,
        "hostname": config.host_name or config.name,
        "state": complete_state(node).split("+"),
        "operating_system": config.os,
        "owner": "",
        "partitions": list(node.partitions),
        "port": config.port,
        "real_memory": config.memory_mib,
        "res_cores_per_gpu": 0,
        "comment": node.comment,
        "reason": node.reason,
        "reason_changed_at": stamp(node.reason_time),
        "reason_set_by_user": node.reason_user,
        "resume_after": stamp(0),
        "reservation": node.reservation,
        "alloc_memory": node.alloc_memory_mib,
        "alloc_cpus": node.alloc_cpus,
        "alloc_idle_cpus": free,
        "tres_used": tres_texts.tres(node_tres(node, context)[1]),
        "tres_weighted": 0.0,
        "slurmd_start_time": stamp(node.agent_start_time),
        "sockets": config.sockets * config.boards,
        "threads": config.threads,
        "temporary_disk": config.tmp_mib,
        "weight": config.weight,
        "topology": "",
        "tres": tres_texts.tres(node_tres(node, context)[0]),
        "version": node.version,
    }


def partition_record(part: PartitionConfig, context: ReportContext) -> Record:
    """The record of a partition as scontrol show partition prints it."""
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
        "tres": {"billing_weights": "", "configured": tres_texts.tres(partition_tres(nodes, context))},
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
        "node_sets": "",
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

    used, idle, other, total = nodes_aiot(row)
    cpus = [node.config.cpus for node in nodes]
    busy = sum(node.alloc_cpus for node in nodes)
    free = [node.free_mib for node in nodes]
    gone = sum(node.config.cpus - node.alloc_cpus for node in nodes if not node_usable(node))
    return {
        "port": first.config.port if first else 0,
        "node": {"state": complete_state(first).split("+") if first else []},
        "nodes": {
            "allocated": used,
            "idle": idle,
            "other": other,
            "total": total,
            "hostnames": list(dict.fromkeys(node.config.host_name or node.config.name for node in nodes)),
            "addresses": list(dict.fromkeys(node.config.address for node in nodes)),
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
            "total": gres_text(first) if first and first.config.gres else "",
            "used": gres_used_text(first) if first and first.config.gres else "",
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
