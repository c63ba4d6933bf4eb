"""Order in which a job takes nodes: named nodes, then tight runs.

Source: src/plugins/topology/common/eval_nodes.c, _eval_nodes_consec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Candidate:
    """A node that the job could use. ``position``: its place in the partition."""

    position: int
    weight: int
    cpus: int  # that the job could use
    gpus: int = 0


@dataclass(frozen=True)
class _Run:
    """Consecutive nodes of one weight. ``anchor``: the position of the first named node among them."""

    nodes: list[Candidate]
    places: range  # including the named nodes in and next to the run
    weight: int
    cpus: int
    gpus: int
    anchor: int | None

    def holds(self, cpus: int, nodes: int, gpus: int) -> bool:
        """True if the run suffices for the whole job."""
        return self.cpus >= cpus and len(self.nodes) >= nodes and self.gpus >= gpus


def node_order(
    named: Sequence[Candidate], others: Sequence[Candidate], cpus: int, nodes: int, gpus: int, contiguous: bool
) -> Iterator[Candidate]:
    """Yield nodes for these numbers of CPUs, nodes and GPUs."""
    for one in named:
        yield one
        cpus, nodes, gpus = cpus - _taken(one, cpus, nodes), nodes - 1, gpus - one.gpus
    places = {one.position for one in named}
    if contiguous:
        others = [replace(one, weight=0) for one in others]
    runs = _runs(places, others)
    if contiguous:
        runs = [run for run in runs if run.holds(cpus, nodes, gpus) and places.issubset(run.places)]
    while runs:
        best = _best(runs, cpus, nodes, gpus)
        runs = [] if contiguous else [run for run in runs if run is not best]
        for one in _within(best, cpus, nodes, gpus):
            yield one
            cpus, nodes, gpus = cpus - _taken(one, cpus, nodes), nodes - 1, gpus - one.gpus


def _taken(one: Candidate, cpus: int, nodes: int) -> int:
    """CPUs that the job takes on this node. One CPU is left for each further node."""
    return max(1, min(one.cpus, cpus - max(0, nodes - 1)))


def _runs(named: set[int], others: Sequence[Candidate]) -> list[_Run]:
    groups: list[list[Candidate]] = []
    for one in sorted(others, key=lambda one: one.position):
        last = groups[-1][-1] if groups else None
        joined = last is not None and all(place in named for place in range(last.position + 1, one.position))
        if last is not None and joined and last.weight == one.weight:
            groups[-1].append(one)
        else:
            groups.append([one])
    return [_run(named, group) for group in groups]


def _run(named: set[int], group: list[Candidate]) -> _Run:
    first, last = group[0].position, group[-1].position
    while first - 1 in named:
        first -= 1
    while last + 1 in named:
        last += 1
    anchor = min((place for place in named if first <= place <= last), default=None)
    places = range(first, last + 1)
    return _Run(group, places, group[0].weight, sum(one.cpus for one in group), sum(one.gpus for one in group), anchor)


def _best(runs: Sequence[_Run], cpus: int, nodes: int, gpus: int) -> _Run:
    """Return the best run of nodes.

    The run with named nodes, of the lowest weight, else the tightest run that suffices, else the largest.
    """
    best, best_enough = runs[0], False
    for place, run in enumerate(runs):
        enough = run.holds(cpus, nodes, gpus)
        better = run.weight < best.weight or (best.anchor is None and run.anchor is not None)
        tighter = run.cpus < best.cpus or not best_enough if enough else run.cpus > best.cpus
        if place == 0 or better or (run.weight == best.weight and tighter):
            best, best_enough = run, enough
    return best


def _within(run: _Run, cpus: int, nodes: int, gpus: int) -> Sequence[Candidate]:
    """Nodes of a run, in the order in which the job takes them.

    Named nodes first, then upwards and downwards from them; a single node that fits; or all in order.
    """
    if run.anchor is not None:
        up = [one for one in run.nodes if one.position > run.anchor]
        return [*up, *(one for one in reversed(run.nodes) if one.position < run.anchor)]
    fitting = [one for one in run.nodes if one.cpus >= cpus and one.gpus >= gpus] if nodes <= 1 else []
    return [min(fitting, key=lambda one: one.cpus)] if fitting else run.nodes
