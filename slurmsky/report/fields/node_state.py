"""Slurm's names of node states, and their order.

Source: slurm_protocol_defs.c node_state_string, node_state_string_compact, node_state_string_complete.
"""

from __future__ import annotations

from slurmsky.model.job import Node
from slurmsky.model.states import NodeFlag, NodeState, node_state_requested

# Slurm's number and compact word of each base state.
_BASE = {
    NodeState.UNKNOWN: (0, "UNK"),
    NodeState.DOWN: (1, "DOWN"),
    NodeState.IDLE: (2, "IDLE"),
    NodeState.ALLOCATED: (3, "ALLOC"),
    NodeState.MIXED: (5, "MIX"),
    NodeState.FUTURE: (6, "FUTR"),
}
# Slurm's bit of each flag and its word in the complete state, in the order of appending.
_FLAGS = (
    (NodeFlag.CLOUD, 1 << 7, "CLOUD"),
    (NodeFlag.COMPLETING, 1 << 10, "COMPLETING"),
    (NodeFlag.DRAIN, 1 << 9, "DRAIN"),
    (NodeFlag.FAIL, 1 << 13, "FAIL"),
    (NodeFlag.MAINT, 1 << 15, "MAINTENANCE"),
    (NodeFlag.POWER_DOWN, 1 << 23, "POWER_DOWN"),
    (NodeFlag.POWERED_DOWN, 1 << 12, "POWERED_DOWN"),
    (NodeFlag.REBOOT, 1 << 16, "REBOOT_REQUESTED"),
    (NodeFlag.REBOOT_ISSUED, 1 << 20, "REBOOT_ISSUED"),
    (NodeFlag.RESERVED, 1 << 5, "RESERVED"),
    (NodeFlag.NOT_RESPONDING, 1 << 11, "NOT_RESPONDING"),
    (NodeFlag.POWERING_UP, 1 << 14, "POWERING_UP"),
    (NodeFlag.POWERING_DOWN, 1 << 18, "POWERING_DOWN"),
)
# Suffixes of a state's name. The first flag that is set decides.
_SIGNS = (
    (NodeFlag.MAINT, "$"),
    (NodeFlag.REBOOT_ISSUED, "^"),
    (NodeFlag.REBOOT, "@"),
    (NodeFlag.POWERING_UP, "#"),
    (NodeFlag.POWERING_DOWN, "%"),
    (NodeFlag.POWERED_DOWN, "~"),
    (NodeFlag.POWER_DOWN, "!"),
    (NodeFlag.NOT_RESPONDING, "*"),
)
_IN_USE = (NodeState.ALLOCATED, NodeState.MIXED)


def state_number(node: Node) -> int:
    """Number of base state and flags, by which sinfo sorts.

    Source: slurm.h.
    """
    return _BASE[node.state][0] | sum(bit for flag, bit, _ in _FLAGS if flag in node.flags)


def complete_state(node: Node) -> str:
    """Base state with all flags: ``MIXED+DRAIN``."""
    flags, base = node.flags, node.state.name
    return "+".join([base, *(word for flag, _, word in _FLAGS if flag in flags)]) if flags else base


def state_words(node: Node) -> tuple[str, str]:
    """Long and compact state in capitals, with a flag's suffix."""
    flags, state = node.flags, node.state
    used = state in _IN_USE or NodeFlag.COMPLETING in flags
    sign = next((sign for flag, sign in _SIGNS if flag in flags), "")
    silent = "*" if NodeFlag.NOT_RESPONDING in flags else ""
    if NodeFlag.MAINT in flags and NodeFlag.DRAIN not in flags and state not in (*_IN_USE, NodeState.DOWN):
        return "MAINT" + silent, "MAINT" + silent
    if flags & (NodeFlag.REBOOT | NodeFlag.REBOOT_ISSUED) and state not in _IN_USE:
        boots = "^" if NodeFlag.REBOOT_ISSUED in flags else silent
        return "REBOOT" + boots, "BOOT" + boots
    if NodeFlag.DRAIN in flags:
        long, compact = ("DRAINING", "DRNG") if used else ("DRAINED", "DRAIN")
        return long + sign, compact + sign
    if NodeFlag.FAIL in flags:
        long, compact = ("FAILING", "FAILG") if used else ("FAIL", "FAIL")
        return long + silent, compact + silent
    if NodeFlag.COMPLETING in flags and state not in (NodeState.DOWN, NodeState.ALLOCATED):
        return "COMPLETING" + sign, "COMP" + sign
    long, compact = state.name, _BASE[state][1]
    if state is NodeState.UNKNOWN:
        sign = silent
    if state is NodeState.ALLOCATED and NodeFlag.COMPLETING in flags:
        sign = sign or "+"
    if state is NodeState.IDLE and NodeFlag.RESERVED in flags and not sign:
        return "RESERVED", "RESV"
    return long + sign, compact + sign


def matches(node: Node, word: str) -> bool:
    """Return whether a word of --states selects the node's state. Raises KeyError for an unknown word."""
    flags = node.flags
    state = node_state_requested(word)
    if state == "DRAIN":
        return NodeFlag.DRAIN in flags
    if state in ("DRAINING", "DRAINED"):
        used = node.state in _IN_USE or NodeFlag.COMPLETING in flags
        return NodeFlag.DRAIN in flags and used is (state == "DRAINING")
    if state in _FLAG_WORDS:
        flag = _FLAG_WORDS[state]
        return flag is not None and flag in flags
    if state == "ALLOCATED":
        return node.alloc_cpus > 0
    return node.state.name == state


_FLAG_WORDS = {
    "COMPLETING": NodeFlag.COMPLETING,
    "FAIL": NodeFlag.FAIL,
    "NO_RESPOND": NodeFlag.NOT_RESPONDING,
    "POWERING_UP": NodeFlag.POWERING_UP,
    "RESERVED": NodeFlag.RESERVED,
    "BLOCKED": None,
    "INVALID_REG": None,
    "PLANNED": None,
    "POWER_UP": None,
    "POWERING_DOWN": NodeFlag.POWERING_DOWN,
    "POWERED_DOWN": NodeFlag.POWERED_DOWN,
    "POWER_DOWN": NodeFlag.POWER_DOWN,
    "MAINT": NodeFlag.MAINT,
    "REBOOT": NodeFlag.REBOOT,
    "REBOOT_ISSUED": NodeFlag.REBOOT_ISSUED,
    "CLOUD": NodeFlag.CLOUD,
    "EXTERNAL": None,
    "DYNAMIC_FUTURE": None,
    "DYNAMIC_NORM": None,
}
