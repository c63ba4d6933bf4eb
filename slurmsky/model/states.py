"""Job states and flags, node states: words, numbers, compact forms.

Source: slurm.h ``enum job_states`` and the JOB_* flag bits (see tests/data/job_states.csv).
"""

from __future__ import annotations

import enum


class JobState(enum.Enum):
    """Base state of a job or step; the value is Slurm's number."""

    PENDING = 0
    RUNNING = 1
    SUSPENDED = 2
    COMPLETED = 3
    CANCELLED = 4
    FAILED = 5
    TIMEOUT = 6
    NODE_FAIL = 7
    PREEMPTED = 8
    BOOT_FAIL = 9
    DEADLINE = 10
    OUT_OF_MEMORY = 11

    @property
    def compact(self) -> str:
        """The two-letter form of squeue's ``%t``."""
        return _COMPACT_BY_NUMBER[self._value_]

    @property
    def finished(self) -> bool:
        """True for final states, which a job leaves only by requeue."""
        return self._value_ >= 3  # for speed: reports call this thousands of times; ``value`` is a slower property

    @property
    def active(self) -> bool:
        """True while the job holds an allocation."""
        return self is JobState.RUNNING or self is JobState.SUSPENDED


_COMPACT = {
    JobState.PENDING: "PD",
    JobState.RUNNING: "R",
    JobState.SUSPENDED: "S",
    JobState.COMPLETED: "CD",
    JobState.CANCELLED: "CA",
    JobState.FAILED: "F",
    JobState.TIMEOUT: "TO",
    JobState.NODE_FAIL: "NF",
    JobState.PREEMPTED: "PR",
    JobState.BOOT_FAIL: "BF",
    JobState.DEADLINE: "DL",
    JobState.OUT_OF_MEMORY: "OOM",
}
_COMPACT_BY_NUMBER = {state.value: text for state, text in _COMPACT.items()}


#: wait status of a task whose step ran out of memory; it reads as a signal. Source: Slurm's SIG_OOM
OOM_STATUS = 253
#: the signal, as in ExitCode 0:125
OOM_SIGNAL = 125


class JobFlag(enum.Flag):
    """State flags beyond the base state; the value is Slurm's bit."""

    NONE = 0
    LAUNCH_FAILED = 0x100
    REQUEUED = 0x400
    REQUEUE_HOLD = 0x800
    SPECIAL_EXIT = 0x1000
    CONFIGURING = 0x4000
    COMPLETING = 0x8000
    STOPPED = 0x10000
    REVOKED = 0x80000
    SIGNALING = 0x400000
    STAGE_OUT = 0x800000


# The order in which Slurm shows a flag in place of the base state (job_state_string, slurm_protocol_defs.c).
SHOWN_FLAGS: tuple[tuple[JobFlag, str, str], ...] = (
    (JobFlag.COMPLETING, "COMPLETING", "CG"),
    (JobFlag.STAGE_OUT, "STAGE_OUT", "SO"),
    (JobFlag.CONFIGURING, "CONFIGURING", "CF"),
    (JobFlag.REQUEUED, "REQUEUED", "RQ"),
    (JobFlag.REQUEUE_HOLD, "REQUEUE_HOLD", "RH"),
    (JobFlag.SPECIAL_EXIT, "SPECIAL_EXIT", "SE"),
    (JobFlag.STOPPED, "STOPPED", "ST"),
    (JobFlag.REVOKED, "REVOKED", "RV"),
    (JobFlag.SIGNALING, "SIGNALING", "SI"),
)


def shown_state(state: JobState, flags: JobFlag) -> tuple[str, str]:
    """Return the long and compact form of a state with flags."""
    for flag, long, compact in SHOWN_FLAGS:
        if flag in flags:
            return long, compact
    return state.name, state.compact


class NodeState(enum.Enum):
    """States of a node as sinfo prints them. Mixed, allocated and idle are derived from the node's use."""

    IDLE = "idle"
    MIXED = "mixed"
    ALLOCATED = "allocated"
    DOWN = "down"
    UNKNOWN = "unknown"
    FUTURE = "future"


#: states that users may request, long and compact, in the order in which a prefix is matched. Source: sinfo/opts.c
#: _node_state_id
_NODE_WORDS = (
    ("UNKNOWN", "UNK"), ("DOWN", "DOWN"), ("IDLE", "IDLE"), ("ALLOCATED", "ALLOC"), ("MIXED", "MIX"),
    ("FUTURE", "FUTR"), ("BLOCKED", "BLOCK"), ("INVALID_REG", "INVAL"), ("PLANNED", "PLND"), ("DRAIN", "DRAIN"),
    ("DRAINED", "DRAINED"), ("RESERVED", "RESV"), ("DRAINING", "DRNG"), ("DYNAMIC_FUTURE", "DYNAMIC_FUTURE"),
    ("DYNAMIC_NORM", "DYNAMIC_NORM"), ("COMPLETING", "COMP"), ("NO_RESPOND", "NO_RESPOND"), ("POWER_UP", "POW_UP"),
    ("POWERING_DOWN", "POWRING_DN"), ("POWERED_DOWN", "POWERED_DN"), ("POWER_DOWN", "POW_DN"),
    ("POWERING_UP", "POWERING_UP"), ("FAIL", "FAIL"), ("MAINT", "MAINT"), ("REBOOT", "BOOT"),
    ("REBOOT_ISSUED", "REBOOT_ISSUED"), ("CLOUD", "CLOUD"), ("EXTERNAL", "EXT"),
)  # fmt: skip


def node_state_requested(word: str) -> str:
    """Return the node state for a word or its prefix. Raises KeyError for an unknown word."""
    start = word.upper()
    for long, compact in _NODE_WORDS:
        if start and (long.startswith(start) or compact.startswith(start)):
            return long
    raise KeyError(word)


class NodeFlag(enum.Flag):
    """Flags in addition to a node's base state."""

    NONE = 0
    DRAIN = 1
    COMPLETING = 2
    NOT_RESPONDING = 4
    FAIL = 8
    POWERING_UP = 16
    RESERVED = 32
    CLOUD = 64
    POWERED_DOWN = 128
    MAINT = 256
    POWERING_DOWN = 512
    POWER_DOWN = 1024  # requested; applied when no job runs on the node
    REBOOT = 2048  # requested; applied when no job runs on the node
    REBOOT_ISSUED = 4096  # until the node is up again
