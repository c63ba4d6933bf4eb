"""Readers for query options: filters, formats and times.

They join the readers of ``values`` under the names of the table's ``reader`` column. Each command has its own error
messages; their texts come from src/squeue/opts.c, src/scancel/opt.c, src/sinfo/opts.c, src/sacct/options.c.
"""

from __future__ import annotations

import re
from typing import Any, Optional

from ..language import userlist
from ..language.syntax_errors import HostlistError, SignalError, TimeLimitError, TimeSpecError
from ..model.states import JobState, node_state_requested
from .ids import step_or_job
from .usage_errors import CommandError, failure
from .values import READERS, Item, leading_int, whole

#: All job states that a filter accepts: base states, then flags, in the order of Slurm's list.
STATE_NAMES = (
    *(state.name for state in JobState),
    "COMPLETING",
    "CONFIGURING",
    "EXPEDITING",
    "RESIZING",
    "RESV_DEL_HOLD",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "REVOKED",
    "SIGNALING",
    "SPECIAL_EXIT",
    "STAGE_OUT",
    "STOPPED",
)
_COMPACT = {
    **{state.compact: state.name for state in JobState},
    "CG": "COMPLETING",
    "CF": "CONFIGURING",
    "EX": "EXPEDITING",
    "RS": "RESIZING",
    "RD": "RESV_DEL_HOLD",
    "RQ": "REQUEUED",
    "RF": "REQUEUE_FED",
    "RH": "REQUEUE_HOLD",
    "RV": "REVOKED",
    "SI": "SIGNALING",
    "SE": "SPECIAL_EXIT",
    "SO": "STAGE_OUT",
    "ST": "STOPPED",
}
#: States that slurmdbd stores. Source: sacct/options.c _supported_state.
_ACCOUNTED = frozenset(("REQUEUED", "RESIZING", "REVOKED", *(state.name for state in JobState)))
#: node states as sinfo lists them. Source: sinfo/opts.c _node_state_list, slurm_protocol_defs.c node_state_string.
NODE_STATES = (
    "unknown", "down", "idle", "allocated", "mixed", "future", "drain", "drained", "draining", "no_respond", "reserved",
    "planned", "blocked", "cloud", "completing", "powering_down", "powered_down", "power_down", "powering_up",
    "power_up", "inval", "fail", "maint", "reboot", "reboot^", "external", "dynamic_future", "dynamic_norm",
)  # fmt: skip


def state_name(word: str) -> Optional[str]:
    """Job state of a name: the full or two-letter form. Case does not matter."""
    upper = word.upper()
    return upper if upper in STATE_NAMES else _COMPACT.get(upper)


def _words(item: Item) -> tuple[str, ...]:
    return userlist.parse(item.value)


def _states(item: Item) -> tuple[str, ...]:
    """Names of states; ("all",) for all states."""
    if item.command == "sinfo":
        return _node_states(item)
    found = []
    if item.value.lower() == "all" and item.command != "sacct":
        return ("all",)
    for word in item.value.split(","):
        if not word:
            continue
        name = state_name(word)
        if name is None and item.command == "sacct":
            raise failure("sacct", f"unrecognized job state value '{word}'", level="fatal")
        if name not in _ACCOUNTED and item.command == "sacct":
            raise failure("sacct", f"job state {word} is not supported / accounted", level="fatal")
        if name is None:
            # Slurm's list ends with its own line break.
            raise CommandError(
                (
                    f"{item.command}: error: Invalid job state specified: {word}",
                    f"{item.command}: error: Valid job states include: {','.join(STATE_NAMES).lower()}",
                    "",
                ),
                1,
            )
        found.append(name)
    return tuple(found)


def _node_states(item: Item) -> tuple[str, ...]:
    """Node states of sinfo; ``~`` negates, ``&`` joins.

    One ``&`` or ``+`` anywhere in the list requires all states of the list.

    Source: sinfo/opts.c _build_state_list.
    """
    if item.value.lower() == "all":
        return ("all",)
    found = []
    for entry in filter(None, re.split("[,&+]", item.value)):
        word = entry[1:] if entry[:1] in ("~", "!") else entry
        try:
            state = node_state_requested(word)
        except KeyError:
            listed = ",".join(NODE_STATES)
            raise item.error(f'Bad state string: "{word}"', f"valid states: {listed}", exit_code=1) from None
        found.append("~" * (word != entry) + state.lower())
    return ("&".join(found),) if {"&", "+"} & set(item.value) else tuple(found)


def _state(item: Item) -> str:
    """The single state of scancel."""
    name = state_name(item.value)
    if name is None:
        raise CommandError(
            (
                f"Invalid job state specified: {item.value}",
                "Valid job states are PENDING, RUNNING, and SUSPENDED",
            ),
            1,
        )
    return name


def _signal(item: Item) -> int:
    from ..language import signalspec

    try:
        # scancel accepts a negative number as its absolute value, like kill's notation.
        return signalspec.parse_signal(item.value[1:] if re.fullmatch("-[0-9]+", item.value) else item.value)
    except SignalError:
        raise CommandError((f"Unknown job signal: {item.value}",), 1) from None


def _iterate(item: Item) -> int:
    seconds = leading_int(item.value)
    if seconds <= 0 and item.command == "sinfo":
        raise item.error(f"Error: invalid entry for --iterate={item.value}", exit_code=1)
    if seconds <= 0:
        raise item.error(f"--iterate={item.value}\n", exit_code=1)
    return seconds


def _nodelist(item: Item) -> str:
    """Text of a valid node list. The command checks whether the nodes exist."""
    from ..language import hostlist

    try:
        hostlist.expand(item.value)
    except HostlistError as fault:
        details = (fault.detail or fault.message,)
        usual = {
            "squeue": f"'{item.value}' invalid entry for --nodelist",
            "sinfo": f"'{item.value}' invalid entry for --nodes",
            "scancel": "hostlist_pop: no hostlist given",
            "sacct": "Invalid argument",
        }.get(item.command)
        lines = tuple(line for line in (*details, usual) if line)
        raise item.error(*(lines if item.command != "sacct" else lines[-1:]), exit_code=1) from None
    return item.value


def _duration(item: Item) -> int:
    """A duration in seconds."""
    from ..language import timelimit

    try:
        return timelimit.parse_seconds(item.value)
    except TimeLimitError:
        raise failure(item.command, "Invalid time limit specification", level="fatal") from None


def _limit(item: Item) -> int:
    """Time limit in minutes for a filter."""
    from ..language import timelimit

    try:
        return timelimit.parse(item.value)
    except TimeLimitError:
        raise failure(item.command, "Invalid time limit specification", level="fatal") from None


def _when(item: Item) -> int:
    """Time in the past. A time of day means today."""
    from ..language import timespec

    try:
        return timespec.parse(item.value, item.context.now, past=True, tz=item.context.timezone)
    except TimeSpecError as fault:
        raise CommandError((f"Invalid time specification (pos={fault.pos}): {fault.text}",), 1) from None


def _range(item: Item) -> tuple[int, int]:
    """Parse ``N`` or ``MIN-MAX`` to (MIN, MAX).

    Source: sacct/options.c and proc_args.c get_resource_arg_range.
    """
    what = "requested node range" if item.option.name == "nnodes" else "requested cpu range"
    match = re.fullmatch(r"\s*\+?([0-9]+)(?:-\+?([0-9]+))?", item.value)
    if match is None:
        raise item.error(f'Invalid numeric value "{item.value}" for {what}.', exit_code=1)
    least = leading_int(match.group(1))
    return least, leading_int(match.group(2)) if match.group(2) else least


def _units(item: Item) -> str:
    unit = item.value[:1].upper()  # the rest is ignored
    if not unit or unit not in "KMGTP":
        raise CommandError(
            (
                f"sacct: error: Invalid unit type '{item.value}'. Possible options are 'KMGTP'",
                "sacct: fatal: Invalid unit type",
            ),
            1,
        )
    return unit


def _yes_no_value(item: Item) -> bool:
    """Value yes or no; without argument yes."""
    word = item.value.lower()
    if word not in ("", "yes", "no"):
        raise item.error(f'Invalid --{item.option.name} value "{item.value}". Valid values: [yes|no].', exit_code=1)
    return word != "no"


def _yes_no_bare(item: Item) -> dict[str, Any]:
    """Value of sbcast --send-libs; an unknown word is ignored. A warning reports the word."""
    word = item.value.lower()
    if word in ("", "yes", "y"):
        return {item.option.field: True}
    ignored = () if word in ("no", "n") else (f"sbcast: error: Ignoring unrecognized --send-libs value '{item.value}'",)
    return {item.option.field: False, "warnings": ignored}


def _filter_task(item: Item) -> int:
    return whole(item, item.option.name, positive=False)


def _known_users(item: Item) -> tuple[str, ...]:
    """Names or ids of existing users."""
    names = userlist.parse(item.value)
    for name in names:
        if item.context.find_user(name) is None:
            raise item.error(f"Invalid user id: {name}", exit_code=1)
    return names


def _selected_steps(item: Item) -> str:
    """Text of a valid list of jobs and steps."""
    step_or_job(item.command, item.value)
    return item.value


def _flags(item: Item) -> tuple[str, ...]:
    """Flags of sacct -F: how a job was scheduled.

    Source: slurmdb_defs.c str_2_job_flags.
    """
    known = {
        "schedsubmit": "SchedSubmit",
        "schedmain": "SchedMain",
        "schedbackfill": "SchedBackfill",
        "startreceived": "StartReceived",
        "notset": "NotSet",
    }
    names = []
    for word in userlist.parse(item.value):
        name = known.get(word.lower())
        if name is None:
            raise item.error(f"str_2_job_flags: Invalid job flag {word}", exit_code=1)
        names.append(name)
    return tuple(names)


def _act_as(item: Item) -> str:
    """User of scontrol --uid, who must exist."""
    if item.context.find_user(item.value) is None:
        raise item.error(f'--uid="{item.value}" invalid', exit_code=1)
    return item.value


READERS.update(
    {
        "accounts": lambda item: tuple(name.lower() for name in _words(item)),
        "words": _words,
        "states": _states,
        "state": _state,
        "signal_name": _signal,
        "iterate": _iterate,
        "nodelist": _nodelist,
        "duration": _duration,
        "limit": _limit,
        "when": _when,
        "range": _range,
        "units": _units,
        "yes_no_value": _yes_no_value,
        "yes_no_bare": _yes_no_bare,
        "filter_task": _filter_task,
        "selected_steps": _selected_steps,
        "known_users": _known_users,
        "job_flags": _flags,
        "act_as": _act_as,
    }
)
