"""Interface of a cloud engine: inventory, prices, bills, foreign jobs.

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
    """The cloud refuses a valid request, for the reason in the text."""


class LoginRequired(EngineError):
    """The cloud requires a login."""


@dataclass(frozen=True)
class ManagedJobInfo:
    """A job of a cloud at the time of a read, its tasks combined. Times are epoch seconds, 0.0 unknown."""

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
    clusters: tuple[str, ...] = ()  # names of its clusters in bills
    pool: str = ""


@dataclass(frozen=True)
class Bill:
    """A cluster's cost in dollars, its hourly price, and its activity. An active cluster still costs."""

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
        """Number of requests sent until now."""

    async def inventory(self) -> Inventory:
        """Return all nodes of all enabled infras. Raises EngineError."""

    async def jobs(self, open_ids: Iterable[int], newest: int) -> list[ManagedJobInfo]:
        """Return the newest jobs, and those in ``open_ids``.

        ``newest``: the lowest id of the newest jobs; 0: a first read. Raises EngineError.
        """

    async def cancel(self, managed_job_ids: Sequence[int]) -> None:
        """Cancel jobs. Raises EngineError. Its ``may_succeed_later`` is True if the request may succeed later."""

    async def bills(self, clusters: Sequence[str]) -> dict[str, Bill]:
        """Return bills by cluster. Raises EngineError. A cluster that did not start has none."""


#: price of a job: a key that jobs of equal price share, and the function that requests it (dollars an hour)
PriceQuestion = tuple[str, Callable[[], Awaitable["float | None"]]]


class CloudEngine(Engine, Protocol):
    """An engine that launches jobs in a cloud account."""

    account: CloudAccount

    def price_question(self, components: Sequence[tuple[JobSpec, str]]) -> PriceQuestion | None:
        """Return a query for a job's price; None if no node can run the job. ``components``: (spec, partition)."""

    def names(self) -> set[str]:
        """Names in the cloud of all jobs of this engine."""

    def clusters(self) -> dict[int, str]:
        """Jobs with a separate cluster, and the cluster's name."""


class CloudService(Protocol):
    """The cloud's server for commands. Every coroutine raises EngineError."""

    #: the server's address without passwords
    endpoint: str
    #: the server runs on this machine
    local: bool
    #: this user has used the cloud before or configured a server
    configured: bool

    async def version(self) -> str:
        """Return the server's version; "" if it reports none."""

    async def enabled(self) -> list[str]:
        """Names of the enabled infras, in lower case."""

    async def validate(self, task: str) -> None:
        """Validate a task on the server. Raises RequestRefused."""

    async def optimize(self, task: str) -> str:
        """Return the optimizer's table of infras and prices for a task. Raises RequestRefused."""

    async def check_warm_nodes(self, partition: str, warm: WarmNodes, site: Site) -> str:
        """Return why the cloud cannot provide such nodes, or ""."""

    def pack(self, launch: Launch, name: str, folder: Path, site: Site) -> Packed:
        """Write a job's folder and program for nodes without a controller. Raises OSError."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class Packed:
    """A job's shipment.

    ``withheld``: a sentence about the credentials that stay on this machine; ``workdir``: the folder that the task must
    have as its workdir; None: the shipment has the folder's files.
    """

    folder: Path
    program: Path
    withheld: str = ""
    workdir: Path | None = None
