"""Helpers of tests on the real SkyPilot: a site that sends every job there, with long time limits."""

from __future__ import annotations

import asyncio
import os
import re
import time
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kills import Proxy
from local_engine import BIN, LocalEngine, local_engine

from slurmsky.engines.sky.api import api_server
from slurmsky.engines.sky.api.api_client import Client
from slurmsky.engines.sky.api.api_errors import Unreachable
from slurmsky.site import load

Answer = TypeVar("Answer")

__all__ = [
    "BIN",
    "BUDGET",
    "ENDPOINT",
    "LIMITS",
    "NODES",
    "PATIENCE_S",
    "SITE",
    "SKY_BIN",
    "WARM_CLUSTERS",
    "LocalEngine",
    "Nodes",
    "WarmEngine",
    "answers",
    "cluster_of",
    "clusters",
    "commands",
    "release",
    "requested",
    "wait",
    "warm_nodes",
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
LIMITS = "[limits]\nkill_wait_s = 2\n"
BUDGET = """
[[budget]]
account = "poor"
hourly = 0.001
"""
#: warm nodes, four of the rig's size, which all tests share; and one in a partition of its own, which a test loses
KEPT = """nodes = "k[1-4]"
shape = { cpus = 4, memory = 2 }
suspend_time = "INFINITE"
resume_timeout = "20:00"
[[partition]]
name = "apart"
infra = "slurm/oracle/debug"
nodes = "t1"
shape = { cpus = 4, memory = 1 }
suspend_time = "0:30"
resume_timeout = "20:00"
[sky]
reach = "ssh"
start_server = false
"""
#: how SkyPilot's names of the clusters of these partitions begin
WARM_CLUSTERS = ("kept-debug-", "kept-apart-")
#: the kinds of nodes that tests run on
NODES = os.environ.get("SLURMSKY_RIG_NODES", "managed,kept").split(",")


def answers() -> bool:
    """Whether an API server answers."""
    try:
        with urllib.request.urlopen(f"{ENDPOINT}/api/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@contextmanager
def commands(folder: Path, more: str = "", **env: str) -> Iterator[LocalEngine]:
    """Our commands with a site file in ``folder``, to which ``more`` is added."""
    site = folder / "site.toml"
    site.write_text(SITE + more)
    with local_engine(site, **{"SKYPILOT_API_SERVER_ENDPOINT": ENDPOINT, **env}) as engine:
        yield engine


@dataclass(frozen=True)
class WarmEngine:
    """The commands of all tests on warm nodes; one launch brings up the four nodes."""

    engine: LocalEngine
    proxy: Proxy  # between these commands and the API server
    before: frozenset[str]  # clusters that SkyPilot had before

    def clusters(self) -> set[str]:
        """The clusters of warm nodes that SkyPilot has started since."""
        return {name for name in clusters() - self.before if name.startswith(WARM_CLUSTERS)}

    def clusters_in_use(self) -> set[str]:
        """The clusters whose nodes the commands show as up or powering up or down."""
        nodes = self.engine.run(["sinfo", "-hN", "-o", "%N"]).stdout.split()
        return {cluster_of(self.engine, node) for node in nodes} - {""}

    def wait_for_clusters(self, expected: set[str]) -> None:
        """Wait until SkyPilot has these clusters of warm nodes, and no other."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.clusters()) != expected:
            assert time.monotonic() < deadline, f"SkyPilot has {found}, not {expected}"
            time.sleep(2)


@contextmanager
def warm_nodes(folder: Path) -> Iterator[WarmEngine]:
    """Power four nodes up, and down at the end."""
    proxy = Proxy(ENDPOINT)
    proxy.start()
    path = f"{BIN}:{SKY_BIN}:/usr/local/bin:/usr/bin:/bin"
    before = clusters()
    with commands(folder, KEPT + LIMITS + BUDGET, PATH=path, SKYPILOT_API_SERVER_ENDPOINT=proxy.endpoint) as engine:
        try:
            up = engine.run(["srun", "-N4", "true"], limit_s=PATIENCE_S)
            assert up.returncode == 0, up.stderr
            warm = WarmEngine(engine, proxy, before)
            yield warm
        finally:
            release(engine)
        warm.wait_for_clusters(set())


@dataclass(frozen=True)
class Nodes:
    """The kind of nodes on which a test's jobs run: managed (new nodes for each job) or kept."""

    kind: str
    kept: WarmEngine | None = None

    def commands(self, folder: Path, more: str = "", **env: str) -> AbstractContextManager[LocalEngine]:
        """Commands with a private site file in ``folder``, or those of the warm nodes."""
        return commands(folder, more, **env) if self.kept is None else nullcontext(self.kept.engine)


def release(engine: LocalEngine) -> None:
    """Power all warm nodes down, and wait until SkyPilot has released them."""
    engine.run(["scancel", "--me"])  # a job that is requeued would power its nodes up again
    names = ",".join(engine.run(["sinfo", "-h", "-o", "%N"]).stdout.split())
    engine.run(["scontrol", "update", f"NodeName={names}", "State=POWER_DOWN_FORCE"])
    deadline = time.monotonic() + PATIENCE_S
    while not all(word.endswith("~") for word in engine.run(["sinfo", "-hN", "-o", "%t"]).stdout.split()):
        assert time.monotonic() < deadline
        time.sleep(1)


def cluster_of(engine: LocalEngine, node: str) -> str:
    """SkyPilot's name of the cluster that a warm node belongs to."""
    found = re.search(r"InstanceId=(\S+)", engine.run(["scontrol", "show", "node", node]).stdout)
    return found[1] if found else ""


def clusters() -> frozenset[str]:
    """Names of SkyPilot's clusters that have nodes, as soon as the API server has the time to answer."""
    body = {"include_credentials": False, "include_handle": False, "summary_response": True}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            client = api_server.connect(os.environ, load(SITE, "site.toml"), "root")
            return frozenset(row["name"] for row in requested(client, client.call("/status", body)) or ())
        except Unreachable:
            if time.monotonic() > deadline:
                raise


def requested(client: Client, request: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer to one request, in a separate event loop that leaves no connection open."""

    async def ask() -> Answer:
        try:
            return await request
        finally:
            await client.close()

    return asyncio.run(ask())


def wait(engine: LocalEngine, command: list[str], words: set[str]) -> str:
    """A command's output, once its first word is one of these. The command itself does not wait for SkyPilot."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        output = engine.run(command).stdout.strip()
        if (output.split() or [""])[0] in words:
            return output
        time.sleep(2)
    raise AssertionError(f"{command}: {output} after {PATIENCE_S} s")
