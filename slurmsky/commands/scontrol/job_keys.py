"""Table of the keys of scontrol update JobId=.

The keys are in lookup order, and the first key that fits wins.

Source: src/scontrol/update_job.c scontrol_update_job, common/proc_args.c get_resource_arg_range, verify_node_count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import SlurmError
from ...language import mailtype, nodecount, timelimit, timespec
from ...language.key_values import NOTHING, Given, Key, KeyTable, matching_value
from ...language.syntax_errors import LanguageError, NodeCountError
from ...model.job import Job
from ...model.spec import INFINITE
from ..common import job_targets
from ..common.caller_settings import find_user
from .update_values import Read, Unreadable, count, error, minutes, strtoll, texts, unsupported

NICE_MOST = 2147483645


def _yes_no(name: str) -> Read:
    def read(ctx: CommandContext, given: Given) -> Any:
        number = matching_value(given.value, (("yes", 1, 1), ("no", 1, 0)))
        return count(16, name=name)(ctx, given) if number is None else number

    return read


def _memory(per_cpu: bool) -> Read:
    return lambda ctx, given: (per_cpu, count(64)(ctx, given))


def _seconds(ctx: CommandContext, given: Given) -> int:
    try:
        return timelimit.parse_seconds(given.value)
    except LanguageError:
        raise error("Invalid DelayBoot value") from None


def _moment(ctx: CommandContext, given: Given) -> int:
    """Parse a time; report an invalid time and return 0.

    Source: parse_time.
    """
    try:
        return int(timespec.parse(given.value, ctx.controller.clock()))
    except LanguageError:
        ctx.err(f"Invalid time specification (pos=0): {given.value}")
        return 0


def _valid_moment(ctx: CommandContext, given: Given) -> Any:
    return _moment(ctx, given) or NOTHING


def _leading_number(ctx: CommandContext, given: Given) -> int:
    """Parse a number as strtoll does, without the rest."""
    value = strtoll(given.value)[0]
    if abs(value) > NICE_MOST:
        raise error(f"{given.key} value out of range (+/- {NICE_MOST}). Value ignored")
    return value


def _throttle(ctx: CommandContext, given: Given) -> int:
    value = strtoll(given.value)[0]
    if value < 0:
        raise error("Invalid ArrayTaskThrottle value")
    return value


def _time_limit(ctx: CommandContext, given: Given) -> int:
    """Parse a time limit, or a change of the present one (TimeLimit+=5, TimeLimit=+5)."""
    sign, value = given.sign, given.value
    if value[:1] in ("+", "-"):
        if sign:
            raise error("Invalid syntax, variations of +=- are not accepted.")
        sign, value = value[0], value[1:]
    try:
        wanted = timelimit.parse(value)
    except LanguageError:
        raise error("Invalid TimeLimit value") from None
    return _summed(ctx, given.before.get("job_id"), sign, wanted) if sign else wanted


def _summed(ctx: CommandContext, ids: str | None, sign: str, change: int) -> int:
    if not ids:
        raise error("JobId must precede TimeLimit increment or decrement")
    now = loaded(ctx, ids, "TimeLimit increment/decrement not supported for job arrays").time_limit_min
    if now is None or now >= INFINITE:
        raise error("Cannot increment/decrement TimeLimit when set to UNLIMITED.")
    if sign == "+":
        return now + change
    if change > now:
        raise error(f"TimeLimit decrement larger than current time limit ({change} > {now})")
    return now - change


def loaded(ctx: CommandContext, ids: str, refusal: str) -> Job:
    """Job of an id that must name a single job.

    Source: _get_job_time, _is_single_job.
    """
    number, rest = strtoll(ids)
    task, after = strtoll(rest[1:]) if rest[:1] == "_" else (None, rest)
    if after:
        raise error(f"Invalid job ID {ids}")
    try:
        found = job_targets.records(ctx.controller, job_targets.parse(str(number)), split=False)
    except SlurmError as problem:
        raise error(f"Could not load state information for job {ids}: {problem.text}") from None
    if len(found) > 1 and task is None:
        raise error(refusal)
    here = (job for job in found if task == job.array_task_id or any(task in part for part in job.pending_tasks))
    return next(here, found[0])


def _range(text: str, what: str) -> tuple[int, int]:
    """Parse MIN[-MAX], each with suffix k or m. MAX is 0 when absent."""
    if text[:1] in ("", "*"):
        return 1, (1 << 31) - 1
    found = []
    rest = text
    for least in (0, 1):
        value, rest = strtoll(rest)
        if rest[:1] in ("k", "K", "m", "M"):
            value, rest = value << (10 if rest[0] in "kK" else 20), rest[1:]
        if rest[:1] not in ("", "-") or value < least:
            raise error(f'Invalid numeric value "{text}" for {what}.')
        if value > (1 << 31) - 1:
            raise error(f"Numeric argument ({value}) too large for {what}.")
        found.append(value)
        if not rest:
            break
        rest = rest[1:]
    return found[0], found[1] if len(found) > 1 else 0


def _cpus(ctx: CommandContext, given: Given) -> dict[str, Any]:
    bad = f"scontrol: error: Invalid NumCPUs value: {given.value}"
    try:
        least, most = _range(given.value, "NumCPUs")
    except Unreadable as problem:
        raise Unreadable(*problem.lines, bad) from None
    if least <= 0 or (most and most < least):
        raise Unreadable(bad)
    return {"min_cpus": least, **({"max_cpus": most} if most else {})}


def _nodes(ctx: CommandContext, given: Given) -> dict[str, Any]:
    text = given.value
    if text in ("", "0"):
        return {"min_nodes": 0}
    if text.upper() == "ALL":
        return {"min_nodes": INFINITE}
    try:
        found = nodecount.parse(text)
    except NodeCountError as problem:
        message = str(problem) if str(problem).startswith("Maximum") else f'"{text}" is not a valid node count'
        raise Unreadable(f"scontrol: error: {message}", code=0) from None
    return {"min_nodes": found.min, "max_nodes": found.max, **({"job_sizes": str(found)} if found.sizes else {})}


def _switches(ctx: CommandContext, given: Given) -> dict[str, Any]:
    switches, rest = strtoll(given.value)
    found = {"req_switch": switches & 0xFFFFFFFF}
    if rest[:1] == "@":
        try:
            found["wait4switch"] = timelimit.parse(rest[1:]) * 60
        except LanguageError:
            pass
    return found


def _specialized(ctx: CommandContext, given: Given) -> int:
    return -1 if given.value in ("-1", "*") else int(count(16)(ctx, given))


def _mail_types(ctx: CommandContext, given: Given) -> tuple[str, ...]:
    try:
        if not given.value:
            raise LanguageError(given.value)
        return tuple(str(mailtype.parse(given.value)).split(","))
    except LanguageError:
        raise Unreadable(f"Invalid MailType: {given.value}") from None


def _gres(ctx: CommandContext, given: Given) -> str:
    """Devices of a node. Each word adds to the devices of earlier words of the request."""
    text = given.value
    if text and given.key == "Gres":
        text = ",".join(item if item.startswith("gres") else f"gres/{item}" for item in text.split(","))
    return f"{given.before['tres_per_node']},{text}" if given.before.get("tres_per_node") else text


def _user(ctx: CommandContext, given: Given) -> int:
    uid = int(given.value) if given.value.isdecimal() else find_user(given.value)
    if uid is None:
        raise Unreadable(f"Invalid UserID: {given.value}", "Request aborted")
    return uid


def _next_word(word: str, rest: Iterator[str]) -> Given:
    """Take the value of a word without "=" from the next word."""
    value = next(rest, None)
    if value is None:
        raise Unreadable(f"Invalid input: {word}", "Request aborted")
    return Given(value, word, value)


def _admin_comment(ctx: CommandContext, given: Given) -> str:
    if given.sign:
        raise error("Invalid syntax, AdminComment can not be added/subtracted from.")
    return given.value


def _plain(key: Key[CommandContext]) -> Key[CommandContext]:
    """Make a key refuse += and -= after a check of its value."""

    def read(ctx: CommandContext, given: Given) -> Any:
        found = key.read(ctx, given)
        if given.sign:
            raise error(f"Option {given.word} does not accept [+|-]= syntax")
        return found

    return Key(key.name, key.letters, key.field, read)


_MINUTES = minutes("Invalid {key} value")
_SIGNED = (Key("AdminComment", 6, "admin_comment", _admin_comment), Key("TimeLimit", 5, "time_limit", _time_limit))
_PLAIN = (
    *texts("JobId 3 job_id"),
    Key("SiteFactor", 5, "site_factor", _leading_number),
    Key("ArrayTaskThrottle", 10, "throttle", _throttle),
    *texts("Comment 3 comment  Clusters 8 clusters  ClusterFeatures 8 cluster_features"),
    Key("DelayBoot", 5, "delay_boot", _seconds),
    *texts("Extra 3 extra"),
    Key("TimeMin", 5, "time_min", _MINUTES),
    Key("Priority", 2, "priority", count(32)),
    Key("Nice", 2, "nice", _leading_number),
    Key("CPUsPerTask", 9, "cpus_per_task", count(16)),
    *texts("CpusPerTres 9 cpus_per_tres"),
    Key("NumCPUs", 6, "", _cpus),
    Key("NumTasks", 8, "num_tasks", count(32)),
    Key("ReqProcs", 8, "num_tasks", count(32, name="NumTasks")),
    Key("Requeue", 4, "requeue", count(16)),
    Key("ReqNodes", 8, "", _nodes),
    Key("NumNodes", 8, "", _nodes),
    Key("ReqSockets", 4, "sockets_per_node", count(16)),
    Key("ReqCores", 4, "cores_per_socket", count(16)),
    Key("TasksPerNode", 2, "ntasks_per_node", count(16)),
    Key("ReqThreads", 4, "threads_per_core", count(16)),
    Key("MinCPUsNode", 4, "pn_min_cpus", count(16)),
    Key("MinMemoryNode", 10, "pn_min_memory", _memory(per_cpu=False)),
    Key("MinMemoryCPU", 10, "pn_min_memory", _memory(per_cpu=True)),
    Key("MinTmpDiskNode", 5, "pn_min_tmp_disk", count(32)),
    *texts("Partition 2 partition  QOS 2 qos  ReservationName 3 reservation  Name 2 name  JobName 4 name"),
    *texts("WCKey 1 wckey  StdErr 6 std_err  StdIn 5 std_in  StdOut 6 std_out"),
    Key("Switches", 5, "", _switches),
    Key("wait-for-switch", 5, "wait4switch", count(32)),
    Key("OverSubscribe", 2, "shared", _yes_no("OverSubscribe")),
    Key("Shared", 2, "shared", _yes_no("OverSubscribe")),
    Key("Contiguous", 3, "contiguous", _yes_no("Contiguous")),
    Key("CoreSpec", 4, "core_spec", _specialized),
    *texts("MemPerTres 5 mem_per_tres"),
    Key("ThreadSpec", 4, "core_spec", _specialized),
    *texts("TresBind 5 tres_bind  TresFreq 5 tres_freq  TresPerJob 8 tres_per_job"),
    Key("TresPerNode", 8, "tres_per_node", _gres),
    *texts("TresPerSocket 8 tres_per_socket  TresPerTask 8 tres_per_task  ExcNodeList 3 exc_nodes"),
    *texts("NodeList 8 req_nodes  ReqNodeList 8 req_nodes  Features 1 features  Prefer 3 prefer"),
    Key("Gres", 2, "tres_per_node", _gres),
    *texts("Account 1 account  BurstBuffer 1 burst_buffer  Dependency 1 dependency  Licenses 1 licenses"),
    Key("EligibleTime", 2, "begin_time", _valid_moment),
    Key("StartTime", 2, "begin_time", _valid_moment),
    Key("EndTime", 2, "end_time", _moment),
    Key("Reboot", 3, "reboot", _yes_no("reboot")),
    Key("UserID", 3, "user", _user),
    Key("Deadline", 3, "deadline", _valid_moment),
    *texts("WorkDir 2 work_dir"),
    Key("MailType", 5, "mail_type", _mail_types),
    *texts("MailUser 5 mail_user  MCSLabel 4 mcs_label"),
)

#: fields that select jobs and change none
SELECTS = frozenset({"job_id", "user"})
JOB_KEYS: KeyTable[CommandContext] = KeyTable(
    (*_SIGNED, *map(_plain, _PLAIN)), _next_word, unsupported,
    flags=(("Nice", 2, {"nice": 100}), ("ResetAccrueTime", 3, {"reset_accrue": True})),
)  # fmt: skip
