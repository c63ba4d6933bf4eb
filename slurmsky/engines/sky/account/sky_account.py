"""A user's account at SkyPilot, as engines.cloud.CloudAccount. Offers, jobs and bills."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...cloud import Bill, ManagedJobInfo
from ...offers import Inventory
from ..api.api_client import Client
from . import foreign_jobs, inventory, prices


class SkyAccount:
    """Reads from the API server of ``client``."""

    bills_at_once = prices.CLUSTERS_AT_ONCE

    def __init__(self, client: Client) -> None:
        self._client = client
        self.endpoint, self.user = client.access.endpoint, client.access.user

    @property
    def key(self) -> str:
        """Return the server and SkyPilot's id of the user."""
        return f"{self.endpoint} {self._client.user_id}"

    @property
    def requests(self) -> int:
        """Number of HTTP requests that the client has sent."""
        return self._client.requests

    async def inventory(self) -> Inventory:
        """Return all nodes of all enabled infras."""
        return await inventory.read(self._client)

    async def jobs(self, open_ids: Iterable[int], newest: int) -> list[ManagedJobInfo]:
        """Return this user's newest managed jobs, and those in ``open_ids``."""
        return await foreign_jobs.read(self._client, open_ids, newest)

    async def cancel(self, managed_job_ids: Sequence[int]) -> None:
        """Cancel managed jobs, which takes about a minute."""
        await self._client.cancel(managed_job_ids)

    async def bills(self, clusters: Sequence[str]) -> dict[str, Bill]:
        """Return bills of clusters, from SkyPilot's cost report."""
        return await prices.read_bills(self._client, clusters)
