"""Messages of srun -v about a step, as Slurm prints them.

Pure functions. Source: api/step_launch.c, launch_slurm.c.
"""

from __future__ import annotations

from typing import Iterable, Sequence

from ...model.allocation import NodeShare
from ..job.environment import node_list

_RULE = "-------------------- --------------------"


def options(given: Iterable[tuple[str, str]]) -> list[str]:
    """Lines with the given options and their values."""
    rows = ["%-20s: %s" % (name, value) for name, value in given]
    return ["defined options", _RULE, *rows, _RULE, "end of defined options"]


def counts(cpus: Iterable[int]) -> str:
    """CPUs of the nodes, with equal neighbours combined.

    >>> counts([4, 4, 2])
    '4(x2),2(x1)'
    """
    runs: list[list[int]] = []
    for count in cpus:
        if runs and runs[-1][0] == count:
            runs[-1][1] += 1
        else:
            runs.append([count, 1])
    return ",".join("%d(x%d)" % (count, times) for count, times in runs)


def job(job_id: int, shares: Sequence[NodeShare]) -> str:
    """Return the line about the step's allocation."""
    names = node_list(tuple(share.name for share in shares))
    cpus = counts(share.cpus for share in shares)
    return "jobid %d: nodes(%d):`%s', cpu counts: %s" % (job_id, len(shares), names, cpus)


def launching(step: str, shares: Sequence[NodeShare], ranks: Sequence[Sequence[int]]) -> list[str]:
    """Lines for the nodes with tasks of a ``step`` such as "7.0"."""
    return [
        "launching StepId=%s on host %s, %d tasks: %s" % (step, share.name, len(here), _ranks(here))
        for share, here in zip(shares, ranks)
    ]


def _ranks(ranks: Sequence[int]) -> str:
    from ...language.hostlist import compress

    return str(ranks[0]) if len(ranks) == 1 else compress(tuple("%d" % rank for rank in ranks))


def finished(step: str, tasks: int, status: int) -> str:
    """Return the line about tasks of a node with a wait status."""
    return "Received task exit notification for %d task%s of StepId=%s (status=0x%04x)." % (
        tasks,
        "" if tasks == 1 else "s",
        step,
        status,
    )
