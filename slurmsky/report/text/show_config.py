"""scontrol show config: keys in the order of Slurm 25.11."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from ..fields.field_tables import table
from ..report_context import ReportContext
from .units import null_if_empty


def config_pairs(context: ReportContext, values: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """Configuration as ordered pairs of key and value.

    The cluster's ``parameters`` override the table. ``values`` override both; they are values that only the caller
    knows: BOOT_TIME, NEXT_JOB_ID, SLURM_CONF, SLURM_VERSION, SlurmUser, SlurmctldHost[0], StateSaveLocation...
    """
    known = {**_of_cluster(context), **dict(context.cluster.parameters), **(values or {})}
    if "SelectTypeParameters" in known:
        known["SelectTypeParameters"] = known["SelectTypeParameters"].upper()  # as slurmctld does
    pairs = {row["key"]: null_if_empty(known.get(row["key"], row["value"])) for row in table("config")}
    # Such keys (Epilog[0], Prolog[0], ...) appear only when the site sets them.
    return {**pairs, **{key: value for key, value in known.items() if key not in pairs and value}}


def _of_cluster(context: ReportContext) -> dict[str, str]:
    cluster = context.cluster
    return {
        "ClusterName": cluster.name,
        "EnforcePartLimits": cluster.enforce_part_limits,
        "GresTypes": ",".join(sorted({name for node in cluster.nodes for name, _, _ in node.gres})),
        "InactiveLimit": "%d sec" % cluster.inactive_limit_s,
        "JobRequeue": "%d" % cluster.batch_requeue,
        "KillWait": "%d sec" % cluster.kill_wait_s,
        "Licenses": ",".join("%s:%d" % item for item in cluster.licenses),
        "MailProg": cluster.mail_program,
        "MaxArraySize": str(cluster.max_array_size),
        "MaxJobCount": str(cluster.max_job_count),
        "MaxNodeCount": str(len(cluster.nodes)),
        "MinJobAge": "%d sec" % cluster.min_job_age_s,
        "OverTimeLimit": "%d min" % cluster.over_time_limit_min,
        "TaskEpilog": cluster.task_epilog,
        "TaskProlog": cluster.task_prolog,
        "Epilog[0]": cluster.epilog,
        "Prolog[0]": cluster.prolog,
    }


def show_config(context: ReportContext, values: Optional[Mapping[str, str]] = None, host: str = "") -> str:
    """Text of ``scontrol show config``. The last line reports ``host`` as up."""
    lines = ["Configuration data as of " + context.clock.text(context.now)]
    lines += ["%-23s = %s" % pair for pair in config_pairs(context, values).items()]
    return "\n".join([*lines, "", "Slurmctld(primary) at %s is UP" % host, ""])
