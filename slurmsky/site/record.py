"""Records that a site file is parsed into."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model.cluster import ClusterConfig
from .gpunames import known_gpu

#: the engine of a partition that names none is SkyPilot or this machine (EngineChoice)
AUTO = "auto"


class SiteError(Exception):
    """Error in the site file, as one line: file:line:column: error."""

    def __init__(self, file: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.file, self.line, self.column, self.message = file, line, column, message


@dataclass(frozen=True)
class MachineHardware:
    """Detected hardware of this machine. ``gpus``: one type name per device, "" when unknown."""

    host_name: str
    cpus: int
    sockets: int = 1
    cores: int = 1  # per socket
    threads: int = 1  # per core
    memory_mib: int = 1
    gpus: tuple[str, ...] = ()
    tmp_mib: int = 0
    arch: str = ""
    os: str = ""

    @property
    def short_name(self) -> str:
        """Host name up to the first dot."""
        return self.host_name.split(".", 1)[0] or "localhost"


@dataclass(frozen=True)
class PartitionSky:
    """SkyPilot's settings of a partition. Empty fields mean the site's default, or SkyPilot's."""

    infra: tuple[str, ...] = ()  # "kubernetes/ctx", "aws/us-east-1", "slurm/oracle/debug"; tried in this order
    spot: bool | None = None
    gpu: str = ""  # SkyPilot's name of the GPU for an untyped --gpus
    instance_type: str = ""
    image: str = ""
    pool: str = ""
    volumes: tuple[tuple[str, str], ...] = ()  # (mount path, volume name)
    price_ceiling: float | None = None  # dollars per hour and node
    max_hourly_cost: float | None = None  # dollars per hour and job
    array_nodes: int | None = None  # most nodes for one packed array
    arrays: str = ""  # packed | num_jobs | pool
    kueue_queue: str = ""
    priority_class: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    features: tuple[tuple[str, str], ...] = ()  # --constraint word -> accelerator or instance type


@dataclass(frozen=True)
class Shape:
    """Resources of a warm node, as in SkyPilot's ``resources:``."""

    cpus: str = ""  # "96" or "96+"
    memory: str = ""  # GB: "900" or "900+"
    gpus: str = ""  # "H100:8"
    disk: int = 0  # GB; 0: SkyPilot's default
    image: str = ""
    spot: bool = False
    instance_type: str = ""


@dataclass(frozen=True)
class WarmNodes:
    """Warm nodes of a partition, which SkyPilot starts. Times are in seconds."""

    names: tuple[str, ...]
    shape: Shape = Shape()
    suspend_time_s: int | None = 1200  # powered down after this idle time; None: never
    keep_up: int = 0  # minimum of running nodes
    resume_timeout_s: int = 900  # a node that takes longer to start is DOWN
    cluster: str = ""  # an existing SkyPilot cluster, which slurmsky never powers down


@dataclass(frozen=True)
class GpuNames:
    """Map of Slurm's GPU types (any case) to SkyPilot's names. It has the type for an untyped request, too."""

    names: tuple[tuple[str, str], ...] = ()
    default: str = ""

    def sky_name(self, slurm_type: str) -> str:
        """SkyPilot's accelerator name for a gres type. The default is the type in upper case."""
        wanted = slurm_type.lower()
        for name, sky in self.names:
            if name.lower() == wanted:
                return sky
        return known_gpu(slurm_type) or slurm_type.upper()


@dataclass(frozen=True)
class ModuleConfig:
    """The replacement for ``module load NAME`` on the cloud."""

    name: str
    image: str = ""
    setup: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PathMap:
    """A path of the cluster and its content.

    The content is a bucket URL, ``volume:NAME`` or ``nfs:SERVER:/PATH``. ``/*`` and ``~/*`` map each folder that a
    script names to the folder of that name in the bucket.
    """

    path: str
    target: str


@dataclass(frozen=True)
class SkyConfig:
    """SkyPilot settings of the site."""

    endpoint: str = ""  # "" = the endpoint of SkyPilot's own clients
    workspace: str = ""
    infra: tuple[str, ...] = ()  # for partitions without infra; () = SkyPilot chooses
    spot: bool = False
    image: str = ""
    arrays: str = "packed"  # packed | num_jobs | pool
    price_ceiling: float | None = None  # dollars per hour and node
    max_hourly_cost: float | None = None  # dollars per hour and job
    budget: float | None = None  # dollars per job until its time limit; a more expensive job waits
    upload_mib: int = 1024  # largest submit folder that is shipped to the nodes
    return_mib: int = 32  # largest sum of files that is sent back through the log
    bucket: str = ""  # storage for larger files, e.g. "s3://team/slurmsky"
    queue_poll_s: int = 30  # interval between full queries of the managed jobs
    reach: str = "auto"  # connection to a job's first node: direct | ssh (through SkyPilot) | auto (either)
    idle_minutes: int = 60  # an allocation (salloc, srun) without a client ends after this time; 0 = never
    start_server: bool = True  # start a local API server if none answers
    foreign: bool = True  # show managed jobs that were launched without sbatch
    credentials: tuple[str, ...] = ()  # patterns of credential variables to send to nodes


@dataclass(frozen=True)
class Budget:
    """Ceiling in dollars for the sum of jobs.

    It applies to an account, a user or a QOS, or to all jobs if none is named.
    """

    account: str = ""
    user: str = ""
    qos: str = ""
    month: float | None = None  # dollars per calendar month
    hourly: float | None = None  # dollars per hour of all running jobs


@dataclass(frozen=True)
class Route:
    """Settings of a SkyPilot task for a QOS or an account. They take precedence over the partition's."""

    kueue_queue: str = ""
    priority_class: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    max_hourly_cost: float | None = None  # dollars per hour and job; for a QOS only


@dataclass(frozen=True)
class Site:
    """The content of the site file."""

    cluster: ClusterConfig
    engine: str = AUTO  # auto | sky | local
    sky: SkyConfig = SkyConfig()
    partition_sky: tuple[tuple[str, PartitionSky], ...] = ()
    warm_nodes: tuple[tuple[str, WarmNodes], ...] = ()  # by partition
    gpus: GpuNames = GpuNames()
    modules: tuple[ModuleConfig, ...] = ()
    #: whether the shipped map (modules.toml) applies to modules that the site file does not name
    shipped_modules: bool = False
    environments: tuple[tuple[str, str], ...] = ()  # conda environment or venv folder -> its packages
    programs: tuple[tuple[str, str], ...] = ()  # program -> command that installs it on a node
    paths: tuple[PathMap, ...] = ()
    budgets: tuple[Budget, ...] = ()
    accounts: tuple[str, ...] = ()  # () = any account is accepted
    qos_routes: tuple[tuple[str, Route], ...] = ()
    account_routes: tuple[tuple[str, Route], ...] = ()
    first_job_id: int = 1
    source: str = ""  # the file's name
    environment: tuple[tuple[str, str], ...] = field(default=())  # set in every job

    def sky_partition(self, name: str) -> PartitionSky:
        """SkyPilot's settings of a partition, with the site's defaults."""
        found = dict(self.partition_sky).get(name, PartitionSky())
        return PartitionSky(
            **{
                **found.__dict__,
                "infra": found.infra or self.sky.infra,
                "spot": self.sky.spot if found.spot is None else found.spot,
                "image": found.image or self.sky.image,
                "gpu": found.gpu or self.gpus.default,
                "arrays": found.arrays or self.sky.arrays,
                "max_hourly_cost": self.sky.max_hourly_cost if found.max_hourly_cost is None else found.max_hourly_cost,
                "price_ceiling": self.sky.price_ceiling if found.price_ceiling is None else found.price_ceiling,
            }
        )

    def routes(self, qos: str, account: str) -> tuple[Route, Route]:
        """Routes of a QOS and an account; the QOS takes precedence."""
        return dict(self.qos_routes).get(qos, Route()), dict(self.account_routes).get(account, Route())

    def engine_of(self, partition: str) -> str:
        """The engine of a partition: auto, sky, local or nodes."""
        config = self.cluster.partition(partition)
        return (config.engine if config else "") or self.engine

    def on_this_machine(self, partition: str) -> bool:
        """True if the site file says that a partition's nodes are this machine."""
        return self.engine_of(partition) == "local"
