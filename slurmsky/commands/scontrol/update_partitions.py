"""scontrol update, create and delete PartitionName=.

Source: src/scontrol/update_part.c scontrol_parse_part_options; slurmctld/partition_mgr.c update_part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno, SlurmError
from ...language.key_values import Given, Key, KeyTable, matching_value
from ...model.cluster import PartitionConfig
from ...model.policy import NORMAL
from ...model.spec import INFINITE
from . import update_nodes
from .update_values import Read, Unreadable, answered, count, error, minutes, misplaced, strtoll, text

Words = Sequence[str]
Found = dict[str, Any]


def _words(words: Sequence[str], listed: str) -> Read:
    """Reader of one of several words, which may be abbreviated.

    ``listed`` shows the words in the refusal of another word.
    """

    def read(ctx: CommandContext, given: Given) -> str:
        found = matching_value(given.value, ((word, 1, word) for word in words))
        if found is None:
            raise Unreadable(f"scontrol: error: Invalid input: {given.word}",
                             f"scontrol: error: Acceptable {given.key} values are {listed}")  # fmt: skip
        return found

    return read


def _yes_no(ctx: CommandContext, given: Given) -> bool:
    return bool(_words(("NO", "YES"), "YES and NO")(ctx, given) == "YES")


def _names(ctx: CommandContext, given: Given) -> tuple[str, ...]:
    return () if given.value.upper() == "ALL" else tuple(filter(None, given.value.split(",")))


def _max_nodes(ctx: CommandContext, given: Given) -> int:
    if given.value.upper() in ("UNLIMITED", "INFINITE"):
        return INFINITE
    value, rest = strtoll(given.value)
    if rest[:1] not in ("", "-") or value < 0:
        raise error(f'Invalid numeric value "{given.value}" for MaxNodes.')
    return value if given.value else 1


def _min_nodes(ctx: CommandContext, given: Given) -> int:
    value, rest = strtoll(given.value)
    if rest:
        ctx.error(f'"{given.value}" is not a valid node count')
        return 1
    return value


def _shared(ctx: CommandContext, given: Given) -> str:
    name, colon, shares = given.value.partition(":")
    listed = "NO, EXCLUSIVE, YES:#, and FORCE:#"
    named = replace(given, key="OverSubscribe", value=name)
    kind = str(_words(("NO", "EXCLUSIVE", "YES", "FORCE"), listed)(ctx, named))
    return kind if kind in ("NO", "EXCLUSIVE") else f"{kind}:{strtoll(shares)[0] if colon else 4}"


def _preempt(ctx: CommandContext, given: Given) -> str:
    mode = given.value.upper()
    if mode == "GANG":
        raise error("PreemptMode=GANG is a cluster-wide option and cannot be set at partition level")
    if mode not in ("OFF", "CANCEL", "REQUEUE", "SUSPEND", "WITHIN"):
        raise error(f"Invalid input: {given.word}")
    return mode


def _priority(ctx: CommandContext, given: Given) -> Found:
    priority = count(16)(ctx, given)
    return {"priority_tier": priority, "priority_job_factor": priority}


def _nodes(ctx: CommandContext, given: Given) -> tuple[str, str]:
    return given.sign, given.value


def _unsupported(ctx: CommandContext, given: Given) -> Found:
    raise Unreadable(f"scontrol: error: Update of this parameter is not supported: {given.word}\n",
                     "scontrol: error: Request aborted")  # fmt: skip


#: keys that are parsed, but that the controller refuses
REFUSED = "refused"
_MINUTES = minutes("Invalid input {word}")
_KEYS: tuple[Key[CommandContext], ...] = (
    Key("PartitionName", 2, "name", text),
    Key("MaxTime", 4, "max_time_min", _MINUTES),
    Key("CpuBind", 7, REFUSED, text),
    Key("DefaultTime", 8, "default_time_min", _MINUTES),
    Key("MaxCPUsPerNode", 4, "max_cpus_per_node", count(32, endless=True)),
    Key("MaxCPUsPerSocket", 4, REFUSED, count(32, endless=True)),
    Key("MaxNodes", 4, "max_nodes", _max_nodes),
    Key("MinNodes", 2, "min_nodes", _min_nodes),
    Key("Default", 7, "default", _yes_no),
    Key("DisableRootJobs", 1, REFUSED, _yes_no),
    Key("ExclusiveUser", 1, "exclusive_user", _yes_no),
    Key("ExclusiveTopo", 1, REFUSED, _yes_no),
    Key("Hidden", 1, "hidden", _yes_no),
    Key("LLN", 1, REFUSED, _yes_no),
    Key("RootOnly", 3, "root_only", _yes_no),
    Key("ReqResv", 3, REFUSED, _yes_no),
    Key("OverSubscribe", 5, "oversubscribe", _shared),
    Key("Shared", 2, "oversubscribe", _shared),
    Key("OverTimeLimit", 5, "over_time_limit_min", count(16, endless=True)),
    Key("PowerDownOnIdle", 1, REFUSED, _yes_no),
    Key("PreemptMode", 3, "preempt_mode", _preempt),
    Key("Priority", 3, "", _priority),
    Key("PriorityJobFactor", 3, "priority_job_factor", count(16)),
    Key("PriorityTier", 3, "priority_tier", count(16)),
    Key("State", 2, "state", _words(("INACTIVE", "DOWN", "UP", "DRAIN"), "UP, DOWN, DRAIN and INACTIVE")),
    Key("Nodes", 1, "nodes", _nodes),
    Key("AllowGroups", 6, "allow_groups", _names),
    Key("AllowAccounts", 6, "allow_accounts", _names),
    Key("AllowQos", 6, "allow_qos", _names),
    *(Key(name, letters, REFUSED, text) for name, letters in
      (("DenyAccounts", 5), ("DenyQos", 5), ("AllocNodes", 6), ("Alternate", 3))),
    Key("GraceTime", 5, "grace_time_s", count(32)),
    Key("DefMemPerCPU", 10, "def_mem_per_cpu_mib", count(64)),
    Key("DefMemPerNode", 10, "def_mem_per_node_mib", count(64)),
    Key("MaxMemPerCPU", 10, "max_mem_per_cpu_mib", count(64)),
    Key("MaxMemPerNode", 10, "max_mem_per_node_mib", count(64)),
    Key("QoS", 3, "qos", text),
    *(Key(name, letters, REFUSED, text) for name, letters in
      (("JobDefaults", 4), ("Topology", 4), ("TresBillingWeights", 1))),
)  # fmt: skip
PARTITION_KEYS = KeyTable(_KEYS, misplaced, _unsupported)
#: the key that each key of an exclusive pair clears
_CLEARED_KEYS = {
    "def_mem_per_cpu_mib": "def_mem_per_node_mib", "def_mem_per_node_mib": "def_mem_per_cpu_mib",
    "max_mem_per_cpu_mib": "max_mem_per_node_mib", "max_mem_per_node_mib": "max_mem_per_cpu_mib",
}  # fmt: skip


def update(ctx: CommandContext, words: Words) -> int:
    """update PartitionName=NAME KEY=VALUE..."""

    def check(wanted: Found) -> None:
        if len(words) <= 1:
            raise error("No changes specified")

    def there(config: PartitionConfig | None, name: str) -> PartitionConfig:
        if config is None:
            raise SlurmError(Errno.INVALID_PARTITION)
        return config

    return answered(ctx, lambda: _answer(ctx, words, check, there, "slurm_update error"))


def create(ctx: CommandContext, words: Words) -> int:
    """create PartitionName=NAME KEY=VALUE..."""

    def check(wanted: Found) -> None:
        if wanted["name"].lower() == "default":
            raise error('PartitionName cannot be "DEFAULT".')

    def fresh(config: PartitionConfig | None, name: str) -> PartitionConfig:
        if config is not None:
            raise SlurmError(Errno.INVALID_PARTITION)
        return PartitionConfig(name=name, min_nodes=1)

    return answered(ctx, lambda: _answer(ctx, words, check, fresh, "Error creating the partition"))


def _answer(
    ctx: CommandContext,
    words: Words,
    check: Callable[[Found], None],
    base: Callable[[PartitionConfig | None, str], PartitionConfig],
    refusal: str,
) -> int:
    """Parse, validate and apply a change of a partition.

    scontrol's checks precede slurmctld's. Returns the exit code.
    """
    wanted = PARTITION_KEYS.read(ctx, words)
    if "name" not in wanted:
        raise error("PartitionName must be given.")
    check(wanted)
    name = wanted["name"]
    try:
        _apply(ctx, base(ctx.controller.job_table.cluster.partition(name), name), wanted)
    except SlurmError as problem:
        ctx.err(f"{refusal}: {problem.text}")
        return 1
    return 0


def delete(ctx: CommandContext, word: str, name: str) -> int:
    """delete PartitionName=NAME."""
    job_table = ctx.controller.job_table
    problem = None
    if job_table.cluster.partition(name) is None:
        problem = Errno.INVALID_PARTITION
    elif any(name in job.partition.split(",") and not job.state.finished for job in job_table.jobs.values()):
        problem = Errno.PARTITION_IN_USE
    if problem is not None:
        ctx.err(f"delete_partition {word}: {problem.text}")
        return 1
    job_table.delete_partition(name)
    ctx.controller.schedule_soon()
    return 0


def _apply(ctx: CommandContext, config: PartitionConfig, wanted: Found) -> None:
    if REFUSED in wanted:
        raise SlurmError(Errno.NOT_SUPPORTED)
    known = {NORMAL.name, *(qos.name for qos in ctx.controller.job_table.cluster.qos)}
    if wanted.get("qos") and wanted["qos"] not in known:
        raise SlurmError(Errno.INVALID_QOS)
    changes = {key: value for key, value in wanted.items() if key not in ("name", "state", "nodes")}
    for key in tuple(changes):
        if key in _CLEARED_KEYS:
            changes[_CLEARED_KEYS[key]] = None
    if "nodes" in wanted:
        sign, text = wanted["nodes"]
        named = update_nodes.expand(ctx, text) if text else []
        if named is None:
            raise SlurmError(Errno.INVALID_NODE_NAME)
        if sign:
            kept = [name for name in config.nodes if name not in named]
            named = [*kept, *named] if sign == "+" else kept
            text = ""
        changes["nodes"], changes["nodes_text"] = tuple(named), text
    ctx.controller.job_table.store_partition(replace(config, **changes), wanted.get("state", ""))
    ctx.controller.schedule_soon()
