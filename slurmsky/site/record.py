"""The records that a site file becomes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model.cluster import ClusterConfig
from .gpunames import known_gpu


class SiteError(Exception):
    """The site file cannot be used; ``str()`` is one line: file:line:column: what is wrong."""

    def __init__(self, file: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.file, self.line, self.column, self.message = file, line, column, message


@dataclass(frozen=True)
class MachineFacts:
    """What a caller found out about this machine. ``gpus``: one type name per device, "" when unknown."""

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
    """What SkyPilot needs to know of a partition. Empty means: the site's default, or SkyPilot's."""

    infra: tuple[str, ...] = ()  # "kubernetes/ctx", "aws/us-east-1", "slurm/oracle/debug"; tried in this order
    spot: bool | None = None
    gpu: str = ""  # SkyPilot's name of the GPU that an untyped --gpus means
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
    """What each kept node of a partition is, in SkyPilot's words (``resources:`` of a task)."""

    cpus: str = ""  # "96" or "96+"
    memory: str = ""  # GB: "900" or "900+"
    gpus: str = ""  # "H100:8"
    disk: int = 0  # GB; 0: SkyPilot's default
    image: str = ""
    spot: bool = False
    instance_type: str = ""


@dataclass(frozen=True)
class KeptNodes:
    """Nodes of a partition that SkyPilot brings up and that stay warm. Times in seconds."""

    names: tuple[str, ...]
    shape: Shape = Shape()
    suspend_time_s: int | None = 1200  # idle so long: powered down; None: never
    keep_up: int = 0  # never fewer than this
    resume_timeout_s: int = 900  # a node that is not up by then is down
    cluster: str = ""  # nodes of this existing SkyPilot cluster, which we never power down


@dataclass(frozen=True)
class GpuNames:
    """Slurm's GPU type names (any case) -> SkyPilot's, and the type an untyped request means."""

    names: tuple[tuple[str, str], ...] = ()
    default: str = ""

    def sky_name(self, slurm_type: str) -> str:
        """SkyPilot's accelerator name for a gres type; the word itself in upper case when nothing maps it."""
        wanted = slurm_type.lower()
        for name, sky in self.names:
            if name.lower() == wanted:
                return sky
        return known_gpu(slurm_type) or slurm_type.upper()


@dataclass(frozen=True)
class ModuleConfig:
    """What ``module load NAME`` stands for on the cloud."""

    name: str
    image: str = ""
    setup: str = ""
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PathMap:
    """A path of the cluster and where its content lives: a bucket URL, ``volume:NAME`` or ``nfs:SERVER:/PATH``.

    ``/*`` and ``~/*`` stand for each folder that a script names: a folder of that name in the bucket.
    """

    path: str
    target: str


@dataclass(frozen=True)
class SiteOption:
    """An option of the site's own for sbatch, salloc and srun, as a SPANK plugin adds one."""

    name: str
    argument: str = "none"  # none | required | optional
    policy: str = "recorded"  # recorded | environment | refused
    help: str = ""
    environment: str = ""  # policy environment: the variable set in the job
    placeholder: str = ""  # shown in --help for the argument


@dataclass(frozen=True)
class SkyConfig:
    """How this site uses SkyPilot."""

    endpoint: str = ""  # "" = as SkyPilot's own clients find it
    workspace: str = ""
    infra: tuple[str, ...] = ()  # for partitions that name none; () = wherever SkyPilot likes
    spot: bool = False
    image: str = ""
    arrays: str = "packed"  # packed | num_jobs | pool
    price_ceiling: float | None = None  # dollars per hour and node
    max_hourly_cost: float | None = None  # dollars per hour and job
    budget: float | None = None  # dollars per job until its time limit; one beyond it waits
    upload_mib: int = 1024  # largest submit folder that travels to the nodes
    return_mib: int = 32  # largest sum of files that comes back through the log
    bucket: str = ""  # where larger files go, e.g. "s3://team/slurmsky"
    queue_poll_s: int = 30  # gap between the heavy reads
    reach: str = "auto"  # how a job's first node is reached: direct | ssh (through SkyPilot) | auto (either)
    idle_minutes: int = 60  # an allocation (salloc, srun) that nobody can be seen at ends after so long; 0 = never
    start_server: bool = True  # start a local API server where none answers
    foreign: bool = True  # show managed jobs that were launched without sbatch
    credentials: tuple[str, ...] = ()  # shell patterns of variables that go to nodes though they hold credentials


@dataclass(frozen=True)
class Budget:
    """Dollars that jobs may cost together: those of an account, a user, a QOS, or all where it names none."""

    account: str = ""
    user: str = ""
    qos: str = ""
    month: float | None = None  # dollars per calendar month
    hourly: float | None = None  # dollars per hour of all that run at once


@dataclass(frozen=True)
class Route:
    """What a QOS or an account becomes in a SkyPilot task, before what the partition says."""

    kueue_queue: str = ""
    priority_class: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    max_hourly_cost: float | None = None  # dollars per hour and job; of a QOS


@dataclass(frozen=True)
class Site:
    """All that the site file says."""

    cluster: ClusterConfig
    engine: str = "auto"  # auto | sky | local
    sky: SkyConfig = SkyConfig()
    partition_sky: tuple[tuple[str, PartitionSky], ...] = ()
    kept: tuple[tuple[str, KeptNodes], ...] = ()  # by partition
    gpus: GpuNames = GpuNames()
    modules: tuple[ModuleConfig, ...] = ()
    #: whether the shipped map (modules.toml) stands for modules that the site file does not name
    shipped_modules: bool = False
    environments: tuple[tuple[str, str], ...] = ()  # conda environment or folder of a virtual one -> its packages
    programs: tuple[tuple[str, str], ...] = ()  # program -> command that installs it on a node
    paths: tuple[PathMap, ...] = ()
    options: tuple[SiteOption, ...] = ()
    budgets: tuple[Budget, ...] = ()
    accounts: tuple[str, ...] = ()  # () = any account is taken
    qos_routes: tuple[tuple[str, Route], ...] = ()
    account_routes: tuple[tuple[str, Route], ...] = ()
    first_job_id: int = 1
    source: str = ""  # the file's name
    environment: tuple[tuple[str, str], ...] = field(default=())  # set in every job

    def sky_partition(self, name: str) -> PartitionSky:
        """SkyPilot's side of a partition, the site's defaults filled in."""
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
        """Those of a QOS and of an account; what a QOS says comes first."""
        return dict(self.qos_routes).get(qos, Route()), dict(self.account_routes).get(account, Route())

    def engine_of(self, partition: str) -> str:
        """auto, sky, local or nodes for a partition."""
        config = self.cluster.partition(partition)
        return (config.engine if config else "") or self.engine
