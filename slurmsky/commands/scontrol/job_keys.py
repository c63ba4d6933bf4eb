"""Keys of scontrol update JobId=: shortest prefix, parser and resulting change.

The keys are in lookup order, and the first key that fits wins. Source: src/scontrol/update_job.c
scontrol_update_job, common/proc_args.c parse_uint16, get_resource_arg_range, verify_node_count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...controller.command_context import CommandContext
from ...language import mailtype, nodecount, timelimit, timespec
from ...language.syntax_errors import LanguageError, NodeCountError
from ...model.spec import INFINITE

NICE_MOST = 2147483645
_NO_VAL64, _NO_VAL, _NO_VAL16 = (1 << 64) - 2, (1 << 32) - 2, (1 << 16) - 2

Found = Mapping[str, Any]


class Unreadable(Exception):
    """A value that scontrol itself refuses, with the lines it prints and its exit code."""

    def __init__(self, *lines: str, code: int = 1) -> None:
        super().__init__(*lines)
        self.lines = lines
        self.code = code


def error(text: str) -> Unreadable:
    """A line as scontrol's log prints it."""
    return Unreadable(f"scontrol: error: {text}")


#: parses a value; returns the wanted change of the job
Read = Callable[[CommandContext, str], Found]


@dataclass(frozen=True)
class Key:
    name: str
    letters: int
    read: Read


def strtoll(text: str) -> tuple[int, str]:
    """Like C's strtoll: the number at the start of a text (0 for none), and the rest."""
    match = re.match(r"\s*([+-]?\d+)", text)
    return (int(match[1]), text[match.end() :]) if match else (0, text)


def unsigned(text: str, limit: int) -> int | None:
    """A number below a limit: 0 for an empty text, None for any other text."""
    value, rest = strtoll(text)
    return value if not rest and 0 <= value < limit and abs(value) < (1 << 63) - 1 else None


def _count(name: str, field: str, limit: int) -> Read:
    def read(ctx: CommandContext, text: str) -> Found:
        value = unsigned(text, limit)
        if value is None:
            raise error(f"Invalid {name} value: {text}")
        return {field: value}

    return read


def _text(field: str) -> Read:
    return lambda ctx, text: {field: text}


def _yes_no(name: str, field: str) -> Read:
    def read(ctx: CommandContext, text: str) -> Found:
        word = text.lower()
        for answer, value in (("yes", 1), ("no", 0)):
            if word and answer.startswith(word):
                return {field: value}
        return _count(name, field, _NO_VAL16)(ctx, text)

    return read


def _memory(name: str, per_cpu: bool) -> Read:
    def read(ctx: CommandContext, text: str) -> Found:
        value = unsigned(text, _NO_VAL64)
        if value is None:
            raise error(f"Invalid {name} value: {text}")
        return {"pn_min_memory": (per_cpu, value)}

    return read


def _minutes(name: str, field: str) -> Read:
    def read(ctx: CommandContext, text: str) -> Found:
        try:
            return {field: timelimit.parse(text)}
        except LanguageError:
            raise error(f"Invalid {name} value") from None

    return read


def _seconds(ctx: CommandContext, text: str) -> Found:
    try:
        return {"delay_boot": timelimit.parse_seconds(text)}
    except LanguageError:
        raise error("Invalid DelayBoot value") from None


def moment(ctx: CommandContext, text: str) -> int:
    """Parse a time; an invalid time is reported and becomes 0 (parse_time)."""
    try:
        return int(timespec.parse(text, ctx.queue.clock()))
    except LanguageError:
        ctx.err(f"Invalid time specification (pos=0): {text}")
        return 0


def _moment(field: str) -> Read:
    def read(ctx: CommandContext, text: str) -> Found:
        when = moment(ctx, text)
        return {field: when} if when else {}

    return read


def _end(ctx: CommandContext, text: str) -> Found:
    return {"end_time": moment(ctx, text)}


def _loose(name: str, field: str) -> Read:
    """Like strtoll, ignoring the rest of the text."""

    def read(ctx: CommandContext, text: str) -> Found:
        value = strtoll(text)[0]
        if abs(value) > NICE_MOST:
            raise error(f"{name} value out of range (+/- {NICE_MOST}). Value ignored")
        return {field: value}

    return read


def _throttle(ctx: CommandContext, text: str) -> Found:
    value = strtoll(text)[0]
    if value < 0:
        raise error("Invalid ArrayTaskThrottle value")
    return {"throttle": value}


def _range(text: str, what: str) -> tuple[int, int]:
    """Parse MIN[-MAX], each with suffix k or m; MAX is 0 when absent."""
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


def _cpus(ctx: CommandContext, text: str) -> Found:
    bad = f"scontrol: error: Invalid NumCPUs value: {text}"
    try:
        least, most = _range(text, "NumCPUs")
    except Unreadable as problem:
        raise Unreadable(*problem.lines, bad) from None
    if least <= 0 or (most and most < least):
        raise Unreadable(bad)
    return {"min_cpus": least, **({"max_cpus": most} if most else {})}


def _nodes(ctx: CommandContext, text: str) -> Found:
    if text in ("", "0"):
        return {"min_nodes": 0}
    if text.upper() == "ALL":
        return {"min_nodes": INFINITE}
    try:
        found = nodecount.parse(text)
    except NodeCountError as problem:
        said = str(problem) if str(problem).startswith("Maximum") else f'"{text}" is not a valid node count'
        raise Unreadable(f"scontrol: error: {said}", code=0) from None
    return {"min_nodes": found.min, "max_nodes": found.max, **({"job_sizes": str(found)} if found.sizes else {})}


def _switches(ctx: CommandContext, text: str) -> Found:
    count, rest = strtoll(text)
    found = {"req_switch": count & 0xFFFFFFFF}
    if rest[:1] == "@":
        try:
            found["wait4switch"] = timelimit.parse(rest[1:]) * 60
        except LanguageError:
            pass
    return found


def _specialized(name: str) -> Read:
    def read(ctx: CommandContext, text: str) -> Found:
        return {"core_spec": -1} if text in ("-1", "*") else _count(name, "core_spec", _NO_VAL16)(ctx, text)

    return read


def _mail_types(ctx: CommandContext, text: str) -> Found:
    try:
        if not text:
            raise LanguageError(text)
        return {"mail_type": tuple(str(mailtype.parse(text)).split(","))}
    except LanguageError:
        raise Unreadable(f"Invalid MailType: {text}") from None


def _gres(ctx: CommandContext, text: str) -> Found:
    return {"tres_per_node": ",".join(item if item.startswith("gres") else f"gres/{item}" for item in text.split(","))
            if text else ""}  # fmt: skip


def _user(ctx: CommandContext, text: str) -> Found:
    from ..common.caller_settings import find_user

    uid = int(text) if text.isdecimal() else find_user(text)
    if uid is None:
        raise Unreadable(f"Invalid UserID: {text}", "Request aborted")
    return {"user": uid}


def _numbers(letters: int, **fields: tuple[str, int]) -> list[Key]:
    return [Key(name, letters, _count(name, field, limit)) for name, (field, limit) in fields.items()]


def _texts(rows: str) -> list[Key]:
    """Rows of ``name letters field``."""
    words = rows.split()
    return [Key(name, int(letters), _text(field))
            for name, letters, field in zip(words[::3], words[1::3], words[2::3], strict=True)]  # fmt: skip


KEYS: Sequence[Key] = (
    *_texts("JobId 3 job_id  AdminComment 6 admin_comment"),
    Key("SiteFactor", 5, _loose("SiteFactor", "site_factor")),
    Key("ArrayTaskThrottle", 10, _throttle),
    *_texts("Comment 3 comment  Clusters 8 clusters  ClusterFeatures 8 cluster_features"),
    Key("DelayBoot", 5, _seconds),
    *_texts("Extra 3 extra"),
    Key("TimeLimit", 5, _minutes("TimeLimit", "time_limit")),
    Key("TimeMin", 5, _minutes("TimeMin", "time_min")),
    Key("Priority", 2, _count("Priority", "priority", _NO_VAL)),
    Key("Nice", 2, _loose("Nice", "nice")),
    *_numbers(9, CPUsPerTask=("cpus_per_task", _NO_VAL16)),
    *_texts("CpusPerTres 9 cpus_per_tres"),
    Key("NumCPUs", 6, _cpus),
    *_numbers(8, NumTasks=("num_tasks", _NO_VAL)),
    Key("ReqProcs", 8, _count("NumTasks", "num_tasks", _NO_VAL)),
    *_numbers(4, Requeue=("requeue", _NO_VAL16)),
    Key("ReqNodes", 8, _nodes),
    Key("NumNodes", 8, _nodes),
    *_numbers(4, ReqSockets=("sockets_per_node", _NO_VAL16), ReqCores=("cores_per_socket", _NO_VAL16)),
    *_numbers(2, TasksPerNode=("ntasks_per_node", _NO_VAL16)),
    *_numbers(4, ReqThreads=("threads_per_core", _NO_VAL16), MinCPUsNode=("pn_min_cpus", _NO_VAL16)),
    Key("MinMemoryNode", 10, _memory("MinMemoryNode", per_cpu=False)),
    Key("MinMemoryCPU", 10, _memory("MinMemoryCPU", per_cpu=True)),
    *_numbers(5, MinTmpDiskNode=("pn_min_tmp_disk", _NO_VAL)),
    *_texts("Partition 2 partition  QOS 2 qos  ReservationName 3 reservation  Name 2 name  JobName 4 name"),
    *_texts("WCKey 1 wckey  StdErr 6 std_err  StdIn 5 std_in  StdOut 6 std_out"),
    Key("Switches", 5, _switches),
    Key("wait-for-switch", 5, _count("wait-for-switch", "wait4switch", _NO_VAL)),
    Key("OverSubscribe", 2, _yes_no("OverSubscribe", "shared")),
    Key("Shared", 2, _yes_no("OverSubscribe", "shared")),
    Key("Contiguous", 3, _yes_no("Contiguous", "contiguous")),
    Key("CoreSpec", 4, _specialized("CoreSpec")),
    *_texts("MemPerTres 5 mem_per_tres"),
    Key("ThreadSpec", 4, _specialized("ThreadSpec")),
    *_texts("TresBind 5 tres_bind  TresFreq 5 tres_freq  TresPerJob 8 tres_per_job  TresPerNode 8 tres_per_node"),
    *_texts("TresPerSocket 8 tres_per_socket  TresPerTask 8 tres_per_task  ExcNodeList 3 exc_nodes"),
    *_texts("NodeList 8 req_nodes  ReqNodeList 8 req_nodes  Features 1 features  Prefer 3 prefer"),
    Key("Gres", 2, _gres),
    *_texts("Account 1 account  BurstBuffer 1 burst_buffer  Dependency 1 dependency  Licenses 1 licenses"),
    Key("EligibleTime", 2, _moment("begin_time")),
    Key("StartTime", 2, _moment("begin_time")),
    Key("EndTime", 2, _end),
    Key("Reboot", 3, _yes_no("reboot", "reboot")),
    Key("UserID", 3, _user),
    Key("Deadline", 3, _moment("deadline")),
    *_texts("WorkDir 2 work_dir"),
    Key("MailType", 5, _mail_types),
    *_texts("MailUser 5 mail_user  MCSLabel 4 mcs_label"),
)

#: keys without a value: key, length of the shortest accepted prefix, change
BARE: Sequence[tuple[str, int, Found]] = (("Nice", 2, {"nice": 100}), ("ResetAccrueTime", 3, {"reset_accrue": True}))
#: keys that accept += and -=
SIGNED = frozenset({"time_limit"})
#: keys that do not change the job
NO_CHANGE = frozenset({"job_id", "user"})


def fits(word: str, name: str, letters: int) -> bool:
    """Whether a word, in any case, is a name or a long enough prefix of it."""
    return len(word) >= letters and name.lower().startswith(word.lower())


def find_key(word: str, keys: Iterable[Key] = KEYS) -> Key | None:
    """The first key that a word fits."""
    return next((key for key in keys if fits(word, key.name, key.letters)), None)
