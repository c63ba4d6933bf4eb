"""Creates the engines of a site.

This module and ``Controller.choose_engine`` name engines; other modules read an engine's attributes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..site.record import Site
from .base import Choice, OnEvent
from .cloud import CloudAccount, CloudEngine, CloudService
from .local import LocalEngine
from .offers import Inventory
from .powered import PoweredEngine

if TYPE_CHECKING:
    from .sky.api.api_client import Client
    from .sky.api.api_server import LocalServer


def local_engine(
    home: Path, bin_dir: Path | None, environment: dict[str, str], claim: str, on_event: OnEvent
) -> LocalEngine:
    """Return this machine's engine. ``claim``: the file whose lock the agents keep while jobs run."""
    return LocalEngine(home, on_event, bin_dir, environment, claim)


def cloud_service(environment: Mapping[str, str], site: Site, user: str) -> CloudService:
    """Return SkyPilot's server for commands."""
    from .sky.service import SkyService

    return SkyService(environment, site, user)


class Cloud:
    """The engines that share one connection to SkyPilot."""

    def __init__(self, environment: Mapping[str, str], site: Site, user: str, home: Path, on_event: OnEvent) -> None:
        self._environment = environment
        self._site = site
        self._home = home
        self._on_event = on_event
        self._user = user
        self._server: LocalServer | None = None

    @cached_property
    def _client(self) -> Client:
        from .sky.api import api_server

        return api_server.connect(self._environment, self._site, self._user)

    @cached_property
    def account(self) -> CloudAccount:
        """The user's managed jobs, prices and infras on that server."""
        from .sky.account.sky_account import SkyAccount

        return SkyAccount(self._client)

    async def choose_engine(self, wanted: str, patience_s: float) -> Choice:
        """Select SkyPilot or this machine.

        ``wanted``: SLURMSKY_ENGINE, which overrides the site's setting. SkyPilot's modules are not imported where it is
        not needed: they would add a third to the time in which a controller starts.
        """
        from .sky.engine_setting import configured_engine

        configured = configured_engine(self._environment, self._site, wanted)
        if configured is not None and configured.engine == "local":
            return configured
        from .sky.api import api_server, http_transport

        await asyncio.to_thread(http_transport.preload)
        return configured or await api_server.choose_engine(self._client, patience_s)

    def _start_server(self) -> None:
        """Start this machine's API server if needed and permitted.

        It is needed if no process listens at its address.
        """
        from .sky.api.api_server import LocalServer

        if self._site.sky.start_server and self._server is None:
            self._server = LocalServer(self._client, self._environment)

    def jobs_engine(self, inventory: Callable[[], Inventory]) -> CloudEngine:
        """Return the engine that launches jobs. ``inventory``: returns the last one read, while it is recent."""
        from .sky.sky_engine import SkyEngine

        self._start_server()
        return SkyEngine(self._home, self._on_event, self._site, self._client, inventory)

    def warm_engine(self) -> PoweredEngine:
        """Return the engine of the partitions with warm nodes."""
        from .nodes import NodesEngine
        from .sky.pilot_provider import Pilots

        self._start_server()
        pilots = Pilots(self._client, self._site, self._home / "kept")
        sky, warm = self._site.sky, dict(self._site.warm_nodes)
        return NodesEngine(
            self._home, self._on_event, warm, pilots, pilots.prepare, sky.reach, sky.upload_mib, sky.credentials
        )

    def close(self) -> None:
        """Stop waiting for the server's start."""
        if self._server is not None:
            self._server.close()
