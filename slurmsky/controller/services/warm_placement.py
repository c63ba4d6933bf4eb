"""Chooses a job's nodes among warm nodes that are up or off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...engines.powered import PoweredEngine
from ...model.allocation import NodeShare
from ...site.record import WarmNodes
from ..jobs.job_table import JobTable
from ..rules.demand import Demand
from ..rules.job_placement import place
from ..rules.node_use import NodeUse


class WarmPlacement:
    """Places jobs on nodes that can connect to each other. ``warm``: the warm nodes of each partition."""

    def __init__(self, job_table: JobTable, warm: Mapping[str, WarmNodes], engine: PoweredEngine) -> None:
        self.job_table = job_table
        self.warm_nodes = warm
        self.engine = engine
        self._partition_of = {name: partition for partition, one in warm.items() for name in one.names}

    def place(self, demand: Demand, nodes: Sequence[NodeUse], consume_memory: bool = True) -> list[NodeShare] | None:
        """Place a job as job_placement.place does, preferring nodes that are up.

        A job's nodes must have network connections to each other.
        """
        if not any(use.config.name in self._partition_of for use in nodes):
            return place(demand, nodes, consume_memory)
        there = [use for use in nodes if self.engine.neighbourhood(use.config.name)]
        shares = place(demand, there, consume_memory)
        if shares is not None and self._one_neighbourhood(shares):
            return shares
        for group in self.neighbourhoods(nodes):
            shares = place(demand, group, consume_memory)
            if shares is not None:
                return shares
        return None

    def place_later(
        self, demand: Demand, nodes: Sequence[NodeUse], consume_memory: bool = True
    ) -> list[NodeShare] | None:
        """Place a job on nodes as they may be later. Idle nodes can be powered down for it."""
        shares = self.place(demand, nodes, consume_memory)
        for partition in self.warm_nodes if shares is None else ():
            mine = [use for use in nodes if self._partition_of.get(use.config.name) == partition]
            shares = shares or place(demand, self.startable(mine), consume_memory)
        return shares

    def neighbourhoods(self, nodes: Sequence[NodeUse]) -> list[list[NodeUse]]:
        """Groups of nodes with connections, or of one order.

        Nodes that are up come first, then nodes that are powering up.
        """
        groups: dict[tuple[int, object], list[NodeUse]] = {}
        for use in nodes:
            name = use.config.name
            number, order = self.engine.neighbourhood(name), self.engine.fleet.order_of(name)
            off = (2, self._partition_of.get(name))
            groups.setdefault((0, number) if number else (1, order.name) if order else off, []).append(use)
        return [groups[key] for key in sorted(groups, key=lambda key: key[0])]

    def startable(self, nodes: Sequence[NodeUse]) -> list[NodeUse]:
        """Nodes that one order can start: off, powering down, or idle."""
        known = {use.config.name: use for use in nodes}
        off, leaving, idle = [], [], []
        for name, use in known.items():
            order = self.engine.fleet.order_of(name)
            if order is None:
                off.append(use)
            elif order.existing or any(known.get(node, self.job_table.uses[node]).jobs for node in order.nodes):
                continue
            elif order.phase == "leaving":
                leaving.append(replace(use, available=True))
            else:
                idle.append(use)
        return [*off, *leaving, *idle]

    def _one_neighbourhood(self, shares: Sequence[NodeShare]) -> bool:
        return len({self.engine.neighbourhood(share.name) for share in shares}) == 1
