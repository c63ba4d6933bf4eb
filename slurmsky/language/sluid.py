"""Slurm's lexicographically sortable id of a job (SLUID): cluster, time in milliseconds, sequence number.

Source: common/sluid.c. Here the id is computed from the submit time and the job id, so that it need not be stored.
"""

from __future__ import annotations

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 13
#: id of the cluster, 2 to 4095; each user has one cluster
_CLUSTER = 2048


def sluid(submit_time: float, job_id: int) -> str:
    """Return a job's SLUID.

    >>> sluid(1795581443, 70020)
    's801M88FWYXRC4'
    """
    value = _CLUSTER << 52 | int(submit_time * 1000) << 10 | job_id % 1024
    return "s" + "".join(_DIGITS[value >> 5 * place & 31] for place in reversed(range(_LENGTH)))
