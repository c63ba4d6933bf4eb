"""Measures the delay of a job's lines in the user's file, relative to SkyPilot's own stream of the log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from slurmsky.engines.sky.api import api_server
from slurmsky.engines.sky.api.api_client import Client
from slurmsky.engines.sky.api.api_errors import SkyError
from slurmsky.site import Site

#: what `date +%s.%N` prints; in the log a mark of ours follows, or the end of the line
STAMP = re.compile(rb"(?<!\d)\d{10}\.\d{9}(?=\x1b\[|\n)")
CATCH_UP_S = 60.0  # for so long a stream may show what was printed before it began
SILENT_S = 20.0  # SkyPilot's server may stop feeding a stream and keep it open: one without news is reopened


class Lateness(threading.Thread):
    """Reads the stream of a managed job as `sky jobs logs` does, and the file, in a separate thread."""

    def __init__(self, managed_job_id: int, path: Path, environ: Mapping[str, str], site: Site) -> None:
        super().__init__(daemon=True)
        self._job, self._path, self._site, self._environ = managed_job_id, path, site, environ
        self.shown: dict[bytes, float] = {}  # stamp -> when the stream had it
        self.there: dict[bytes, float] = {}  # ... and the file
        self._live = float("inf")  # when the stream had caught up: what was printed before comes late by it
        self._over = False

    def run(self) -> None:
        asyncio.run(self._both())

    async def _both(self) -> None:
        client = api_server.connect(self._environ, self._site, "root")
        watching = asyncio.ensure_future(self._watch())
        while not self._over:
            with contextlib.suppress(SkyError):  # a stream that breaks off is reopened, as any reader does
                await self._read(client)
            await asyncio.sleep(1)
        await watching
        await client.close()

    async def _read(self, client: Client) -> None:
        rest, news = b"", time.time()
        chunks = aiter(client.logs(self._job, follow=True))
        while not self._over and time.time() - news < SILENT_S:
            try:
                chunk = await asyncio.wait_for(anext(chunks), SILENT_S)
            except (StopAsyncIteration, asyncio.TimeoutError):
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                for stamp in STAMP.findall(line + b"\n"):
                    if stamp not in self.shown:
                        self.shown[stamp] = news = time.time()
                    if time.time() - float(stamp) < 2 or time.time() - min(self.shown.values()) > CATCH_UP_S:
                        self._live = min(self._live, float(stamp))

    async def _watch(self) -> None:
        position, rest = 0, b""
        while not self._over:
            await asyncio.sleep(0.02)
            if self._path.exists() and os.path.getsize(self._path) > position:
                with self._path.open("rb") as file:
                    file.seek(position)
                    data = file.read()
                position += len(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    for stamp in STAMP.findall(line + b"\n"):
                        self.there.setdefault(stamp, time.time())

    def stop(self) -> None:
        """Wait until the job has ended and the file is complete."""
        time.sleep(0.1)
        self._over = True

    @property
    def late_s(self) -> list[float]:
        """Delays of the lines that were printed after the stream had caught up, and that both have."""
        live = [stamp for stamp in list(self.shown) if float(stamp) > self._live and stamp in self.there]
        return [self.there[stamp] - self.shown[stamp] for stamp in live]
