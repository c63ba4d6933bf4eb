"""slurmctld's errors, with Slurm's numbers and texts.

SlurmError +-- every error of slurmctld: text, number (errno of slurm_errno.h) and detail lines
"""

from __future__ import annotations

import enum


class Errno(enum.Enum):
    """Errors of slurmctld: (number, text).

    Source: slurm_errno.h and slurm_errno.c.
    """

    INVALID_PARTITION = (2000, "Invalid partition name specified")
    DEFAULT_PARTITION_NOT_SET = (2001, "No partition specified or system default partition")
    INVALID_NODE_COUNT = (2006, "Node count specification invalid")
    INVALID_NODE_NAME = (2018, "Invalid node name specified")
    TASK_MEMORY = (2044, "Memory required by task is not available")
    NODES_NOT_IN_PARTITION = (2004, "Requested nodes not in this partition")
    NODE_CONFIG_UNAVAILABLE = (2014, "Requested node configuration is not available")
    NODES_BUSY = (2016, "Requested nodes are busy")
    INVALID_JOB_ID = (2017, "Invalid job id specified")
    WRITING_TO_FILE = (2019, "I/O error writing script/environment to file")
    ALREADY_DONE = (2021, "Job/step already completing or completed")
    ACCESS_DENIED = (2002, "Access/permission denied")
    JOB_PENDING = (2024, "Job is pending execution")
    JOB_FINISHED = (2084, "Job has already finished")
    DEPENDENCY = (2038, "Job dependency problem")
    NOT_SUPPORTED = (2036, "Requested operation not supported on this system")
    DISABLED = (2037, "Requested operation is presently disabled")
    INVALID_TIME_LIMIT = (2051, "Requested time limit is invalid (missing or exceeds some limit)")
    ACTIVE_NOT_SUBSET = (2031, "Active features not subset of available features")
    INVALID_FEATURE = (2029, "Invalid feature specification")
    INVALID_PREFER = (2133, "Invalid preferred feature specification")
    INVALID_LICENSES = (2048, "Invalid license specification")
    INVALID_RESERVATION = (2053, "Requested reservation is invalid")
    INVALID_TIME = (2054, "Invalid time specified")
    UNSPECIFIED = (-1, "Unspecified error")
    INVALID_USER = (2010, "Invalid user id")
    INVALID_GROUP = (2113, "Invalid group id")
    RESERVATION_NAME = (2082, "Duplicate reservation name")
    RESERVATION_ACCESS = (2052, "Access denied to requested reservation")
    RESERVATION_BUSY = (2055, "Requested reservation is in use")
    RESERVATION_OVERLAP = (2058, "Requested reservation overlaps with another reservation")
    INVALID_CORE_COUNT = (2111, "Core count for reservation node list is not consistent!")
    CORE_RESERVATION = (2109, "Core-based reservation can not be updated")
    RESERVATION_NO_SKIP = (2128, "Reservation given is not skipable, try deleting instead")
    RESERVATION_EMPTY = (2080, "Reservation request lacks users, groups or accounts")
    INVALID_GRES = (2072, "Invalid generic resource (gres) specification")
    INVALID_ARRAY = (2081, "Invalid job array specification")
    INVALID_NICE = (2123, "Invalid --nice value")
    INVALID_QOS = (2066, "Invalid qos specification")
    INVALID_ACCOUNT = (2045, "Invalid account or account/partition combination specified")
    PATH_TOO_LONG = (2012, "Pathname of a file, directory or other parameter too long")
    NOT_HET_JOB_LEADER = (2107, "Job not heterogeneous job leader")
    NOT_WHOLE_HET_JOB = (2108, "Operation not permitted on individual component of heterogeneous job")
    IMMEDIATE = (2013, "Immediate execution impossible, insufficient priority")
    PARTITION_DOWN = (2070, "Required partition not available (inactive or drain)")
    INVALID_TASK_COUNT = (2025, "Task count specification invalid")
    JOB_LIMIT = (2050, "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)")
    SCRIPT_MISSING = (2009, "Job script not specified")
    TOO_MANY_NODES = (2005, "More processors requested than permitted")
    NO_LONGER_PENDING = (2073, "Job is no longer pending execution")
    NOT_SUSPENDED = (2087, "Job is not suspended")
    PARTITION_GROUP = (2003, "User's group not permitted to use this partition")
    UNREACHABLE = (1001, "Communication connection failure")
    TIMED_OUT = (110, "Connection timed out")
    UNEXPECTED = (1000, "Unexpected message received")
    PART_CONFIG_UNAVAILABLE = (2015, "Requested partition configuration not available now")
    HELD = (2042, "Job is in held state, pending scheduler release")
    NOT_RUNNING = (2092, "Job/step is not running")
    IS_NOT_RUNNING = (2085, "Job is not running")
    INVALID_NODE_STATE = (2028, "Invalid node state specified")
    NODE_STATE_TRANSITION = (2180, "Invalid node state transition")
    PARTITION_IN_USE = (2075, "Partition is in use")
    INVALID_GRES_TYPE = (2119, "Invalid GRES specification (with and without type identification)")
    INVALID_TRES = (2115, "Invalid Trackable RESource (TRES) specification")
    CRON_JOB = (2096, "Cannot modify scrontab jobs through scontrol")
    NOT_PENDING_NOR_RUNNING = (2086, "Job is not pending nor running")
    INVALID_CPU_COUNT = (2069, "CPU count specification invalid")
    INVALID_TIME_MIN = (2124, "Invalid time-min specification (exceeds job's time or other limits)")
    NOT_FEDERATED = (7103, "Not a valid federated job")

    @property
    def number(self) -> int:
        """Slurm's number of the error (slurm_errno.h)."""
        return self.value[0]

    @property
    def text(self) -> str:
        """slurm_strerror's text."""
        return self.value[1]


class SlurmError(Exception):
    """An error: its Errno, and detail lines that Slurm prints first. The lines have no command's prefix."""

    def __init__(self, errno: Errno, *details: str) -> None:
        super().__init__(errno.text)
        self.errno = errno
        self.details = details

    @property
    def text(self) -> str:
        """Slurm's text of the error."""
        return self.errno.text
