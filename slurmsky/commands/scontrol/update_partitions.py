"""scontrol update, create and delete PartitionName=.

Source: src/scontrol/update_part.c scontrol_parse_part_options; slurmctld/partition_mgr.c update_part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno, SlurmError
from ...language import timelimit
from ...language.syntax_errors import LanguageError
from ...model.cluster import PartitionConfig
from ...model.spec import INFINITE
from . import update_nodes
from .job_keys import Unreadable, fits, strtoll, unsigned
from .job_keys import error as failed

Words = Sequence[str]
Found = dict[str, Any]
_LIMITS = {16: (1 << 16) - 2, 32: (1 << 32) - 2, 64: (1 << 64) - 2}


@dataclass(frozen=True)
class _Key:
    name: str
    letters: int
    read: Callable[[CommandContext, str, str, str], Found]  # (value, sign, whole word) -> changes


def _minutes(field: str) -> Callable[[CommandContext, str, str, str], Found]:
    def read(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
        try:
            return {field: timelimit.parse(text)}
        except LanguageError:
            raise failed(f"Invalid input {word}") from None

    return read


def _count(name: str, field: str, bits: int, endless: bool = False) -> Callable[[CommandContext, str, str, str], Found]:
    def read(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
        if endless and text.upper() in ("UNLIMITED", "INFINITE"):
            return {field: INFINITE}
        value = unsigned(text, _LIMITS[bits])
        if value is None:
            raise failed(f"Invalid {name} value: {text}")
        return {field: value}

    return read


def _yes_no(name: str, field: str) -> Callable[[CommandContext, str, str, str], Found]:
    def read(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
        answer = next((answer for answer in ("NO", "YES") if fits(text, answer, 1)), "")
        if not answer:
            raise Unreadable(f"scontrol: error: Invalid input: {word}",
                             f"scontrol: error: Acceptable {name} values are YES and NO")  # fmt: skip
        return {field: answer == "YES"}

    return read


def _names(field: str) -> Callable[[CommandContext, str, str, str], Found]:
    return lambda ctx, text, sign, word: {field: () if text.upper() == "ALL" else tuple(filter(None, text.split(",")))}


def _text(field: str) -> Callable[[CommandContext, str, str, str], Found]:
    return lambda ctx, text, sign, word: {field: text}


def _max_nodes(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return {"max_nodes": INFINITE}
    value, rest = strtoll(text)
    if rest[:1] not in ("", "-") or value < 0:
        raise failed(f'Invalid numeric value "{text}" for MaxNodes.')
    return {"max_nodes": value if text else 1}


def _min_nodes(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
    value, rest = strtoll(text)
    if rest:
        ctx.error(f'"{text}" is not a valid node count')
        return {"min_nodes": 1}
    return {"min_nodes": value}


def _shared(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
    name, colon, count = text.partition(":")
    kind = next((kind for kind in ("NO", "EXCLUSIVE", "YES", "FORCE") if fits(name, kind, 1)), "")
    if not kind:
        known = "NO, EXCLUSIVE, YES:#, and FORCE:#"
        raise Unreadable(f"scontrol: error: Invalid input: {word}",
                         f"scontrol: error: Acceptable OverSubscribe values are {known}")  # fmt: skip
    return {"oversubscribe": kind if kind in ("NO", "EXCLUSIVE") else f"{kind}:{strtoll(count)[0] if colon else 4}"}


def _preempt(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
    if text.upper() not in ("OFF", "CANCEL", "REQUEUE", "SUSPEND", "WITHIN"):
        if text.upper() == "GANG":
            raise failed("PreemptMode=GANG is a cluster-wide option and cannot be set at partition level")
        raise failed(f"Invalid input: {word}")
    return {"preempt_mode": text.upper()}


def _priority(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
    tier = _count("Priority", "priority_tier", 16)(ctx, text, sign, word)
    return {**tier, "priority_job_factor": tier["priority_tier"]}


def _state(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
    state = next((state for state in ("INACTIVE", "DOWN", "UP", "DRAIN") if fits(text, state, 1)), "")
    if not state:
        raise Unreadable(f"scontrol: error: Invalid input: {word}",
                         "scontrol: error: Acceptable State values are UP, DOWN, DRAIN and INACTIVE")  # fmt: skip
    return {"state": state}


def _nodes(ctx: CommandContext, text: str, sign: str, word: str) -> Found:
    return {"nodes": (sign, text)}


#: keys that are parsed, but that the controller refuses
_OTHER = "other"
_KEYS: Sequence[_Key] = (
    _Key("PartitionName", 2, _text("name")),
    _Key("MaxTime", 4, _minutes("max_time_min")),
    _Key("CpuBind", 7, _text(_OTHER)),
    _Key("DefaultTime", 8, _minutes("default_time_min")),
    _Key("MaxCPUsPerNode", 4, _count("MaxCPUsPerNode", "max_cpus_per_node", 32, endless=True)),
    _Key("MaxCPUsPerSocket", 4, _count("MaxCPUsPerSocket", _OTHER, 32, endless=True)),
    _Key("MaxNodes", 4, _max_nodes),
    _Key("MinNodes", 2, _min_nodes),
    _Key("Default", 7, _yes_no("Default", "default")),
    _Key("DisableRootJobs", 1, _yes_no("DisableRootJobs", _OTHER)),
    _Key("ExclusiveUser", 1, _yes_no("ExclusiveUser", _OTHER)),
    _Key("ExclusiveTopo", 1, _yes_no("ExclusiveTopo", _OTHER)),
    _Key("Hidden", 1, _yes_no("Hidden", "hidden")),
    _Key("LLN", 1, _yes_no("LLN", _OTHER)),
    _Key("RootOnly", 3, _yes_no("RootOnly", "root_only")),
    _Key("ReqResv", 3, _yes_no("ReqResv", _OTHER)),
    _Key("OverSubscribe", 5, _shared),
    _Key("Shared", 2, _shared),
    _Key("OverTimeLimit", 5, _count("OverTimeLimit", "over_time_limit_min", 16, endless=True)),
    _Key("PowerDownOnIdle", 1, _yes_no("PowerDownOnIdle", _OTHER)),
    _Key("PreemptMode", 3, _preempt),
    _Key("Priority", 3, _priority),
    _Key("PriorityJobFactor", 3, _count("PriorityJobFactor", "priority_job_factor", 16)),
    _Key("PriorityTier", 3, _count("PriorityTier", "priority_tier", 16)),
    _Key("State", 2, _state),
    _Key("Nodes", 1, _nodes),
    _Key("AllowGroups", 6, _names("allow_groups")),
    _Key("AllowAccounts", 6, _names("allow_accounts")),
    _Key("AllowQos", 6, _names("allow_qos")),
    *(_Key(name, letters, _text(_OTHER)) for name, letters in
      (("DenyAccounts", 5), ("DenyQos", 5), ("AllocNodes", 6), ("Alternate", 3))),
    _Key("GraceTime", 5, _count("GraceTime", "grace_time_s", 32)),
    _Key("DefMemPerCPU", 10, _count("DefMemPerCPU", "def_mem_per_cpu_mib", 64)),
    _Key("DefMemPerNode", 10, _count("DefMemPerNode", "def_mem_per_node_mib", 64)),
    _Key("MaxMemPerCPU", 10, _count("MaxMemPerCPU", "max_mem_per_cpu_mib", 64)),
    _Key("MaxMemPerNode", 10, _count("MaxMemPerNode", "max_mem_per_node_mib", 64)),
    _Key("QoS", 3, _text("qos")),
    *(_Key(name, letters, _text(_OTHER)) for name, letters in
      (("JobDefaults", 4), ("Topology", 4), ("TresBillingWeights", 1))),
)  # fmt: skip
#: for each key of an exclusive pair, the key that it clears
_INSTEAD = {
    "def_mem_per_cpu_mib": "def_mem_per_node_mib", "def_mem_per_node_mib": "def_mem_per_cpu_mib",
    "max_mem_per_cpu_mib": "max_mem_per_node_mib", "max_mem_per_node_mib": "max_mem_per_cpu_mib",
}  # fmt: skip


def _parse(ctx: CommandContext, words: Words) -> tuple[Found, int]:
    wanted: Found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise failed(f"Invalid input: {word}  Request aborted")
        sign = name[-1:] if name[-1:] in ("+", "-") else ""
        name = name[:-1] if sign else name
        key = next((key for key in _KEYS if fits(name, key.name, key.letters)), None)
        if key is None:
            raise Unreadable(f"scontrol: error: Update of this parameter is not supported: {word}\n",
                             "scontrol: error: Request aborted")  # fmt: skip
        wanted.update(key.read(ctx, value, sign, word))
    return wanted, len(words)


def update(ctx: CommandContext, words: Words) -> int:
    """update PartitionName=NAME KEY=VALUE..."""

    def judge(wanted: dict[str, Any], count: int) -> None:
        if count <= 1:
            raise failed("No changes specified")

    def there(config: PartitionConfig | None, name: str) -> PartitionConfig:
        if config is None:
            raise SlurmError(Errno.INVALID_PARTITION)
        return config

    return _answer(ctx, words, judge, there, "slurm_update error")


def create(ctx: CommandContext, words: Words) -> int:
    """create PartitionName=NAME KEY=VALUE..."""

    def judge(wanted: dict[str, Any], count: int) -> None:
        if wanted["name"].lower() == "default":
            raise failed('PartitionName cannot be "DEFAULT".')

    def fresh(config: PartitionConfig | None, name: str) -> PartitionConfig:
        if config is not None:
            raise SlurmError(Errno.INVALID_PARTITION)
        return PartitionConfig(name=name, min_nodes=1)

    return _answer(ctx, words, judge, fresh, "Error creating the partition")


def _answer(
    ctx: CommandContext,
    words: Words,
    judge: Callable[[dict[str, Any], int], None],
    base: Callable[[PartitionConfig | None, str], PartitionConfig],
    refusal: str,
) -> int:
    """Parse and validate as scontrol does, apply to a partition as slurmctld does; return the exit code."""
    try:
        wanted, count = _parse(ctx, words)
        if "name" not in wanted:
            raise failed("PartitionName must be given.")
        judge(wanted, count)
    except Unreadable as problem:
        for line in problem.lines:
            ctx.err(line)
        return problem.code
    name = wanted["name"]
    try:
        _apply(ctx, base(ctx.queue.job_table.cluster.partition(name), name), wanted)
    except SlurmError as problem:
        ctx.err(f"{refusal}: {problem.text}")
        return 1
    return 0


def delete(ctx: CommandContext, word: str, name: str) -> int:
    """delete PartitionName=NAME."""
    job_table = ctx.queue.job_table
    problem = None
    if job_table.cluster.partition(name) is None:
        problem = Errno.INVALID_PARTITION
    elif any(name in job.partition.split(",") and not job.state.finished for job in job_table.jobs.values()):
        problem = Errno.PARTITION_IN_USE
    if problem is not None:
        ctx.err(f"delete_partition {word}: {problem.text}")
        return 1
    job_table.delete_partition(name)
    ctx.queue.kick()
    return 0


def _apply(ctx: CommandContext, config: PartitionConfig, wanted: Found) -> None:
    if _OTHER in wanted:
        raise SlurmError(Errno.NOT_SUPPORTED)
    changes = {key: value for key, value in wanted.items() if key not in ("name", "state", "nodes")}
    for key in tuple(changes):
        if key in _INSTEAD:
            changes[_INSTEAD[key]] = None
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
    ctx.queue.job_table.put_partition(replace(config, **changes), wanted.get("state", ""))
    ctx.queue.kick()
