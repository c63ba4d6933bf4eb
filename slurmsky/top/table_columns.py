"""The columns of the two tables."""

from __future__ import annotations

from .data_table import ViewColumn
from .rows import JobLine, NodeLine, natural, seconds

_STATES = {"R": "green", "CG": "cyan", "CF": "cyan", "PD": "yellow", "S": "magenta", "CD": "dim", "CA": "dim"}


def _job_style(job: JobLine) -> str:
    # All other states are failures.
    return _STATES.get(job.state, "red")


def _node_style(node: NodeLine) -> str:
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


JOBS: tuple[ViewColumn[JobLine], ...] = (
    ViewColumn("JOBID", lambda job: job.id, 16, lambda job: natural(job.id), right=True, least=6),
    ViewColumn("PARTITION", lambda job: job.partition, 9, lambda job: job.partition),
    ViewColumn("NAME", lambda job: job.name, 60, lambda job: job.name, grows=True, least=8),
    ViewColumn("USER", lambda job: job.user, 8, lambda job: job.user),
    ViewColumn("ST", lambda job: job.state, 2, lambda job: job.state, style=_job_style),
    ViewColumn("TIME", lambda job: job.time, 11, lambda job: seconds(job.time), right=True, least=7),
    ViewColumn("NODES", lambda job: job.nodes, 5, lambda job: natural(job.nodes), right=True),
    ViewColumn("NODELIST(REASON)", lambda job: job.where, 200, lambda job: natural(job.where), grows=True, least=8),
)

NODES: tuple[ViewColumn[NodeLine], ...] = (
    ViewColumn("NODELIST", lambda node: node.name, 24, lambda node: natural(node.name)),
    ViewColumn("PARTITION", lambda node: node.partitions, 14, lambda node: node.partitions),
    ViewColumn("STATE", lambda node: node.state, 11, lambda node: node.state, style=_node_style),
    ViewColumn("CPUS", lambda node: f"{node.cpus_used}/{node.cpus}", 9, lambda node: -node.cpus_used, right=True),
    ViewColumn("LOAD", lambda node: node.load, 6, lambda node: -_float(node.load), right=True),
    ViewColumn("MEMORY", lambda node: f"{gigabytes(node.memory_used_mib)}/{gigabytes(node.memory_mib)}", 13,
           lambda node: -node.memory_used_mib, right=True),
    ViewColumn("GPUS", lambda node: f"{node.gpus_used}/{node.gpus}" if node.gpus else "-", 7,
           lambda node: -node.gpus_used, right=True),
    ViewColumn("TYPE", lambda node: node.gpu_type, 10, lambda node: node.gpu_type),
    ViewColumn("REASON", lambda node: node.reason, 200, lambda node: node.reason, grows=True, least=6),
)  # fmt: skip


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
