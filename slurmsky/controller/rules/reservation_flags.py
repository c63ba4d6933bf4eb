"""Flags of reservations: order and conflicts.

Source: slurmctld/reservation.c create_resv, update_resv.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...model.reservation import FLAGS, Reservation
from ..slurm_errors import Errno, SlurmError
from . import recurrence

_ORDER = {flag.name: position for position, flag in enumerate(FLAGS)}
_REPLACED = {"REPLACE", "REPLACE_DOWN"}


def check_flags(wanted: Reservation, before: Reservation | None = None, cores: int | None = None) -> None:
    """Raise SlurmError for conflicting or unsupported flags.

    ``before``: the reservation that an update changes. ``cores``: the number of cores that a new one requests.
    """
    flags = set(wanted.flags)
    floating = "TIME_FLOAT" in flags
    if "ANY_NODES" in flags or len(recurrence.recurring(wanted)) > 1:
        raise SlurmError(Errno.NOT_SUPPORTED)
    if floating and before is not None and "TIME_FLOAT" not in before.flags:
        raise SlurmError(Errno.INVALID_TIME)
    if floating and recurrence.recurring(wanted):
        raise SlurmError(Errno.NOT_SUPPORTED)
    if not _REPLACED & flags:
        return
    if before is not None and (wanted.parts or "SPEC_NODES" in flags):
        raise SlurmError(Errno.NOT_SUPPORTED)
    if "SPEC_NODES" in flags:
        raise SlurmError(Errno.INVALID_NODE_NAME)
    if cores is not None:
        raise SlurmError(Errno.INVALID_CPU_COUNT)
    if {"STATIC", "MAINT"} & flags:
        raise SlurmError(Errno.NOT_SUPPORTED)


def ordered(flags: Iterable[str]) -> tuple[str, ...]:
    """Sort flags as Slurm shows them."""
    return tuple(sorted(set(flags), key=_ORDER.__getitem__))
