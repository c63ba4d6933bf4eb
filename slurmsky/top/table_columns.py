"""The columns of the two tables."""

from __future__ import annotations

from .data_table import Column
from .rows import Job, Node, natural, seconds

_STATES = {"R": "green", "CG": "cyan", "CF": "cyan", "PD": "yellow", "S": "magenta", "CD": "dim", "CA": "dim"}


def _job_style(job: Job) -> str:
    # All other states are failures.
    return _STATES.get(job.state, "red")


def _node_style(node: Node) -> str:
    state = node.state.rstrip("*~#!%$@^-+")
    if state.startswith(("down", "drain", "fail", "unk")):
        return "red"
    return "green" if state in ("mixed", "allocated") else ""


def gigabytes(mib: int) -> str:
    """Convert MiB to a short text.

    >>> gigabytes(4000), gigabytes(512000)
    ('3.9G', '500G')
    """
    size = mib / 1024
    return f"{size:.1f}G" if size < 100 else f"{size:.0f}G"


JOBS: tuple[Column[Job], ...] = (
    Column("JOBID", lambda job: job.id, 16, lambda job: natural(job.id), right=True, least=6),
    Column("PARTITION", lambda job: job.partition, 9, lambda job: job.partition),
    Column("NAME", lambda job: job.name, 60, lambda job: job.name, grows=True, least=8),
    Column("USER", lambda job: job.user, 8, lambda job: job.user),
    Column("ST", lambda job: job.state, 2, lambda job: job.state, style=_job_style),
    Column("TIME", lambda job: job.time, 11, lambda job: seconds(job.time), right=True, least=7),
    Column("NODES", lambda job: job.nodes, 5, lambda job: natural(job.nodes), right=True),
    Column("NODELIST(REASON)", lambda job: job.where, 200, lambda job: natural(job.where), grows=True, least=8),
)

NODES: tuple[Column[Node], ...] = (
    Column("NODELIST", lambda node: node.name, 24, lambda node: natural(node.name)),
    Column("PARTITION", lambda node: node.partitions, 14, lambda node: node.partitions),
    Column("STATE", lambda node: node.state, 11, lambda node: node.state, style=_node_style),
    Column("CPUS", lambda node: f"{node.cpus_used}/{node.cpus}", 9, lambda node: -node.cpus_used, right=True),
    Column("LOAD", lambda node: node.load, 6, lambda node: -_float(node.load), right=True),
    Column("MEMORY", lambda node: f"{gigabytes(node.memory_used_mib)}/{gigabytes(node.memory_mib)}", 13,
           lambda node: -node.memory_used_mib, right=True),
    Column("GPUS", lambda node: f"{node.gpus_used}/{node.gpus}" if node.gpus else "-", 7,
           lambda node: -node.gpus_used, right=True),
    Column("TYPE", lambda node: node.gpu_type, 10, lambda node: node.gpu_type),
    Column("REASON", lambda node: node.reason, 200, lambda node: node.reason, grows=True, least=6),
)  # fmt: skip


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
