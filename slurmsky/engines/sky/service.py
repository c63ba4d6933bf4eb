"""SkyPilot's API server for commands, as engines.cloud.CloudService."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ...model.allocation import Launch
from ...site.record import Site, WarmNodes
from ...translate.sky_task.credentials import redacted
from ..cloud import Packed
from ..files.launch_needs import environment_of, folder_above, leave_credentials, links_of
from ..powered import Order
from .account import existing_cluster
from .api import api_server
from .api.api_errors import Rejected
from .engine_setting import is_set_up
from .launch import shipment, workdir
from .pilot_provider import task_fields


class SkyService:
    """The server of the user's SkyPilot commands. Nothing is sent before the first request."""

    def __init__(self, environment: Mapping[str, str], site: Site, user: str) -> None:
        self._client = api_server.connect(environment, site, user)
        self.endpoint = redacted(self._client.access.endpoint)
        self.local = self._client.access.local
        self.configured = is_set_up(environment, site)

    async def version(self) -> str:
        """Return SkyPilot's version; "" if the server reports none."""
        return str((await self._client.health()).get("version") or "")

    async def enabled(self) -> list[str]:
        """Names of the enabled infras, in lower case."""
        return await api_server.enabled_infra(self._client)

    async def validate(self, task: str) -> None:
        """Validate a task on the server."""
        await self._client.validate(task)

    async def optimize(self, task: str) -> str:
        """Return the optimizer's table for a task."""
        return await self._client.optimize(task)

    async def check_warm_nodes(self, partition: str, warm: WarmNodes, site: Site) -> str:
        """Return why SkyPilot cannot provide such nodes, or ""."""
        if warm.cluster:
            body = {"cluster_names": [warm.cluster], "include_credentials": False, "include_handle": False}
            rows = await self._client.call("/status", {**body, "summary_response": True})
            if not rows:
                return f"SkyPilot has no cluster {warm.cluster} (sky status)"
            return existing_cluster.read(rows[0]).objection(warm.cluster, len(warm.names))
        task = json.dumps({**task_fields(warm, Order("check", partition, list(warm.names[:1])), site), "run": "true"})
        try:
            await self._client.validate(task)
            await self._client.optimize(task)
        except Rejected as error:
            return f"no infra has such nodes: {error}"
        return ""

    def pack(self, launch: Launch, name: str, folder: Path, site: Site) -> Packed:
        """Write a job's shipment below ``folder``. Later shipments use the same program."""
        shipped_folder, stays = folder_above(launch, site.sky.upload_mib << 20, folder.parent.parent)
        withheld = "; ".join(filter(None, (leave_credentials([launch], site), stays)))
        sky = site.sky
        contents = shipment.ShipmentContents(
            launch,
            name,
            upload_mib=sky.upload_mib,
            return_mib=sky.return_mib,
            environment=environment_of(launch, site),
            links=links_of(launch),
            shipped_folder=shipped_folder,
        )
        packed = shipment.pack(contents, folder / "ship" / "job", folder.parent / "programs")
        return Packed(packed.folder, packed.program, withheld, workdir.replace_archive(packed.folder))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
