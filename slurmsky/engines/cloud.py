"""The interface of an engine with a cloud: inventory, prices, bills and the jobs of others.

The controller's services and the commands know these interfaces; ``registry`` names the engines that implement them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..model.allocation import Launch
from ..model.spec import JobSpec
from ..site.record import Site, WarmNodes
from ..translate.sky_task.status import MappedStatus
from .base import Engine, EngineError
from .offers import Inventory


class RequestRefused(EngineError):
    """The cloud understood the request and refuses it; the text gives its reason."""


class LoginRequired(EngineError):
    """The cloud requires a login."""


@dataclass(frozen=True)
class ManagedJobInfo:
    """One job of a cloud at the time of a read, its tasks combined. Times are epoch seconds, 0.0 unknown."""

    managed_job_id: int
    name: str
    status: str  # the cloud's word
    seen: MappedStatus
    over: bool = False
    user: str = ""
    workspace: str = ""
    submit_time: float = 0.0
    start_time: float = 0.0
    end_time: float = 0.0
    infra: str = ""  # "slurm/oracle/debug"
    nodes: int = 1
    cpus: int = 1  # per node
    gpus: str = ""  # "h100:8", per node
    node_names: tuple[str, ...] = ()
    recoveries: int = 0
    details: str = ""
    clusters: tuple[str, ...] = ()  # names of its clusters, under which bills list them
    pool: str = ""


@dataclass(frozen=True)
class Bill:
    """A cluster's cost so far in dollars, its price per hour, and whether it still costs."""

    dollars: float = 0.0
    hourly: float = 0.0
    open: bool = False


class CloudAccount(Protocol):
    """One user's account at a cloud."""

    endpoint: str
    user: str
    #: clusters whose bills one request may read
    bills_at_once: int

    @property
    def key(self) -> str:
        """Store key of this server and user."""

    @property
    def requests(self) -> int:
        """The requests sent until now."""

    async def inventory(self) -> Inventory:
        """All nodes of all enabled infras. Raises EngineError."""

    async def jobs(self, open_ids: Iterable[int], newest: int) -> list[ManagedJobInfo]:
        """The newest jobs down to the id ``newest``, and those in ``open_ids``; 0: a first read. Raises EngineError."""

    async def cancel(self, managed_job_ids: Sequence[int]) -> None:
        """Cancel jobs. Raises EngineError, whose ``passing`` says whether the request may succeed later."""

    async def bills(self, clusters: Sequence[str]) -> dict[str, Bill]:
        """Bills by cluster; a cluster that never came up has none. Raises EngineError."""


#: the price of a job: a key that jobs of equal price share, and the function that requests it (dollars an hour)
PriceQuestion = tuple[str, Callable[[], Awaitable["float | None"]]]


class CloudEngine(Engine, Protocol):
    """An engine that launches jobs in a cloud account."""

    account: CloudAccount

    def price_question(self, components: Sequence[tuple[JobSpec, str]]) -> PriceQuestion | None:
        """A query for the price of a job with these (spec, partition) components; None: it can never run."""

    def names(self) -> set[str]:
        """Names in the cloud of all jobs that this engine launches or follows."""

    def clusters(self) -> dict[int, str]:
        """Jobs that hold a separate cluster, with the cluster's name."""


class CloudService(Protocol):
    """The cloud's server, as commands query it. Every coroutine raises EngineError."""

    #: the server's address without passwords
    endpoint: str
    #: the server runs on this machine
    local: bool
    #: this user has used the cloud before or configured a server
    configured: bool

    async def version(self) -> str:
        """The server's version; "" if it reports none."""

    async def enabled(self) -> list[str]:
        """Names of the enabled infras, in lower case."""

    async def validate(self, task: str) -> None:
        """Have the server validate a task. Raises RequestRefused."""

    async def optimize(self, task: str) -> str:
        """The optimizer's table of infras that could run a task, with prices. Raises RequestRefused."""

    async def check_warm_nodes(self, partition: str, warm: WarmNodes, site: Site) -> str:
        """The reason why the cloud cannot provide such nodes; "" when it can."""

    def pack(self, launch: Launch, name: str, folder: Path, site: Site) -> Packed:
        """Write the folder and the program with which nodes run a job without a controller. Raises OSError."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class Packed:
    """A job's shipment. ``withheld``: the credentials that stay on this machine, in one sentence."""

    folder: Path
    program: Path
    withheld: str = ""
