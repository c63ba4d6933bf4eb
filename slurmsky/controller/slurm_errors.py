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
    INVALID_NODE_NAME = (2009, "Invalid node name specified")
    JOB_HELD = (2011, "Job is held")
    NODE_CONFIG_UNAVAILABLE = (2014, "Requested node configuration is not available")
    NODES_BUSY = (2016, "Requested nodes are busy")
    INVALID_JOB_ID = (2017, "Invalid job id specified")
    WRITING_TO_FILE = (2019, "I/O error writing script/environment to file")
    ALREADY_DONE = (2021, "Job/step already completing or completed")
    ACCESS_DENIED = (2002, "Access/permission denied")
    CANNOT_BE_ALTERED = (2020, "Job can not be altered now, try again later")
    JOB_PENDING = (2019, "Job is pending execution")
    JOB_FINISHED = (2052, "Job has already finished")
    DEPENDENCY = (2039, "Job dependency problem")
    CIRCULAR = (2040, "Circular job dependency problem")
    NOT_SUPPORTED = (2041, "Requested operation not supported on this system")
    DISABLED = (2037, "Requested operation is presently disabled")
    INVALID_TIME_LIMIT = (2051, "Requested time limit is invalid (missing or exceeds some limit)")
    ACTIVE_NOT_SUBSET = (2031, "Active features not subset of available features")
    INVALID_FEATURE = (2047, "Invalid feature specification")
    INVALID_PREFER = (2129, "Invalid preferred feature specification")
    INVALID_LICENSES = (2048, "Invalid license specification")
    INVALID_RESERVATION = (2053, "Requested reservation is invalid")
    INVALID_TIME = (2054, "Invalid time specified")
    INVALID_USER = (2010, "Invalid user id")
    INVALID_GROUP = (2005, "Invalid group id")
    RESERVATION_NAME = (2082, "Duplicate reservation name")
    RESERVATION_ACCESS = (2052, "Access denied to requested reservation")
    RESERVATION_BUSY = (2055, "Requested reservation is in use")
    RESERVATION_OVERLAP = (2058, "Requested reservation overlaps with another reservation")
    INVALID_CORE_COUNT = (2111, "Core count for reservation node list is not consistent!")
    CORE_RESERVATION = (2109, "Core-based reservation can not be updated")
    RESERVATION_NO_SKIP = (2128, "Reservation given is not skipable, try deleting instead")
    RESERVATION_EMPTY = (2080, "Reservation request lacks users, groups or accounts")
    INVALID_GRES = (2072, "Invalid generic resource (gres) specification")
    INVALID_ARRAY = (2083, "Invalid job array specification")
    INVALID_NICE = (2114, "Invalid --nice value")
    INVALID_QOS = (2066, "Invalid qos specification")
    INVALID_ACCOUNT = (2045, "Invalid account or account/partition combination specified")
    PATH_TOO_LONG = (2010, "Pathname of a file, directory or other parameter too long")
    NOT_HET_JOB_LEADER = (2107, "Job not heterogeneous job leader")
    NOT_WHOLE_HET_JOB = (2108, "Operation not permitted on individual component of heterogeneous job")
    IMMEDIATE = (2012, "Immediate execution impossible, insufficient priority")
    PARTITION_DOWN = (2043, "Required partition not available (inactive or drain)")
    INVALID_TASK_COUNT = (2023, "Task count specification invalid")
    JOB_LIMIT = (2104, "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)")
    SCRIPT_MISSING = (2018, "Job script not specified")
    TOO_MANY_NODES = (2015, "More processors requested than permitted")
    INVALID_STEP = (2022, "Invalid job step id specified")
    NO_LONGER_PENDING = (2021, "Job is no longer pending execution")
    NOT_SUSPENDED = (2102, "Job is not suspended")
    PARTITION_GROUP = (2064, "User's group not permitted to use this partition")
    INVALID_CLUSTER = (2049, "Invalid cluster name")
    UNREACHABLE = (1800, "Communication connection failure")
    TIMED_OUT = (110, "Connection timed out")
    UNEXPECTED = (1002, "Unexpected message received")
    PART_CONFIG_UNAVAILABLE = (2009, "Requested partition configuration not available now")
    HELD = (2011, "Job is in held state, pending scheduler release")
    NOT_RUNNING = (2092, "Job/step is not running")
    IS_NOT_RUNNING = (2063, "Job is not running")
    SUSPENDED = (2053, "Job is currently suspended")
    INVALID_NODE_STATE = (2011, "Invalid node state specified")
    NODE_STATE_TRANSITION = (2127, "Invalid node state transition")
    PARTITION_IN_USE = (2041, "Partition is in use")
    INVALID_GRES_TYPE = (2119, "Invalid GRES specification (with and without type identification)")
    INVALID_TRES = (2115, "Invalid Trackable RESource (TRES) specification")
    CRON_JOB = (2130, "Cannot modify scrontab jobs through scontrol")
    NOT_PENDING_NOR_RUNNING = (2122, "Job is not pending nor running")
    INVALID_CPU_COUNT = (2067, "CPU count specification invalid")
    INVALID_TIME_MIN = (2137, "Invalid time-min specification (exceeds job's time or other limits)")
    NOT_FEDERATED = (7103, "Not a valid federated job")
    INVALID_STATE = (2100, "Job state prevents the operation")

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
