"""JSON records of sdiag, sshare and sacctmgr. The data parser v0.0.44 defines the layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

from slurmsky.language.hostlist import compress_sorted
from slurmsky.model.policy import NORMAL, AccountConfig, Limits, QosConfig

from ..fields import limit_cells as cells
from ..text.controller_statistics import Counters
from ..text.sacctmgr_tables import ENTITIES, RPC_VERSION, TRES, Association, Records, tres_count
from .job_records import ENDLESS, ENDLESS_REAL, UNSET, Record, float_number, number, stamp

_ENTITY = {one.name: one for one in ENTITIES}
_IDS = {(kind, name): number for kind, name, number in TRES}


def nested(paths: Mapping[str, Any]) -> Record:
    """Build nested objects from paths. ``{"max/jobs": 1}`` becomes ``{"max": {"jobs": 1}}``."""
    found: Record = {}
    for path, value in paths.items():
        *outer, name = path.split("/")
        place = found
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = value
    return found


def _limit(value: Optional[int]) -> Record:
    return ENDLESS if value is None else number(value)


def _tres(counts: Iterable[tuple[str, int]]) -> list[Record]:
    found = []
    for text, count in counts:
        kind, _, name = text.partition("/")
        found.append({"type": kind, "name": name, "id": _IDS.get((kind, name), 0), "count": count})
    return found


# --- sdiag


def statistics_record(counters: Counters, now: float, pending: int, running: int, user: tuple[str, int],
                      latency_us: int) -> Record:  # fmt: skip
    """STATS_MSG, without backfill statistics and agent queue."""
    cycles = counters.cycles
    minutes = max(1, int(now - counters.since) // 60)
    calls = sum(one.count for one in counters.messages.values())
    total = sum(one.total for one in counters.messages.values())
    backfill = dict.fromkeys((
        "bf_backfilled_het_jobs", "bf_cycle_counter", "bf_cycle_mean", "bf_depth_mean", "bf_depth_mean_try",
        "bf_cycle_sum", "bf_cycle_last", "bf_cycle_max", "bf_last_depth", "bf_last_depth_try", "bf_depth_sum",
        "bf_depth_try_sum", "bf_queue_len", "bf_queue_len_mean", "bf_queue_len_sum", "bf_table_size",
        "bf_table_size_sum", "bf_table_size_mean",
    ), 0)  # fmt: skip
    return {
        "parts_packed": 0,
        "req_time": stamp(now),
        "req_time_start": stamp(counters.since),
        "server_thread_count": counters.threads,
        "agent_queue_size": 0,
        "agent_count": 0,
        "agent_thread_count": 0,
        "dbd_agent_queue_size": 0,
        "gettimeofday_latency": latency_us,
        "schedule_cycle_max": cycles.longest,
        "schedule_cycle_last": cycles.last,
        "schedule_cycle_sum": cycles.total,
        "schedule_cycle_total": cycles.count,
        "schedule_cycle_mean": cycles.total // max(1, cycles.count),
        "schedule_cycle_mean_depth": cycles.depth // max(1, cycles.count),
        "schedule_cycle_per_minute": cycles.count // minutes,
        "schedule_cycle_depth": cycles.depth,
        "schedule_exit": {"end_job_queue": cycles.count, **dict.fromkeys(
            ("default_queue_depth", "max_job_start", "max_rpc_cnt", "max_sched_time", "licenses"), 0)},
        "schedule_queue_length": cycles.queue,
        "jobs_submitted": counters.submitted,
        "jobs_started": counters.started,
        "jobs_completed": counters.completed,
        "jobs_canceled": counters.cancelled,
        "jobs_failed": counters.failed,
        "jobs_pending": pending,
        "jobs_running": running,
        "job_states_ts": stamp(now),
        "bf_backfilled_jobs": counters.backfilled,
        "bf_last_backfilled_jobs": counters.backfilled,
        **backfill,
        "bf_exit": dict.fromkeys(("end_job_queue", "bf_max_job_start", "bf_max_job_test", "bf_max_time",
                                  "bf_node_space_size", "state_changed"), 0),
        "bf_when_last_cycle": UNSET,
        "bf_active": False,
        "rpcs_by_message_type": [
            {"type_id": place, "message_type": name, "count": one.count, "queued": 0, "dropped": 0, "cycle_last": 0,
             "cycle_max": 0, "total_time": one.total, "average_time": number(one.total // max(1, one.count))}
            for place, (name, one) in enumerate(sorted(counters.messages.items()), 1)
        ],
        "rpcs_by_user": [{"user_id": user[1], "user": user[0], "count": calls, "total_time": total,
                          "average_time": number(total // calls)}] if calls else [],
        "pending_rpcs": [],
        "pending_rpcs_by_hostlist": [],
    }  # fmt: skip


# --- sshare


def shares_record(rows: Iterable[Association]) -> Record:
    """SHARES_RESP_MSG, without usage, as for priority/basic."""
    names = ["/".join(filter(None, (kind, name))) for kind, name, _ in TRES]
    listed = [_share(row, names) for row in rows]
    return {"shares": listed, "total_shares": sum(1 for row in listed if row["shares"]["set"])}


def _share(row: Association, names: list[str]) -> Record:
    top = row.root and not row.user
    return nested({
        "id": row.number, "cluster": row.cluster, "name": row.user or row.account,
        "parent": row.account if row.user else "" if row.root else "root", "partition": "",
        "shares_normalized": float_number(None), "shares": UNSET if top else number(1),
        "tres/run_seconds": [{"name": name, "value": number(0)} for name in names],
        "tres/group_minutes": [{"name": name, "value": UNSET} for name in names],
        "tres/usage": [{"name": name, "value": 0.0} for name in names],
        "effective_usage": float_number(0), "usage_normalized": float_number(None), "usage": 0,
        "fairshare/factor": float_number(0), "fairshare/level": float_number(0),
        "type": ["USER" if row.user else "ASSOCIATION"],
    })  # fmt: skip


# --- sacctmgr


def _short(one: Association) -> Record:
    return {"account": one.account, "cluster": one.cluster, "partition": "", "user": one.user, "id": one.number}


def _known(records: Records) -> list[Association]:
    return records.associations()


def account_records(records: Records) -> list[Record]:
    """ACCOUNT: records of accounts."""
    return [{"associations": [_short(one) for one in _known(records) if one.account == row["Account"]],
             "coordinators": [], "description": row["Descr"], "name": row["Account"], "organization": row["Org"],
             "flags": []} for row in records.rows(_ENTITY["Accounts"], False)]  # fmt: skip


def association_records(records: Records) -> list[Record]:
    """ASSOC: records of associations."""
    return [_association(one, records) for one in _known(records)]


def _association(one: Association, records: Records) -> Record:
    found = next((each for each in records.cluster.accounts if each.name == one.account), AccountConfig(one.account))
    record = cells.nearest(records.cluster, one.account, one.user)
    limits = record.limits
    return nested({
        "accounting": [], "account": one.account, "cluster": one.cluster, "comment": "",
        "default/qos": records.cluster.account(one.account, one.user).default_qos, "flags": [],
        "max/jobs/per/count": _limit(limits.grp_jobs), "max/jobs/per/accruing": ENDLESS,
        "max/jobs/per/submitted": _limit(limits.grp_submit_jobs),
        "max/jobs/per/wall_clock": _limit(limits.max_wall_min),
        "max/jobs/active": _limit(limits.max_jobs_per_user), "max/jobs/accruing": ENDLESS,
        "max/jobs/total": _limit(limits.max_submit_jobs_per_user),
        "max/tres/total": _tres(limits.grp_tres), "max/tres/group/minutes": _tres(limits.grp_tres_mins),
        "max/tres/group/active": [],
        "max/tres/minutes/total": [], "max/tres/minutes/per/job": _tres(limits.max_tres_mins),
        "max/tres/per/job": _tres(limits.max_tres), "max/tres/per/node": _tres(limits.max_tres_per_node),
        "max/per/account/wall_clock": _limit(limits.grp_wall_min), "id": one.number, "is_default": bool(one.user),
        "lineage": f"/{one.account}/" + (f"0-{one.user}/" if one.user else ""), "min/priority_threshold": ENDLESS,
        "parent_account": "" if one.user or one.root else found.parent, "partition": "", "priority": ENDLESS,
        "qos": cells.qos_names(records.cluster, one.account, one.user),
        "shares_raw": 2147483647 if record.fair_share is None else record.fair_share, "user": one.user,
    })  # fmt: skip


def user_records(records: Records) -> list[Record]:
    """USER: records of users."""
    return [nested({
        "administrator_level": [row["Admin"]],
        "associations": [_short(one) for one in _known(records) if one.user == row["User"]], "coordinators": [],
        "default/qos": 0, "default/account": row["Def Acct"], "default/wckey": "", "flags": [],
        "name": row["User"], "old_name": "", "wckeys": [],
    }) for row in records.rows(_ENTITY["Users"], False)]  # fmt: skip


def cluster_records(records: Records) -> list[Record]:
    """CLUSTER_REC: record of the cluster."""
    pairs = (item.partition("=") for item in tres_count(records.cluster).split(","))
    return [nested({
        "controller/host": records.host, "controller/port": 6817, "flags": [], "name": records.cluster.name,
        "nodes": compress_sorted([node.name for node in records.cluster.nodes]),
        "select_plugin": "", "associations/root": _short(_known(records)[0]),
        "rpc_version": RPC_VERSION, "tres": _tres((name, int(count.rstrip("M"))) for name, _, count in pairs),
    })]  # fmt: skip


def tres_records(records: Records) -> list[Record]:
    """TRES: records of countable resources."""
    return [{"type": row["Type"], "name": row["Name"], "id": int(row["ID"] or 0), "count": 0}
            for row in records.rows(_ENTITY["TRES"], False)]  # fmt: skip


def qos_records(records: Records) -> list[Record]:
    """QOS: records of all QOS."""
    return [_qos(one, place, one.limits) for place, one in enumerate(records.cluster.qos or (NORMAL,), 1)]


def _qos(one: QosConfig, place: int, limits: Limits) -> Record:
    return nested({
        "description": one.description, "flags": list(one.flags), "id": place, "limits/grace_time": one.grace_time_s,
        "limits/max/active_jobs/accruing": ENDLESS, "limits/max/active_jobs/count": _limit(limits.grp_jobs),
        "limits/max/jobs/count": _limit(limits.grp_submit_jobs),
        "limits/max/jobs/active_jobs/per/account": _limit(limits.max_jobs_per_account),
        "limits/max/jobs/active_jobs/per/user": _limit(limits.max_jobs_per_user),
        "limits/max/jobs/per/account": _limit(limits.max_submit_jobs_per_account),
        "limits/max/jobs/per/user": _limit(limits.max_submit_jobs_per_user),
        "limits/max/accruing/per/account": ENDLESS, "limits/max/accruing/per/user": ENDLESS,
        "limits/max/tres/total": _tres(limits.grp_tres), "limits/max/tres/minutes/total": _tres(limits.grp_tres_mins),
        "limits/max/tres/minutes/per/qos": [], "limits/max/tres/minutes/per/job": _tres(limits.max_tres_mins),
        "limits/max/tres/minutes/per/account": [], "limits/max/tres/minutes/per/user": [],
        "limits/max/tres/per/account": _tres(limits.max_tres_per_account),
        "limits/max/tres/per/job": _tres(limits.max_tres), "limits/max/tres/per/node": _tres(limits.max_tres_per_node),
        "limits/max/tres/per/user": _tres(limits.max_tres_per_user),
        "limits/max/wall_clock/per/qos": _limit(limits.grp_wall_min),
        "limits/max/wall_clock/per/job": _limit(limits.max_wall_min), "limits/factor": float_number(None),
        "limits/min/priority_threshold": ENDLESS, "limits/min/tres/per/job": _tres(limits.min_tres),
        "name": one.name, "preempt/list": list(one.preempt),
        "preempt/mode": ["DISABLED"], "preempt/exempt_time": ENDLESS,
        "priority": number(one.priority), "usage_factor": float_number(one.usage_factor),
        "usage_threshold": ENDLESS_REAL,
    })  # fmt: skip


def database_pings(host: str) -> list[Record]:
    """SLURMDBD_PING: the controller that writes this record is up."""
    return [{"hostname": host, "responding": True, "latency": 0, "primary": True}]


def _none(records: Records) -> list[Record]:
    return []


#: documents of sacctmgr show, by entity: key and records
MANAGED: dict[str, tuple[str, Callable[[Records], list[Record]]]] = {
    "Accounts": ("accounts", account_records),
    "Associations": ("associations", association_records),
    "Clusters": ("clusters", cluster_records),
    "Instances": ("instances", _none),
    "QOS": ("qos", qos_records),
    "TRES": ("TRES", tres_records),
    "Users": ("users", user_records),
    "WCKeys": ("wckeys", _none),
}
