"""Distributes tasks over nodes.

Pure functions. Source: slurm_step_layout.c and the oracle's output.
"""

from __future__ import annotations

from typing import Iterable, Optional, Sequence

Ranks = list[list[int]]


def default_distribution(ntasks: int, nodes: int) -> str:
    """Return Slurm's default distribution. block if there are more tasks than nodes, else cyclic."""
    return "block" if ntasks > nodes else "cyclic"


def block(ntasks: int, room: Sequence[int]) -> Ranks:
    """Ranks per node, in ``block`` distribution.

    >>> block(4, [3, 1])
    [[0, 1, 2], [3]]
    >>> block(5, [8, 8])
    [[0, 1, 2], [3, 4]]
    """
    return _consecutive(len(ranks) for ranks in cyclic(ntasks, room))


def _consecutive(counts: Iterable[int]) -> Ranks:
    result, first = [], 0
    for count in counts:
        result.append(list(range(first, first + count)))
        first += count
    return result


def packed(ntasks: int, room: Sequence[int]) -> Ranks:
    """Ranks per node in ``block,Pack``.

    Each node gets one task, then nodes are filled in order; the rest is distributed one by one.
    """
    counts = [int(index < ntasks) for index in range(len(room))]
    left = ntasks - sum(counts)
    for index, size in enumerate(room):
        more = min(left, max(0, size - counts[index]))
        counts[index] += more
        left -= more
    for index in range(left):
        counts[index % len(room)] += 1
    return _consecutive(counts)


def cyclic(ntasks: int, room: Sequence[int]) -> Ranks:
    """Ranks per node, distributed one by one to nodes that are not full.

    >>> cyclic(5, [4, 4])
    [[0, 2, 4], [1, 3]]
    """
    result: Ranks = [[] for _ in room]
    rank = 0
    turn = 0
    over = False
    while rank < ntasks:
        left = False
        for index, size in enumerate(room):
            if rank >= ntasks:
                break
            if turn < size or over:
                result[index].append(rank)
                rank += 1
                left = left or turn + 1 < size
        if not left:
            over = True
        turn += 1
    return result


def plane(ntasks: int, room: Sequence[int], size: int) -> Ranks:
    """Ranks per node, distributed ``size`` at a time.

    Counts: each node first gets one task, then nodes with room get planes. The nodes' room is ignored after a round
    that leaves no node with room, and after the first round of planes of one task. Source: _task_layout_plane.

    >>> plane(7, [8, 8], 2), plane(7, [6, 1], 4), plane(6, [4, 1, 1], 1)
    ([[0, 1, 4, 5], [2, 3, 6]], [[0, 1, 2, 3, 5, 6], [4]], [[0, 3], [1, 4], [2, 5]])
    """
    counts = [1 if index < ntasks else 0 for index in range(len(room))]
    left, over, begun = ntasks - sum(counts), False, 1
    while left:
        more = False
        for index, limit in enumerate(room):
            for _ in range(min(size - begun, left)):
                if over or counts[index] < limit:
                    counts[index] += 1
                    left -= 1
                    more = more or counts[index] < limit
        over, begun = over or not more, 0
    result: Ranks = [[] for _ in room]
    rank = 0
    while rank < ntasks:
        for ranks, count in zip(result, counts):
            for _ in range(min(size, count - len(ranks))):
                ranks.append(rank)
                rank += 1
    return result


def arbitrary(hosts: Sequence[str], nodes: Sequence[str]) -> Ranks:
    """Rank k runs on hosts[k]."""
    return [[rank for rank, host in enumerate(hosts) if host == node] for node in nodes]


def lay_out(
    ntasks: int,
    cpus: Sequence[int],
    cpus_per_task: int,
    distribution: str,
    *,
    plane_size: int = 0,
    per_node: Optional[int] = None,
    pack: bool = False,
) -> Ranks:
    """Ranks per node. ``cpus``: the step's CPUs on each node; ``per_node``: requested tasks per node."""
    room = [max(1, count // max(1, cpus_per_task)) for count in cpus]
    if per_node and distribution != "plane":
        room = [min(size, per_node) for size in room]
    if distribution == "plane":
        return plane(ntasks, room, max(1, plane_size))
    if distribution == "cyclic":
        return cyclic(ntasks, room)
    return packed(ntasks, room) if pack else block(ntasks, room)
