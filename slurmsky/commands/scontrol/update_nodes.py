"""scontrol update of nodes; create, delete, power and reboot.

Source: src/scontrol/update_node.c, power_node.c, reboot_node.c; slurmctld/node_mgr.c update_node.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, cast

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno
from ...language import hostlist
from ...language.key_values import Given, Key, KeyTable, fits, matching_value
from ...language.syntax_errors import LanguageError
from ...model.cluster import NodeConfig
from ...model.states import NodeFlag, NodeState
from ..common.caller_settings import user_name
from .update_records import NodeUpdate
from .update_values import Unreadable, answered, error, misplaced, not_supported, texts, unsigned, unsupported

Words = Sequence[str]
_MAX_COUNT = (1 << 32) - 2

#: states that an update may set, with the length of their shortest accepted prefix
_STATES = (
    ("NoResp", 3), ("CANCEL_REBOOT", 3), ("DRAIN", 3), ("FAIL", 3), ("FUTURE", 3), ("RESUME", 3),
    ("POWER_DOWN_ASAP", 12), ("POWER_DOWN_FORCE", 12), ("POWER_DOWN", 7), ("POWER_UP", 7), ("UNDRAIN", 3),
    # states with the names that node_state_string prints
    ("UNKNOWN", 3), ("DOWN", 3), ("IDLE", 3), ("ALLOCATED", 3), ("ERROR", 3), ("MIXED", 3), ("FUTURE", 3),
)  # fmt: skip
_SHOWN = "NoResp DRAIN FAIL FUTURE RESUME POWER_DOWN POWER_UP UNDRAIN"
_INSTANCES: tuple[Literal["instance_id", "instance_type"], ...] = ("instance_id", "instance_type")
#: keys that are applied; the other keys belong to plugins and to power saving
_KNOWN = frozenset(("names", "weight", "comment", "extra", "reason", "state", "features", "features_act", *_INSTANCES))


def _number(ctx: CommandContext, given: Given) -> str:
    if unsigned(given.value, _MAX_COUNT) is None and given.value != "-1":
        raise error(f"Invalid value {given.word} for {given.key}")
    return given.value


def _reason(ctx: CommandContext, given: Given) -> str:
    return given.value.removeprefix('"').removesuffix('"')


def _state(ctx: CommandContext, given: Given) -> str:
    state = matching_value(given.value, ((state, letters, state) for state, letters in _STATES))
    if state is None:
        raise Unreadable(f"Invalid input: {given.word}", "Request aborted", f"Valid states are: {_SHOWN}",
                         "Not all states are valid given a node's prior state")  # fmt: skip
    return state


#: all values are texts, which the controller parses for each node
NODE_KEYS = KeyTable((
    *texts("NodeAddr 5 addr  NodeHostName 5 host  NodeName 1 names  ActiveFeatures 3 features_act  CertToken 1 cert"),
    *texts("CpuBind 7 cpu_bind  Extra 1 extra  Features 1 features  AvailableFeatures 3 features  Gres 1 gres"),
    *texts("InstanceId 9 instance_id  InstanceType 9 instance_type"),
    Key("Weight", 1, "weight", _number),
    *texts("Comment 2 comment"),
    Key("Reason", 1, "reason", _reason),
    Key("ResumeAfter", 1, "resume_after", _number),
    Key("State", 1, "state", _state),
    *texts("Topology 4 topology"),
), misplaced, unsupported, not_supported)  # fmt: skip


def update(ctx: CommandContext, words: Words) -> int:
    """update NodeName=LIST KEY=VALUE..."""
    return answered(ctx, lambda: _update(ctx, words))


def _update(ctx: CommandContext, words: Words) -> int:
    requested = cast(NodeUpdate, NODE_KEYS.read(ctx, words))
    refusal = _refusal(requested)
    if refusal:
        raise Unreadable(refusal)
    errno = _change(ctx, requested)
    if errno is not None:
        raise Unreadable(f"slurm_update error: {errno.text}")
    return 0


def _refusal(requested: NodeUpdate) -> str:
    """Error that scontrol itself prints for this request, or ""."""
    state = requested.get("state")
    if state in ("DOWN", "DRAIN", "FAIL") and not requested.get("reason"):
        return "You must specify a reason when DOWNING or DRAINING a node. Request denied"
    if "resume_after" in requested and state not in ("DOWN", "DRAIN"):
        return "You can only specify a resume time when DOWNING or DRAINING a node. Request denied"
    return "" if requested.keys() - {"names"} else "No changes specified"


def expand(ctx: CommandContext, text: str) -> list[str] | None:
    """Expand a node list; None if it names an unknown node."""
    try:
        names = list(ctx.controller.job_table.nodes) if text.upper() == "ALL" else hostlist.expand(text)
    except LanguageError:
        return None
    return names if names and all(name in ctx.controller.job_table.nodes for name in names) else None


def _change(ctx: CommandContext, requested: NodeUpdate) -> Errno | None:
    job_table = ctx.controller.job_table
    names = expand(ctx, requested.get("names", ""))
    if names is None:
        return Errno.INVALID_NODE_NAME
    # Changes of values that belong to the site file or to a plugin are refused; all other changes are applied.
    refused = bool(requested.keys() - _KNOWN) or requested.get("state", "") == "FUTURE"
    problem = Errno.NOT_SUPPORTED if refused else None
    texts = [_one_each(requested[key], len(names)) for key in _INSTANCES if requested.get(key)]
    if None in texts:
        return Errno.INVALID_NODE_NAME
    changes = {}
    for place, name in enumerate(names):
        found, problem = _values(job_table.nodes[name].config, requested, place, len(names), problem)
        if found:
            changes[name] = found
    if changes:
        job_table.store_node_changes(changes)
    for name in names:
        node = job_table.nodes[name]
        state = "" if refused else requested.get("state", "")
        if state.startswith("POWER_") and _set_power(ctx, name, state):
            state = ""
        left = state == "RESUME" and _resume(ctx, name)
        if not left and not _may_become(node.state, node.flags, state):
            problem, state = Errno.NODE_STATE_TRANSITION, ""
        ctx.controller.life.node_state(name, state, requested.get("reason", ""), user_name(os.geteuid()))
    return problem


def _one_each(text: str, count: int) -> list[str] | None:
    """Values of a host list for ``count`` nodes. One value serves all nodes. None for any other number of values."""
    try:
        found = hostlist.expand(text)
    except LanguageError:
        return None
    return found * count if len(found) == 1 else found if len(found) == count else None


def _values(
    config: NodeConfig, requested: NodeUpdate, place: int, count: int, problem: Errno | None
) -> tuple[dict[str, Any], Errno | None]:
    """Changed fields of one node, and the error so far.

    An active feature that is not available is an error, after which no later node's features change.

    Source: update_node, _valid_features_act.
    """
    found: dict[str, Any] = {key: requested[key] for key in ("comment", "extra") if key in requested}
    if "weight" in requested:
        found["weight"] = unsigned(requested["weight"], _MAX_COUNT) or 0
    for key in _INSTANCES:
        if key in requested:
            found[key] = (_one_each(requested[key], count) or [""] * count)[place]
    if not {"features", "features_act"} & requested.keys() or problem is Errno.ACTIVE_NOT_SUBSET:
        return found, problem
    features = _words(requested["features"]) if "features" in requested else config.features
    # Without ActiveFeatures= all available features become active.
    active = _words(requested["features_act"]) if "features_act" in requested else config.active
    if not set(active) <= set(features):
        return found, Errno.ACTIVE_NOT_SUBSET
    found["features"] = features
    found["features_active"] = active if "features_act" in requested else None
    return found, problem


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _set_power(ctx: CommandContext, name: str, state: str) -> bool:
    """Power a warm node up or down; False for other nodes."""
    power = ctx.controller.power
    if power is None or not power.is_warm(name):
        return False
    if state == "POWER_UP":
        power.power_up(name)
        return True
    asap = state if state == "POWER_DOWN_ASAP" else ""
    if power.power_down(name, asap, user_name(os.geteuid())) and state == "POWER_DOWN_FORCE":
        ctx.controller.life.end_jobs_of_node(name)
    return True


def _resume(ctx: CommandContext, name: str) -> bool:
    """Treat a warm node that is powering down as off; cancel its reboot."""
    power = ctx.controller.power
    return power is not None and power.resume(name)


def _may_become(state: NodeState, flags: NodeFlag, wanted: str) -> bool:
    """Return whether a node's current state allows the wanted state.

    Source: node_mgr.c _valid_node_state_change.
    """
    if wanted in ("", "DOWN", "DRAIN", "FAIL", "NoResp", "UNDRAIN"):
        return True
    if wanted == "RESUME":
        return state in (NodeState.DOWN, NodeState.FUTURE) or bool(flags & (NodeFlag.DRAIN | NodeFlag.FAIL))
    if wanted == "IDLE":
        return state in (NodeState.DOWN, NodeState.IDLE)
    return wanted == "ALLOCATED" == state.name


def create(ctx: CommandContext, words: Words) -> int:
    """create NodeName=...: refused, because the site file defines the nodes."""
    ctx.err(f"Error creating node(s): {Errno.NOT_SUPPORTED.text}")
    return 1


def delete(ctx: CommandContext, word: str, name: str) -> int:
    """delete NodeName=NAME: refused."""
    known = expand(ctx, name) is not None
    ctx.err(f"delete_node {word}: {(Errno.NOT_SUPPORTED if known else Errno.INVALID_NODE_NAME).text}")
    return 1


def cancel_reboot(ctx: CommandContext, words: Words) -> int:
    """cancel_reboot NODES: cancel the pending replacement of warm nodes."""
    names, power = expand(ctx, words[0]), ctx.controller.power
    cancelled = [power.cancel_reboot(name) for name in names or ()] if power is not None else []
    if cancelled and all(cancelled):
        return 0
    ctx.err(f"slurm_update error: {(Errno.NODE_STATE_TRANSITION if names else Errno.INVALID_NODE_NAME).text}")
    return 1


def power(ctx: CommandContext, words: Words) -> int:
    """power UP|DOWN [ASAP|FORCE] NODES [Reason=TEXT], for warm nodes only."""
    problem = _power_words(words)
    if problem:
        ctx.err(problem)
        return 1
    how = words[1].upper() if words[1].upper() in ("ASAP", "FORCE") else ""
    names = expand(ctx, words[2] if how else words[1])
    state = "_".join(filter(None, ("POWER", words[0].upper(), how)))
    powered = [_set_power(ctx, name, state) for name in names or ()]
    if powered and all(powered):
        reason = words[-1].partition("=")[2] if words[-1].lower().startswith("reason=") else ""
        for name in names or ():
            ctx.controller.life.node_state(name, "", reason, user_name(os.geteuid()))
        return 0
    errno = Errno.NODE_STATE_TRANSITION if names else Errno.INVALID_NODE_NAME
    ctx.err(f"scontrol_power_nodes error:{errno.text}")
    return 1


def _power_words(words: Words) -> str:
    """Syntax error in the words of a power request, or ""."""
    up = words[0].upper() == "UP"
    if not up and words[0].upper() != "DOWN":
        return f"unexpected argument: '{words[0]}'"
    how = words[1].upper() in ("ASAP", "FORCE")
    if how and up:
        return f"The '{words[1]}' argument is not valid for power up requests"
    rest = words[2:] if how else words[1:]
    if not rest:
        return "Mandatory argument {ALL|<NodeList>|<NodeSet>} missing"
    if len(rest) < 2:
        return ""
    if not rest[1].lower().startswith("reason="):
        return f"unexpected argument:'{rest[1]}'"
    if up:
        return "Reason only allowed for scontrol power down operation"
    return "" if rest[1][len("reason=") :] else "missing reason"


def reboot(ctx: CommandContext, tag: str, words: Words) -> int:
    """reboot [ASAP] [nextstate=] [reason=] NODES: replace warm nodes. Other nodes have no RebootProgram."""
    left, asap, down = list(words), False, False
    for word in words[:3]:
        key, _, value = word.lower().partition("=")
        if key in ("reason", "nextstate") and "=" in word:
            if not value:
                ctx.err(f"missing {'reason' if key == 'reason' else 'state'}")
                return 1
            if key == "nextstate" and not (fits(value, "DOWN", 1) or fits(value, "RESUME", 1)):
                ctx.err(f"Invalid state: {value}\n Valid states: DOWN, RESUME")
                return 1
            down = down or (key == "nextstate" and fits(value, "DOWN", 1))
        elif word.upper() != "ASAP":
            continue
        else:
            asap = True
        left.remove(word)
    if len(left) > 1:
        ctx.err(f"too many arguments for keyword:{tag}")
    elif not left:
        ctx.err("Missing node list. Specify ALL|<NodeList>")
    elif _reboot(ctx, left[0], asap, down):
        return 0
    else:
        ctx.error("RebootProgram isn't defined")
        ctx.err("scontrol_reboot_nodes error:Unspecified error")
    return 1


def _reboot(ctx: CommandContext, text: str, asap: bool, down: bool) -> bool:
    names, power = expand(ctx, text), ctx.controller.power
    if not names or power is None or not all(power.is_warm(name) for name in names):
        return False
    for name in names:
        power.reboot(name, asap, down)
    return True
