"""What tests of the commands on the real SkyPilot share: a site that sends every job there, and much patience."""

from __future__ import annotations

import asyncio
import os
import re
import time
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from local_engine import BIN, LocalEngine, local_engine

from slurmsky.engines.sky.api_client import Client

Answer = TypeVar("Answer")

__all__ = [
    "BIN", "ENDPOINT", "NODES", "PATIENCE_S", "SITE", "SKY_BIN", "LocalEngine", "answers", "asked", "cluster_of",
    "commands", "wait",
]  # fmt: skip

#: a server elsewhere can be named as for SkyPilot's own commands
ENDPOINT = os.environ.setdefault("SKYPILOT_API_SERVER_ENDPOINT", "http://127.0.0.1:46580")
PATIENCE_S = 1200
#: where sky_up.sh puts SkyPilot's own commands, its ssh to a cluster's nodes among them
SKY_BIN = Path(os.environ.get("RIG_DIR") or Path.home() / ".cache" / "slurmsky-rig") / "sky" / "bin"

SITE = """engine = "sky"
[[partition]]
name = "debug"
default = true
infra = "slurm/oracle/debug"
"""
#: added to the partition: its nodes are kept, four of the rig's size
KEPT = 'nodes = "k[1-4]"\nshape = { cpus = 4, memory = 2 }\nsuspend_time = "30:00"\nresume_timeout = "20:00"\n'
#: the kinds of nodes that tests run on: managed jobs, unless SLURMSKY_RIG_NODES names others (managed,kept)
NODES = os.environ.get("SLURMSKY_RIG_NODES", "managed").split(",")


def answers() -> bool:
    """An API server is there."""
    try:
        with urllib.request.urlopen(f"{ENDPOINT}/api/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@contextmanager
def commands(folder: Path, more: str = "", nodes: str = "managed", **env: str) -> Iterator[LocalEngine]:
    """Our commands with a site file in ``folder``, which has ``more``. ``nodes``: managed or kept."""
    site = folder / "site.toml"
    site.write_text(SITE + (KEPT if nodes == "kept" else "") + more)
    with local_engine(site, **{"SKYPILOT_API_SERVER_ENDPOINT": ENDPOINT, **env}) as engine:
        try:
            yield engine
        finally:
            if nodes == "kept":
                release(engine)


def release(engine: LocalEngine) -> None:
    """Power all kept nodes down, and wait until SkyPilot has released them."""
    engine.run(["scancel", "--me"])  # a job that is requeued would power its nodes up again
    names = ",".join(engine.run(["sinfo", "-h", "-o", "%N"]).stdout.split())
    engine.run(["scontrol", "update", f"NodeName={names}", "State=POWER_DOWN_FORCE"])
    deadline = time.monotonic() + PATIENCE_S
    while not all(word.endswith("~") for word in engine.run(["sinfo", "-hN", "-o", "%t"]).stdout.split()):
        assert time.monotonic() < deadline
        time.sleep(1)


def cluster_of(engine: LocalEngine, node: str) -> str:
    """SkyPilot's name of the cluster that a kept node belongs to."""
    found = re.search(r"InstanceId=(\S+)", engine.run(["scontrol", "show", "node", node]).stdout)
    return found[1] if found else ""


def asked(client: Client, request: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer to one request, in an event loop of its own, which leaves no connection open."""

    async def ask() -> Answer:
        try:
            return await request
        finally:
            await client.close()

    return asyncio.run(ask())


def wait(engine: LocalEngine, command: list[str], words: set[str]) -> str:
    """What a command says, once its first word is one of these; it never waits for SkyPilot itself."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        said = engine.run(command).stdout.strip()
        if (said.split() or [""])[0] in words:
            return said
        time.sleep(2)
    raise AssertionError(f"{command}: {said} after {PATIENCE_S} s")
