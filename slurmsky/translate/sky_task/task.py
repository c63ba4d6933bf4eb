"""Translates a job to its SkyPilot task, with notes on options.

The task's fields: sky/utils/schemas.py of SkyPilot 0.14.1. ``run`` is never the user's text (SkyPilot runs it in an
interactive bash): it starts the agent, which runs the script unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from ...model.spec import INFINITE, JobSpec
from ...site.record import PartitionSky, PathMap, Route, Site
from ..script import gpu_types, programs
from ..script.mount_points import is_mounted
from ..script.needs import Needs
from ..shell.word_sets import words
from . import option_support
from .geometry import Geometry, geometry, gres_items
from .setup_commands import preparation
from .sky_names import docker_image, label, sky_name
from .translation_notes import FEATURE, NODE_CONFIG, Note, Refused

TIME_MARGIN_MIN = 15  # a Slurm infra's allocation outlasts the job by this margin: the agent enforces the limit


@dataclass(frozen=True)
class SkyTask:
    """SkyPilot task without the parts that the engine adds.

    The engine adds run, the job's file mounts and its unique name.
    """

    name: str
    geometry: Geometry
    fields: dict[str, Any]
    notes: tuple[Note, ...]
    pool: str = ""
    arrays: str = "packed"

    def yaml(self, **more: Any) -> str:
        """The task as YAML for users. ``more`` are further fields."""
        from .yaml_text import dump  # PyYAML takes the controller 20 ms to import

        return dump({**self.fields, **more})


@dataclass
class _TaskDraft:
    spec: JobSpec
    site: Site
    partition: str
    sky: PartitionSky
    geometry: Geometry
    wants: Needs
    paths: tuple[PathMap, ...]
    qos: str = ""
    account: str = ""
    resources: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)  # of the site's modules

    @property
    def clouds(self) -> set[str]:
        """Clouds of the infra names; empty: SkyPilot chooses."""
        return {infra.split("/", 1)[0] for infra in self.sky.infra}

    @property
    def routes(self) -> tuple[Route, Route]:
        """The routes of the QOS and the account."""
        return self.site.routes(self.qos, self.account)

    def add_note(self, option: str, effect: str, text: str) -> None:
        self.notes.append(Note(option, effect, text))


def plan(
    spec: JobSpec,
    site: Site,
    partition: str,
    *,
    job_id: int = 0,
    wants: Needs | None = None,
    account: str = "",
    qos: str = "",
    size: Geometry | None = None,
) -> SkyTask:
    """Plan the SkyPilot task of a job in a partition.

    ``account``, ``qos``: the job's, if known; else those of the script. ``wants``: requirements found in the script's
    text, if the text is known. ``size``: the job's nodes, if the spec alone does not determine them. Raises Refused
    with Slurm's text if SkyPilot cannot provide such nodes.
    """
    config = site.cluster.partition(partition)
    draft = _TaskDraft(
        spec, site, partition, site.sky_partition(partition), size or geometry(spec, config),
        wants or Needs(), site.paths, qos or spec.qos or "", account or spec.account or "",
    )  # fmt: skip
    _size(draft)
    _accelerators(draft)
    _place(draft)
    _image(draft)
    _slurm_infra(draft)
    _kubernetes(draft)
    if draft.spec.requeue is False:
        draft.add_note("no-requeue", "agent", "SkyPilot restarts jobs after a lost node; slurmsky cancels it instead")
    draft.notes.extend(option_support.account_for(spec, draft.clouds))
    name = sky_name(spec.job_name or "sbatch")
    draft.resources["labels"] = _labels(draft, name, job_id)
    fields: dict[str, Any] = {"name": name}
    if draft.geometry.nodes > 1:
        fields["num_nodes"] = draft.geometry.nodes
    fields["resources"] = draft.resources
    fields.update(_storage(draft))
    if draft.config:
        fields["config"] = draft.config
    if draft.setup:
        fields["setup"] = "\n".join(draft.setup) + "\n"
    return SkyTask(name, draft.geometry, fields, tuple(draft.notes), pool=draft.sky.pool, arrays=draft.sky.arrays)


def _labels(draft: _TaskDraft, name: str, job_id: int) -> dict[str, str]:
    """Labels of the job's resources: owner and site labels."""
    labels = {
        "slurmsky-job": str(job_id) if job_id else "",
        "slurmsky-name": name,
        "slurmsky-account": draft.account,
        "slurmsky-partition": draft.partition,
        "slurmsky-qos": draft.qos,
        "slurmsky-time-min": _minutes(draft.spec.time_limit_min),
    }
    for key, value in (*draft.sky.labels, *(pair for route in reversed(draft.routes) for pair in route.labels)):
        if value:
            labels[key] = value
    return {key: label(value) for key, value in labels.items() if value}


def _storage(draft: _TaskDraft) -> dict[str, Any]:
    """Buckets and volumes at the paths that the site names."""
    named = tuple(path for path in draft.paths if path.path not in ("/*", "~/*"))
    mounts = {path.path: {"source": path.target, "mode": "MOUNT"} for path in named if "://" in path.target}
    for pattern in draft.paths:
        if pattern.path in ("/*", "~/*"):
            for folder in draft.wants.mounts:
                if folder[0] == pattern.path[0] and not is_mounted(folder, [path.path for path in named]):
                    source = f"{pattern.target.rstrip('/')}/{folder.strip('~/')}"
                    mounts[folder] = {"source": source, "mode": "MOUNT"}
    volumes: dict[str, Any] = dict(draft.sky.volumes)
    if draft.sky.pool and (mounts or volumes or draft.setup or draft.paths):
        # jobs/recovery_strategy.py: a job in a pool uses only workdir, envs, secrets and run.
        draft.add_note("pool", "changed", "buckets, volumes and setup of modules must be configured in the pool")
    for path in draft.paths:
        kind, _, rest = path.target.partition(":")
        if kind == "volume":
            volumes[path.path] = rest
        elif kind == "host":
            volumes[path.path] = {"host_path": rest, "mode": "rw"}
        elif kind == "nfs":
            _nfs(draft, path.path, *rest.split(":", 1))
    found = {"file_mounts": mounts, "volumes": volumes}
    return {key: value for key, value in found.items() if value}


def _nfs(draft: _TaskDraft, path: str, server: str, folder: str) -> None:
    """Mount a folder of an NFS server in every pod.

    Source: SkyPilot's docs, Kubernetes pod_config.
    """
    name = f"nfs-{label(path.strip('/')).replace('_', '-')}"[:60]
    pods = draft.config.setdefault("kubernetes", {}).setdefault("pod_config", {}).setdefault("spec", {})
    pods.setdefault("volumes", []).append({"name": name, "nfs": {"server": server, "path": folder}})
    containers = pods.setdefault("containers", [{"volumeMounts": []}])
    containers[0]["volumeMounts"].append({"name": name, "mountPath": path})


def _minutes(limit: int | None) -> str:
    return "" if limit is None else "unlimited" if limit == INFINITE else str(limit)


def _size(draft: _TaskDraft) -> None:
    size, spec = draft.geometry, draft.spec
    if size.cpus is not None and draft.wants.cpus > size.cpus:
        # Slurm gives a step the whole node's CPUs if the job holds the node
        draft.geometry = size = replace(size, cpus=draft.wants.cpus)
        draft.add_note("cpus-per-task", "changed", f"a step starts {draft.wants.cpus} CPUs of tasks on the node")
    if size.cpus is not None:
        draft.resources["cpus"] = f"{size.cpus}+"
    if size.memory_mib:
        draft.resources["memory"] = f"{-(-size.memory_mib // 1024)}+"
    if spec.mem_mib == 0:
        draft.add_note("mem", "changed", "--mem=0: the job has its nodes alone, with all their memory")
    if spec.nodes_max and spec.nodes_min and spec.nodes_max > spec.nodes_min:
        draft.add_note("nodes", "changed", f"the smallest node count is taken: {size.nodes}")
    if spec.tmp_mib:
        if draft.clouds == {"slurm"}:
            draft.add_note("tmp", "recorded", "on a Slurm infra no disk size can be requested")
        else:
            draft.resources["disk_size"] = max(50, -(-spec.tmp_mib // 1024) + 20)  # plus the operating system
    if draft.sky.instance_type:
        draft.resources["instance_type"] = draft.sky.instance_type
    ceilings = [draft.sky.price_ceiling] if draft.sky.price_ceiling is not None else []
    for ceiling in (draft.sky.max_hourly_cost, draft.routes[0].max_hourly_cost):
        if ceiling is not None:
            ceilings.append(round(ceiling / max(size.nodes, 1), 6))  # SkyPilot's ceiling is per node
    if ceilings:
        draft.resources["max_hourly_cost"] = min(ceilings)


#: GPU for a request without a type in script and site file
USUAL_GPU = "H100"


def _accelerators(draft: _TaskDraft) -> None:
    size, spec, site = draft.geometry, draft.spec, draft.site
    mapped = dict(draft.sky.features)
    kind, unknown = size.gpu_type, []
    for word in gpu_types.features(spec.constraint):
        target = mapped.get(word, "")
        if target and not re.fullmatch(r"[A-Z0-9]+[\w-]*", target):
            draft.resources["instance_type"] = target  # m6i.large and similar
        elif target:
            kind = kind or target
        elif not gpu_types.sky_name(site.gpus, word) and draft.clouds != {"slurm"}:
            unknown.append(word)
    if unknown and "&" in (spec.constraint or "") and not site.cluster.open:
        raise Refused(FEATURE, "constraint", f"the site file maps no feature {', '.join(unknown)}")
    if unknown:
        draft.add_note("constraint", "recorded", f"nodes of a cloud have no feature {', '.join(unknown)}")
    if size.other_gres:
        _other_gres(draft)
    if not size.gpus:
        return
    name, why = site.gpus.sky_name(kind) if kind else "", ""
    if not kind or (size.gpu_type and not gpu_types.sky_name(site.gpus, size.gpu_type)):
        hinted, why = gpu_types.hinted(spec, draft.partition, site.gpus, draft.wants.amd)
        if not (hinted or kind or draft.sky.gpu or site.cluster.open):
            hint = "SkyPilot needs a GPU type: name one (--gpus=h100:8), or set gpus.default in the site file"
            raise Refused(NODE_CONFIG, "gpus", hint)
        if hinted or not kind:
            name = hinted or draft.sky.gpu or USUAL_GPU
            source = "the site file" if draft.sky.gpu else "the script names no type; gpus.default in the site file"
            why = why or source
            draft.add_note("gpus", "changed", f"GPUs without a type are {name}: {why}")
    elif "." in size.gpu_type and re.search(r"\dg\.", size.gpu_type.lower()):
        draft.add_note("gpus", "changed", f"a slice of a GPU ({size.gpu_type}) is a whole {name}")
    draft.resources["accelerators"] = f"{name}:{size.gpus}"
    if size.gpus * size.nodes > _requested_gpus(spec, size):
        draft.add_note("gpus", "changed", f"nodes are of one size: {size.gpus} GPUs on each of {size.nodes}")


#: common gres names of a node's local disk: their count is in GB
_DISKS = words(
    """
    lscratch scratch localscratch localtmp tmpspace tmp nvme ssd disk tmpdir local localdisk fscratch jobfs
    """
)


def _other_gres(draft: _TaskDraft) -> None:
    """Convert a second gres. A local disk becomes disk_size; any other is ignored with a note."""
    names = []
    for name, kind, count in gres_items(draft.spec.gres):
        if name == "gpu":
            continue
        if name.lower() in _DISKS and draft.clouds != {"slurm"}:
            # lscratch:100 is in GB; a count in bytes has a unit.
            wanted = count if count < 1 << 20 else -(-count // 1024**3)
            if wanted > 1 or kind:
                draft.resources["disk_size"] = max(draft.resources.get("disk_size", 0), 50, wanted + 20)
            draft.add_note("gres", "changed", f"{name} is the node's own disk: disk_size")
        elif draft.site.cluster.open:
            names.append(name)
        else:
            raise Refused("Invalid generic resource (gres) specification", "gres", f"SkyPilot has no {name}")
    if names:
        draft.add_note("gres", "recorded", f"SkyPilot has no {', '.join(dict.fromkeys(names))}: left out")


def _requested_gpus(spec: JobSpec, size: Geometry) -> int:
    digits = re.search(r"(\d+)$", spec.gpus or "")
    return int(digits[1]) if digits else size.gpus * size.nodes


#: clouds whose nodes are virtual machines with docker
_MACHINES = ("aws", "gcp", "azure", "lambda", "oci", "nebius")


def _needs_machine(names: tuple[str, ...]) -> bool:
    found = (programs.find(name) for name in names)
    return any(source is not None and source.kind == "machine" for source in found)


def _place(draft: _TaskDraft) -> None:
    infras = draft.sky.infra
    if len(infras) == 1:
        draft.resources["infra"] = infras[0]
    elif not infras and _needs_machine(draft.wants.programs):
        # Virtual machines have docker, pods do not: SkyPilot chooses the cheapest enabled one of these clouds.
        draft.resources["any_of"] = [{"infra": cloud} for cloud in _MACHINES]
        draft.add_note("docker", "changed", "docker needs a virtual machine: Kubernetes is excluded")
    elif infras:
        draft.resources["ordered"] = [{"infra": infra} for infra in infras]
    if draft.sky.spot and draft.clouds != {"slurm"}:
        draft.resources["use_spot"] = True
    nice, priority = draft.spec.nice or 0, 0
    if nice:
        priority = max(-1000, min(1000, -nice))
    if priority:
        draft.resources["priority"] = priority


def _image(draft: _TaskDraft) -> None:
    options = dict(draft.spec.site_options)
    image = options.get("container-image") or options.get("container_image") or ""
    if image:
        draft.resources["image_id"] = docker_image(image)
        return
    images = draft.wants.images
    if len(images) == 1:
        # Nodes that run the image need no further container; the agent then starts the steps directly.
        draft.resources["image_id"] = docker_image(images[0])
        draft.add_note("container-image", "kept", f"the whole job runs in {images[0]}, which its steps name")
        return
    if images:
        draft.add_note(
            "container-image", "agent", "steps name several images: the nodes need podman, docker or apptainer"
        )
    image, setup, notes = preparation(draft.site, draft.wants, draft.sky.image)
    draft.notes += notes
    draft.setup += [line for line in setup if line not in draft.setup]
    if image:
        draft.resources["image_id"] = docker_image(image)
    if "image_id" not in draft.resources and draft.sky.image:
        draft.resources["image_id"] = docker_image(draft.sky.image)


# options that a Slurm infra's sbatch accepts unchanged: (field, its sbatch option)
_SBATCH_OPTIONS = (
    ("account", "account"),
    ("qos", "qos"),
    ("constraint", "constraint"),
    ("nodelist", "nodelist"),
    ("exclude", "exclude"),
    ("reservation", "reservation"),
    ("licenses", "licenses"),
    ("switches", "switches"),
    ("wckey", "wckey"),
    ("comment", "comment"),
    ("exclusive", "exclusive"),
    ("contiguous", "contiguous"),
    ("spread_job", "spread-job"),
    ("core_spec", "core-spec"),
    ("cluster_constraint", "cluster-constraint"),
    ("threads_per_core", "threads-per-core"),
    ("gres_flags", "gres-flags"),
    ("cpu_freq", "cpu-freq"),
)
SLURM_INFRA_FIELDS = frozenset(name for name, _ in _SBATCH_OPTIONS)


def _slurm_infra(draft: _TaskDraft) -> None:
    if draft.clouds != {"slurm"}:
        return
    spec = draft.spec
    options: dict[str, Any] = {}
    for name, option in _SBATCH_OPTIONS:
        value = getattr(spec, name)
        if value is True or (name == "exclusive" and value == ""):
            options[option] = True
        elif value not in (None, False):
            options[option] = str(value)
    if spec.time_limit_min not in (None, INFINITE):
        options["time"] = str(int(spec.time_limit_min or 0) + TIME_MARGIN_MIN)
    if options:
        draft.config["slurm"] = {"sbatch_options": options}


def _kubernetes(draft: _TaskDraft) -> None:
    if draft.clouds - {"kubernetes", "k8s", "ssh"}:
        return
    queue = next(filter(None, (*(route.kueue_queue for route in draft.routes), draft.sky.kueue_queue)), "")
    if queue:
        draft.config.setdefault("kubernetes", {})["kueue"] = {"local_queue_name": queue}
    priority = next(filter(None, (*(route.priority_class for route in draft.routes), draft.sky.priority_class)), "")
    if priority:
        draft.resources["priority_class"] = priority
