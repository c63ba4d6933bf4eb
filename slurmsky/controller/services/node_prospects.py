"""Expected start and cost of jobs on warm nodes. Budgets, sbatch --test-only and slurmsky explain use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ...engines.base import EngineError, background
from ...engines.powered import PoweredEngine
from ...language import hostlist
from ...model.allocation import NodeShare
from ...site.record import WarmNodes
from ..jobs.job_table import JobTable
from .node_hours import NodeHours

#: seconds that a command waits for the price of a node
PRICE_S = 3.0
#: seconds until a price that SkyPilot could not report is requested again
RETRY_S = 30.0


class NodeProspects:
    """Estimates from earlier prices and start-up times of nodes."""

    def __init__(
        self,
        job_table: JobTable,
        warm: Mapping[str, WarmNodes],
        engine: PoweredEngine,
        hours: NodeHours,
        schedule_soon: Callable[[], None],
    ) -> None:
        self.job_table = job_table
        self.warm_nodes = warm
        self.engine = engine
        self.hours = hours
        self._schedule_soon = schedule_soon
        self._partition_of = {name: partition for partition, one in warm.items() for name in one.names}
        self._prices: dict[str, float] = {}  # of a node, by partition; 0.0: SkyPilot has no price
        self._asking: set[str] = set()

    async def _price(self, partition: str) -> float:
        """Price of a node in dollars an hour; 0.0: unknown.

        SkyPilot is queried if no node of the partition has been up.
        """
        known = self._known(partition)
        if known is None:
            with suppress(EngineError, asyncio.TimeoutError):
                known = self._prices[partition] = await asyncio.wait_for(self.engine.price(partition), PRICE_S)
        return known or 0.0

    def _known(self, partition: str) -> float | None:
        """Return the known price; None: SkyPilot has not answered yet."""
        return self.hours.last_price(partition) or self._prices.get(partition)

    def hourly(self, shares: Sequence[NodeShare]) -> float | None:
        """Return dollars an hour of shares of nodes.

        0.0: no warm nodes, or no price. None: the price is being requested.
        """
        partition = self._partition_of.get(shares[0].name, "")
        if not partition:
            return 0.0
        known = self._known(partition)
        if known is not None:
            return self.hours.hourly(shares, self.job_table.clock(), known)
        if partition not in self._asking:
            self._asking.add(partition)
            background(self._request_price(partition))
        return None

    async def _request_price(self, partition: str) -> None:
        """Request a node's price from SkyPilot."""
        try:
            self._prices[partition] = await self.engine.price(partition)
        except EngineError:
            await asyncio.sleep(RETRY_S)
        finally:
            self._asking.discard(partition)
        self._schedule_soon()

    async def outlook(self, shares: Sequence[NodeShare], start: float) -> str:
        """Return when a job on these shares starts, and its hourly cost.

        "" if no node is a warm node. ``start``: the scheduler's expected start in epoch seconds.
        """
        names = [share.name for share in shares]
        if not names or any(name not in self._partition_of for name in names):
            return ""
        wait = self.engine.ready_in(names)
        what = (
            f"they must be powered up, which takes about {wait:.0f} s"
            if wait
            else "they are up: it starts at once"
            if start <= self.job_table.clock() + 1
            else "they are up, and other jobs use them until then"
        )
        price = await self._price(self._partition_of[names[0]])
        hourly = self.hours.hourly(shares, self.job_table.clock(), price)
        return f"Warm nodes {hostlist.compress(names)}: {what}{f'; ${hourly:.2f} an hour' if hourly else ''}"

    async def summary(self, partition: str) -> str:
        """Describe a partition's warm nodes: number up, start time, price; "" if there are no warm nodes."""
        warm = self.warm_nodes.get(partition)
        if warm is None:
            return ""
        up = [name for name in warm.names if self.engine.fleet.is_up(name)]
        free = sum(1 for name in up if not self.job_table.uses[name].jobs)
        price = await self._price(partition)
        share = f"a job pays its share{f' of ${price:.2f} an hour and node' if price else ''}"
        usual = f"within about {self.engine.fleet.usual_s(partition):.0f} s and stay until idle for SuspendTime"
        if not up:
            return f"Warm nodes: none of {len(warm.names)} is up. They come up {usual}; {share}."
        return (
            f"Warm nodes: {len(up)} of {len(warm.names)} are up, {free} of them idle"
            f"{': a job that they hold starts at once' if free else ''}; {share}. Others come up {usual}."
        )
