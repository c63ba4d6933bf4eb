"""scontrol create, update and delete of reservations.

Source: src/scontrol/create_res.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from ...controller.command_context import CommandContext
from ...controller.rules import recurrence
from ...controller.rules.reservation_flags import ordered
from ...controller.slurm_errors import Errno, SlurmError
from ...language import hostlist, timelimit, timespec
from ...language.key_values import Given, Key, KeyTable, fits
from ...language.syntax_errors import LanguageError
from ...model.reservation import FLAGS, Reservation
from ...model.spec import INFINITE
from ...report.text.sacctmgr_tables import TRES
from ..common.caller_settings import find_group, find_user, submitter
from .update_records import ReservationUpdate
from .update_values import texts

YEAR_S = 365 * 86400
_BUSY = (
    "Note, unless nodes are directly requested a reservation must exist in a single partition.\n"
    "If no partition is requested the default partition is assumed."
)


class _InvalidRequest(Exception):
    """Error that scontrol itself prints. Lines in ``before`` are printed without its prefix."""

    def __init__(self, text: str, before: str = "", whole: bool = False) -> None:
        super().__init__(text)
        self.before = before
        self.whole = whole  # suppresses the line "No reservation ..."


_LISTS = ("users", "groups", "accounts", "allowed_partitions", "qos")

Read = Callable[[CommandContext, Given], Any]


def _moment(name: str) -> Read:
    def read(ctx: CommandContext, given: Given) -> Any:
        try:
            return timespec.parse(given.value, ctx.controller.clock())
        except LanguageError:
            invalid = f"Invalid time specification (pos=0): {given.value}"
            raise _InvalidRequest(f"Invalid {name} time {given.word}.", invalid) from None

    return read


def _duration(ctx: CommandContext, given: Given) -> Any:
    text = given.value
    if text.startswith("-") and text != "-1":
        raise _InvalidRequest(f"Invalid duration {given.word}.")
    try:
        minutes = timelimit.parse(text)
    except LanguageError:
        raise _InvalidRequest(f"Invalid duration {given.word}.") from None
    return given.sign, YEAR_S if minutes >= INFINITE else minutes * 60


def _flags(ctx: CommandContext, given: Given) -> dict[str, Any]:
    """Parse the flags, with the time of PURGE_COMP=TIME."""
    names, sign, update = [], given.sign, {}
    for part in filter(None, given.value.split(",")):
        if part[0] in "+-":
            sign, part = part[0], part[1:]
        word, _, value = part.partition("=")
        found = next((flag.name for flag in FLAGS if flag.matches_word(word, sign)), "")
        if not found or (value and found != "PURGE_COMP"):
            raise _InvalidRequest(f"Error parsing flags {given.value}.")
        if value:
            try:
                update["purge"] = timelimit.parse_seconds(value)
            except LanguageError:
                raise _InvalidRequest(f"Error parsing flags {given.value}.") from None
        names.append(found)
    return {"flags": (sign, tuple(names)), **update}


def _names(ctx: CommandContext, given: Given) -> Any:
    text, sign = given.value, given.sign
    if not sign and text[:1] == "+":
        sign, text = "+", ",".join(name.lstrip("+") for name in text.split(","))
    return sign, tuple(filter(None, text.split(",")))


def _no_list(given: Given, key: str) -> None:
    if "," in given.value:
        raise _InvalidRequest(f"Using a comma separated array for {key} is no longer valid.", whole=True)


def _node_count(ctx: CommandContext, given: Given) -> Any:
    """Number of nodes, with K and M in 1024s. Source: proc_args.c str_to_nodes."""
    _no_list(given, "NodeCnt")
    found = re.fullmatch(r"([0-9]+)([kK]?)([mM]?)\s*", given.value)
    if found is None:
        raise _InvalidRequest(f'"{given.value}" is not a valid node count', whole=True)
    number, kilo, mega = found.groups()
    return int(number) * (1024 if kilo else 1) * (1024**2 if mega else 1)


def _cores(ctx: CommandContext, given: Given) -> Any:
    _no_list(given, "CoreCnt")
    if not given.value.isdecimal():
        raise _InvalidRequest(f"Invalid core count {given.value}", whole=True)
    return int(given.value)


def _tres(ctx: CommandContext, given: Given) -> Any:
    """Counts by TRES type, for the types that can be reserved."""
    found = {}
    for item in given.value.split(","):
        kind, _, count = item.partition("=")
        if kind not in {"".join((name, name and detail and "/", detail)) for name, detail, _ in TRES}:
            raise _InvalidRequest(f"couldn't identify configured TRES '{kind}'", whole=True)
        if kind not in ("cpu", "node"):
            raise _InvalidRequest(f"TRES type '{kind}' not supported with reservations", whole=True)
        found[kind] = int(count) if count.isdecimal() else 0
    return found


def _misformatted(word: str, rest: Iterator[str]) -> Given:
    raise _InvalidRequest(f"Misformatted parameter '{word}', most options have a parameter after '='.")


def _unknown(ctx: CommandContext, given: Given) -> dict[str, Any]:
    raise _InvalidRequest(f"Unknown parameter {given.word}.")


def _unsigned(given: Given) -> _InvalidRequest:
    return _InvalidRequest(f"The +=/-= notation is not supported when updating {given.name}.")


RESERVATION_KEYS = KeyTable((
    *texts("reservationname 1 name"),
    Key("starttime", 1, "start", _moment("start")),
    Key("endtime", 1, "end", _moment("end")),
    Key("duration", 1, "duration", _duration, signed=True),
    Key("flags", 2, "", _flags, signed=True),
    Key("allowedpartitions", 2, "allowed_partitions", _names, signed=True),
    Key("qos", 1, "qos", _names, signed=True),
    Key("nodes", 5, "nodes", _names, signed=True),
    Key("nodecnt", 5, "count", _node_count),
    Key("nodecount", 5, "count", _node_count),
    *(Key(name, 5, "cores", _cores) for name in ("corecnt", "corecount", "cpucnt", "cpucount")),
    Key("tres", 1, "tres", _tres),
    *texts("features 2 features  partitionname 1 partition"),
    Key("users", 1, "users", _names, signed=True),
    Key("groups", 1, "groups", _names, signed=True),
    Key("accounts", 1, "accounts", _names, signed=True),
    *texts("licenses 1 licenses  burstbuffer 2 burst"),
    Key("maxstartdelay", 3, "delay", _duration),
    *texts("comment 3 comment"),
), _misformatted, _unknown, _unsigned, flags=(("skip", 2, {"skip": True}),))  # fmt: skip


def _parse(ctx: CommandContext, words: Sequence[str]) -> ReservationUpdate:
    if words and fits(words[0], "reservationname", 3):
        words = words[1:]  # the words come from "create reservation ..."
    wanted = cast(ReservationUpdate, RESERVATION_KEYS.read(ctx, words))
    requested = wanted.pop("tres", {})
    if "node" in requested:
        wanted["count"] = requested["node"]
    if "cpu" in requested:
        threads = max([node.threads for node in ctx.controller.job_table.cluster.nodes], default=1)
        wanted["cores"] = -(-requested["cpu"] // threads)
    return wanted


def _refused(ctx: CommandContext, bad: _InvalidRequest, what: str) -> None:
    if bad.before:
        ctx.err(bad.before)
    ctx.err(f"scontrol: error: {bad}" + ("" if bad.whole else f"  {what}."))


def _nodes(ctx: CommandContext, names: Sequence[str], partition: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Node names, and flags for how the request named them."""
    cluster = ctx.controller.job_table.cluster
    text = ",".join(names)
    if text.upper() == "ALL":
        part = cluster.partition(partition) if partition else None
        if part is not None:
            return tuple(node.name for node in cluster.nodes if node.name in part.nodes), ()
        return tuple(node.name for node in cluster.nodes), ("ALL_NODES",)
    try:
        return tuple(dict.fromkeys(hostlist.expand(text))), ()
    except LanguageError:
        raise SlurmError(Errno.INVALID_NODE_NAME) from None


def _check_names(ctx: CommandContext, one: Reservation, unknown_user: Errno) -> None:
    """Check that users, groups, accounts, partitions and QOS exist. Raises SlurmError.

    ``unknown_user``: the error for a user; slurmctld has another one for a new reservation.
    """
    job_table = ctx.controller.job_table
    own = submitter(ctx).account
    rules: tuple[tuple[tuple[str, ...], Callable[[str], bool], Errno], ...] = (
        (one.users, lambda name: find_user(name) is not None, unknown_user),
        (one.groups, lambda name: find_group(name) is not None, Errno.INVALID_GROUP),
        (one.accounts, lambda name: name.lower() in (*job_table.accounts, own), Errno.INVALID_ACCOUNT),
        (one.allowed_partitions, lambda name: job_table.cluster.partition(name) is not None, Errno.INVALID_PARTITION),
        (one.qos, lambda name: name in job_table.policy.qos, Errno.INVALID_QOS),
    )
    for names, known, errno in rules:
        denied = [name.startswith("-") for name in names]
        if len(set(denied)) > 1 or not all(known(name.lstrip("-")) for name in names):
            raise SlurmError(errno)


def create(ctx: CommandContext, words: Sequence[str]) -> int:
    """``create reservation KEY=VALUE...``"""
    try:
        wanted = _parse(ctx, words)
        _complete(wanted)
    except _InvalidRequest as bad:
        _refused(ctx, bad, "No reservation created")
        return 1
    start = wanted["start"]
    end = wanted["end"] if "end" in wanted else start + wanted["duration"][1]
    one = Reservation(wanted.get("name", ""), start, end, (), float_end=wanted.get("end"))
    job_table = ctx.controller.job_table
    try:
        one, count = _changed(ctx, one, wanted)
        _check_names(ctx, one, Errno.UNSPECIFIED)
        made = job_table.reservations.create(one, count, job_table.jobs.values(), wanted.get("cores"))
    except SlurmError as error:
        ctx.err(f"Error creating the reservation: {error.text}")
        if error.errno is Errno.NODES_BUSY:
            ctx.err(_BUSY)
        return 1
    ctx.controller.schedule_now()
    ctx.out(f"Reservation created: {made.name}\n")
    return 0


def _complete(wanted: ReservationUpdate) -> None:
    """Raise an error for a required key that is missing."""
    if "start" not in wanted:
        raise _InvalidRequest("A start time must be given.")
    if "end" not in wanted and "duration" not in wanted:
        raise _InvalidRequest("An end time or duration must be given.")
    if "end" in wanted and wanted["end"] <= wanted["start"]:
        raise _InvalidRequest("Start time cannot be after end time.")
    if not {"nodes", "count", "cores", "licenses", "burst"} & wanted.keys():
        if not wanted.get("partition"):
            raise _InvalidRequest("CoreCnt, Nodes, NodeCnt, TRES or Watts must be specified.")
        wanted["nodes"] = "", ("ALL",)
    every = ",".join(wanted.get("nodes", ("", ()))[1]).upper() == "ALL"
    sign, flags = wanted.get("flags", ("", ()))
    if every and wanted.get("partition"):
        wanted["flags"] = sign, (*flags, "PART_NODES")
    elif "PART_NODES" in flags:
        raise _InvalidRequest("PART_NODES flag requires specifying a Partition and ALL nodes.")
    if "FORCE_START" in flags and not set(flags) & recurrence.PERIODS.keys():
        raise _InvalidRequest("FORCE_START flag requires a reoccuring reservation. No reservation created.", whole=True)
    if not wanted.keys() & set(_LISTS):
        raise _InvalidRequest("Either Users/Groups, AllowedPartitions, QOS and/or Accounts must be specified.")


def _changed(ctx: CommandContext, one: Reservation, wanted: ReservationUpdate) -> tuple[Reservation, int]:
    """Apply the requested changes. Returns the reservation and the number of nodes to choose. Raises SlurmError."""
    if "licenses" in wanted and wanted["licenses"].partition(":")[0] not in dict(
        ctx.controller.job_table.cluster.licenses
    ):
        raise SlurmError(Errno.INVALID_LICENSES)
    if {"licenses", "burst"} & wanted.keys():
        raise SlurmError(Errno.NOT_SUPPORTED)  # only nodes and cores can be reserved
    if one.nodes and "nodes" in wanted and {"REPLACE", "REPLACE_DOWN"} & set(one.flags):
        raise SlurmError(Errno.NOT_SUPPORTED)
    changes: dict[str, Any] = {key: wanted[key] for key in ("features", "partition", "comment") if key in wanted}
    if "delay" in wanted:
        changes["max_start_delay_s"] = wanted["delay"][1]
    if "purge" in wanted:
        changes["purge_comp_s"] = wanted["purge"]
    for key in _LISTS:
        if key in wanted:
            changes[key] = _relisted(getattr(one, key), *wanted[key])  # type: ignore[literal-required]
    sign, given = wanted.get("flags", ("", ()))
    flags = _merged(one.flags, sign or "+", given)  # an update adds the flags that it names
    count = wanted.get("count") or 0
    named = {"SPEC_NODES", "ALL_NODES"}
    if "nodes" in wanted:
        sign, names = wanted["nodes"]
        nodes, how = _nodes(ctx, names, changes.get("partition", one.partition))
        changes["nodes"] = _merged(one.nodes, sign, nodes)
        count = count if one.nodes else 0  # a new reservation has the nodes that it names
        flags = (*(flag for flag in flags if flag not in named), "SPEC_NODES", *how)
    elif count:
        flags = tuple(flag for flag in flags if flag not in named)
    elif named & set(one.flags):
        flags = (*flags, *(flag for flag in one.flags if flag in named))
    return replace(one, flags=ordered(flags), **changes), count


def _merged(old: tuple[str, ...], sign: str, new: tuple[str, ...]) -> tuple[str, ...]:
    if sign == "+":
        return tuple(dict.fromkeys((*old, *new)))
    if sign == "-":
        return tuple(name for name in old if name not in new)
    return new


def _relisted(old: tuple[str, ...], sign: str, new: tuple[str, ...]) -> tuple[str, ...]:
    """List of names after a request.

    A leading ``-`` denies a name. A list whose names begin with ``-`` denies them.

    Source: reservation.c _update_uid_list, _update_account_list, _update_allowed_parts_list.
    """
    if sign == "-":
        new = tuple("-" + name.lstrip("-") for name in new)
    if not old or not (sign or all(name.startswith("-") for name in new)):
        return tuple(dict.fromkeys(new))
    mark = "-" if old[0].startswith("-") else ""
    changed = dict.fromkeys(old)
    for name in new:
        if name.startswith("-") == bool(mark):
            changed[mark + name.lstrip("-")] = None
        else:
            changed.pop(mark + name.lstrip("-"), None)
    return tuple(changed)


def update(ctx: CommandContext, words: Sequence[str]) -> int:
    """``update ReservationName=NAME KEY=VALUE...``"""
    try:
        wanted = _parse(ctx, words)
        if "name" not in wanted:
            raise _InvalidRequest("Reservation must be given.")
    except _InvalidRequest as bad:
        _refused(ctx, bad, "No reservation update")
        return 1
    job_table = ctx.controller.job_table
    one = job_table.reservations.all.get(wanted["name"])
    try:
        if one is None:
            raise SlurmError(Errno.INVALID_RESERVATION)
        if "cores" in wanted or (one.parts and {"nodes", "count"} & wanted.keys()):
            raise SlurmError(Errno.CORE_RESERVATION)
        if wanted.get("count") == 0:
            raise SlurmError(Errno.INVALID_RESERVATION)
        if wanted.get("features"):
            raise SlurmError(Errno.NOT_SUPPORTED)
        changed, count = _changed(ctx, one, wanted)
        changed = _with_new_times(changed, wanted)
        if "skip" in wanted:
            again = recurrence.following(changed, changed.end)
            if again is None:
                raise SlurmError(Errno.RESERVATION_NO_SKIP)
            changed = again
        if any(find_user(name.lstrip("-")) is None for name in wanted.get("users", ("", ()))[1]):
            raise SlurmError(Errno.INVALID_USER)  # also of a name to remove
        # slurmctld looks accounts up for a new reservation only
        _check_names(ctx, replace(changed, accounts=()), Errno.INVALID_USER)
        job_table.reservations.update(changed, count, job_table.jobs.values())
    except SlurmError as error:
        ctx.err(f"slurm_update error: {error.text}")
        return 1
    ctx.controller.schedule_now()
    ctx.out("Reservation updated.\n")
    return 0


def _with_new_times(one: Reservation, wanted: ReservationUpdate) -> Reservation:
    """Apply new times. A plain duration counts from the start; += and -= move the end."""
    start, end = wanted.get("start", one.start), wanted.get("end", one.end)
    if "duration" in wanted:
        sign, seconds = wanted["duration"]
        end = end + seconds if sign == "+" else end - seconds if sign == "-" else start + seconds
    return replace(one, start=start, end=end)


def delete(ctx: CommandContext, word: str, name: str) -> int:
    """``delete ReservationName=NAME``."""
    job_table = ctx.controller.job_table
    try:
        job_table.reservations.delete(name, job_table.jobs.values())
    except SlurmError as error:
        ctx.err(f"delete_reservation {word}: {error.text}")
        return 1
    ctx.controller.schedule_now()
    return 0
