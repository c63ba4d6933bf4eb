"""Cache of nodes in SkyPilot's enabled infras, for sinfo and scontrol.

The store keeps the last answer, so that the first sinfo of a new controller shows these nodes, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...engines import offers
from ...engines.cloud import CloudAccount
from ...model import plain
from ...model.cluster import ClusterConfig
from ...model.job import Node
from ...site import Site
from ..jobs.job_table import JobTable

FRESH_S = 60.0  # seconds for which an answer is not requested again
STALE_S = 3600.0  # seconds after which an answer is refreshed at the controller's start, before a command needs it
_NOTE = "inventory"


@dataclass(frozen=True)
class _Kept:
    endpoint: str
    time: float
    offers: list[offers.Offer]
    unlisted: Sequence[str] = ()


class Infra:
    """The inventory and the time of its last read. ``on_sky``: returns True for a partition on SkyPilot."""

    def __init__(self, job_table: JobTable, site: Site, account: CloudAccount, on_sky: Callable[[str], bool]) -> None:
        self.job_table = job_table
        self.site = site
        self.account = account
        self.on_sky = on_sky
        self._wanted = False
        self.read_at = 0.0  # epoch second
        self.offers: Sequence[offers.Offer] = []
        self.unlisted: Sequence[str] = []  # enabled infras without nodes
        kept = job_table.store.damage.parse_note(
            _NOTE,
            lambda kept: plain.read(_Kept, kept),
        )
        if kept is not None and kept.endpoint == account.endpoint:
            self.read_at, self.offers, self.unlisted = kept.time, kept.offers, kept.unlisted
        self._wanted = time.time() - self.read_at > STALE_S

    def request_refresh(self) -> None:
        """Request a refresh of the inventory, which a command shows."""
        self._wanted = True

    def recent_inventory(self) -> offers.Inventory:
        """Return the nodes of a recent read, and request a due refresh."""
        age = self.job_table.clock() - self.read_at
        if age > FRESH_S:
            self.request_refresh()
        return offers.Inventory(self.offers if age < STALE_S else (), self.unlisted)

    async def refresh(self) -> None:
        """Read the inventory if a command needs it and it is old. Raises EngineError, StoreError."""
        now = self.job_table.clock()
        if not self._wanted or now - self.read_at < FRESH_S:
            return
        if not any(self.on_sky(part.name) for part in self.job_table.cluster.partitions):
            return
        self._wanted = False
        self.offers, self.unlisted = await self.account.inventory()
        self.read_at = now
        kept = _Kept(self.account.endpoint, now, list(self.offers), list(self.unlisted))
        self.job_table.store.put_note(_NOTE, json.dumps(plain.write(kept)))

    def nodes(self) -> dict[str, Node]:
        """Nodes of this machine in its partitions, and nodes of the infras."""
        cluster = self.job_table.cluster
        here = [part for part in cluster.partitions if not self.on_sky(part.name)]
        found = {}
        for name, node in self.job_table.nodes.items():
            mine = tuple(part.name for part in here if name in part.nodes)
            if mine:
                found[name] = node if mine == node.partitions else replace(node, partitions=mine)
        there = {
            part.name: self.site.sky_partition(part.name).infra for part in cluster.partitions if self.on_sky(part.name)
        }
        found.update(offers.nodes(self.offers, found, there))
        return found

    def cluster(self) -> ClusterConfig:
        """Return the cluster including these nodes."""
        nodes, cluster = self.nodes(), self.job_table.cluster
        members: dict[str, list[str]] = {}
        for name, node in nodes.items():
            for part in node.partitions:
                members.setdefault(part, []).append(name)
        partitions = tuple(
            replace(part, nodes=tuple(members.get(part.name, ()))) if self.on_sky(part.name) else part
            for part in cluster.partitions
        )
        return replace(cluster, nodes=tuple(node.config for node in nodes.values()), partitions=partitions)
