"""Finds, checks and starts SkyPilot's API server."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ....site import Site
from ...base import Choice, background
from .api_access import DEFAULT_ENDPOINT, find_access
from .api_client import Client
from .api_errors import SkyError, Unreachable
from .user_config import ConfigError, UserConfig, user_hash

log = logging.getLogger("slurmsky.sky")

START_S = 120.0
RESTART_S = 600.0  # seconds between two attempts to start a server


def connect(environment: Mapping[str, str], site: Site, user: str) -> Client:
    """Return a client of the user's API server.

    It is the server that the user's SkyPilot commands use. Sends no request.
    """
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    config = UserConfig(environment, home)
    try:
        known = config.user()
    except ConfigError as error:
        log.warning("SkyPilot's configuration: %s", error)  # each request repeats the error until the file is corrected
        known = {}
    access = find_access(environment, home, user, site.sky.endpoint, site.sky.workspace, known)
    return Client(access, config=config, create_user_id=lambda: user_hash(environment, home, access.user))


async def enabled_infra(client: Client) -> list[str]:
    """Names of the enabled infras, in lower case. Raises SkyError."""
    await client.health()
    value = await client.call("/enabled_clouds", {}, method="GET")
    return [str(cloud).lower() for cloud in value or ()]


async def choose_engine(client: Client, patience_s: float) -> Choice:
    """Select SkyPilot if it has an enabled infra, else this machine.

    The query takes at most ``patience_s``.
    """
    try:
        infra = await asyncio.wait_for(enabled_infra(client), patience_s)
    except asyncio.TimeoutError:
        return Choice("local", f"SkyPilot at {client.access.endpoint} does not answer", sure=False)
    except Unreachable as error:
        return Choice("local", str(error), sure=client.access.endpoint == DEFAULT_ENDPOINT)
    except SkyError as error:
        return Choice("local", str(error), sure=not error.may_succeed_later)
    return Choice("sky", ", ".join(infra)) if infra else Choice("local", "SkyPilot has no enabled infra")


async def start_server(client: Client, environment: Mapping[str, str]) -> None:
    """Start a local API server (``sky api start``) and wait for it. Raises Unreachable if the server does not start."""
    program = shutil.which("sky", path=environment.get("PATH"))
    if not client.access.local or program is None:
        raise Unreachable(f"no SkyPilot API server at {client.access.endpoint}")
    process = await asyncio.create_subprocess_exec(
        program,
        "api",
        "start",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
    )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            await client.health(fresh=True)
            return
        except SkyError:
            if process.returncode:
                noise = (await process.stderr.read()).decode("utf-8", "replace") if process.stderr else ""
                raise Unreachable(f"sky api start failed: {' '.join(noise.split())[-200:]}") from None
            await asyncio.sleep(1)
    raise Unreachable(f"the SkyPilot API server at {client.access.endpoint} did not start within {START_S:.0f} s")


class LocalServer:
    """This machine's API server, started on demand."""

    def __init__(self, client: Client, environment: Mapping[str, str]) -> None:
        self._client = client
        self._environment = environment
        self._starting: asyncio.Task[None] | None = None
        self._began = 0.0
        self._problem = ""
        client.on_unreachable = self.wake

    def wake(self) -> str:
        """Start the server in the background, at most once in RESTART_S seconds; return the start's state."""
        access = self._client.access
        usual = urlsplit(access.endpoint).port == urlsplit(DEFAULT_ENDPOINT).port
        if not (usual and access.local and shutil.which("sky", path=self._environment.get("PATH", ""))):
            return ""
        if self._starting is None or (self._starting.done() and time.monotonic() - self._began > RESTART_S):
            self._began, self._problem = time.monotonic(), ""
            self._starting = background(self._start())
        return self._problem if self._starting.done() else "it is being started (sky api start)"

    async def _start(self) -> None:
        try:
            await start_server(self._client, self._environment)
        except (SkyError, OSError) as error:
            self._problem = str(error)
            log.warning("%s", error)

    def close(self) -> None:
        """Stop waiting for the server's start."""
        if self._starting is not None:
            self._starting.cancel()
