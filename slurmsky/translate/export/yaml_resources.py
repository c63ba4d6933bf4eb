"""``resources`` of a script's YAML, with comments on guesses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...model.spec import JobSpec
from ...site.record import Site
from ..script import gpu_types, needs
from ..script.programs import find as source_of
from ..script.project_root import Origin
from ..script.script_files import server_of
from ..shell.script_commands import Script
from ..sky_task.setup_commands import COMPILERS
from ..sky_task.sky_names import docker_image, label
from ..sky_task.task import SkyTask
from ..sky_task.translation_notes import Refused
from .conversion import Dropped, Reading, one_line
from .omitted_options import by_contents
from .variable_conversion import DirectiveValues
from .yaml_document import YamlDocument

#: the maker's image, which takes its licence from a server
MATLAB = "docker:mathworks/matlab"
#: start of an image's name -> the file that puts its programs in PATH, which SkyPilot's shell does not read
_ENTRIES = {
    "docker:opencfd/openfoam": "/usr/lib/openfoam/openfoam*/etc/bashrc",
    "docker:openfoam/openfoam": "/opt/openfoam*/etc/bashrc",
}
_USES_GPU = re.compile(r"(?i)nvidia-smi|cuda|--nv\b|--gpus?\b|pytorch|tensorflow")
#: commands that fail without a GPU
_GPU_PROGRAM = re.compile(
    r"VISIBLE_DEVICES=[\"']?\d|\b(nvidia-smi|nvcc|nsys|ncu)\b|\s--nv\b|--nproc[_-]per[_-]node[= ]gpu|--device[= ]cuda"
)
#: number of processes on a node, of which each uses a GPU
_WORKERS = re.compile(r"(?m)^[^#\n]*--(?:nproc[_-]per[_-]node|num_processes|num_gpus)[= ]([1-8])\b")
#: programs that use the GPUs of a partition that has any
_LEARNS = re.compile(r"(?m)^[^#\n]*\b(python[\d.]*|torchrun|accelerate|deepspeed)\s")


def _is_spelt(word: str, gpu: str) -> bool:
    """Return whether a site's word names this GPU, not a similar one."""
    plain, name = (re.sub(r"[^a-z0-9]", "", text.lower()) for text in (word, gpu))
    return bool({*re.findall(r"\d+", word)} & {*re.findall(r"\d+", gpu)}) or name in plain or plain in name


@dataclass
class NodeDraft:
    """Nodes of one script's YAML, with the conversion's results. ``begins``: the submit folder below the workdir."""

    source: str
    script: Script
    spec: JobSpec
    site: Site
    partition: str
    file: str
    task: SkyTask
    directives: DirectiveValues
    reading: Reading
    arguments: tuple[str, ...]
    guessed: bool
    serve: bool
    start: Origin
    stage: int
    left_out: list[Dropped] = field(default_factory=list)
    workdir: str = ""
    begins: str = ""

    def __post_init__(self) -> None:
        self.workdir = self.start.below or "/".join([".."] * self.start.levels) or "."

    def _resources(self, document: YamlDocument, image: tuple[str, str] | None) -> None:
        wanted = {key: item for key, item in self.task.fields["resources"].items() if key != "labels"}
        notes: dict[str, str] = {}
        if wanted.get("cpus") == "1+" and ("accelerators" in wanted or self.spec.exclusive is not None):
            del wanted["cpus"]  # any node with GPUs has more CPUs, as has the whole node of --exclusive
        if self.reading.restarts and not self.reading.needs:
            wanted["job_recovery"] = {"max_restarts_on_errors": 3}
        server = server_of(self.script)
        if server and not self.reading.needs:
            wanted["ports"] = server.port
            notes["ports"] = "" if self.serve else "a server runs here; `slurmsky translate --serve` is for sky serve"
        if image:
            wanted["image_id"] = image[0]
            notes["image_id"] = image[1]
        if (
            self.guessed
            and "accelerators" in wanted
            and self.task.geometry.gpu_type == ""
            and any(note.option == "gpus" and note.text.endswith("the site file") for note in self.task.notes)
        ):
            notes["accelerators"] = "the script names no type: choose one (sky gpus list)"
        elif "accelerators" in wanted:
            kind = self.task.geometry.gpu_type
            named = (
                not kind
                or gpu_types.sky_name(self.site.gpus, kind)
                or gpu_types.hinted(self.spec, self.partition, self.site.gpus)[0]
            )
            hinted, why = gpu_types.hinted(self.spec, self.partition, self.site.gpus) if not kind else ("", "")
            word, gpu = (why.partition("=")[2], hinted) if hinted else (kind, gpu_types.sky_name(self.site.gpus, kind))
            per_node = "per node" if self.task.geometry.nodes > 1 else ""
            if gpu and not _is_spelt(word, gpu):
                per_node = f"for {one_line(word)}: the nearest that clouds offer"
            notes["accelerators"] = per_node if named else f"{one_line(kind)} is not a GPU name of SkyPilot: choose one"
        if self.spec.exclusive is not None and "cpus" not in wanted:
            self._whole_node(wanted, notes)
        if self.spec.mem_mib == 0 and wanted and self.spec.exclusive is None:
            notes["cpus" if "cpus" in wanted else "accelerators"] = (
                "--mem=0: the job has its nodes alone, with all their memory"
            )
        # Keep the site's labels (of its QOS, accounts and partitions); slurmsky's labels are useless without slurmsky.
        of_site = self.task.fields["resources"].get("labels", {}).items()
        labels = {key: label(item) for key, item, known in self._accounting() if known}
        labels.update((key, item) for key, item in of_site if not key.startswith("slurmsky-"))
        if labels:
            wanted["labels"] = labels
        order = ("infra", "ordered", "accelerators", "cpus", "memory", "disk_size", "image_id", "use_spot")
        comments = self._gpu_partition(wanted, notes)
        self._fit(wanted, notes)
        ranked = sorted(wanted, key=lambda key: order.index(key) if key in order else len(order))
        if wanted:
            document.add_field("resources", {key: wanted[key] for key in ranked}, comments, inline=notes)

    def _fit(self, wanted: dict[str, Any], notes: dict[str, str]) -> None:
        """Omit CPUs and memory that no cloud offers beside the GPUs."""
        gpu, _, count = str(wanted.get("accelerators", "")).partition(":")
        most = gpu_types.most_beside(gpu, int(count)) if count.isdecimal() and "infra" not in wanted else None
        for key, unit, limit in zip(("cpus", "memory"), ("CPUs", "GB of memory"), most or (), strict=False):
            asked = str(wanted.get(key, "0")).rstrip("+")
            if float(asked) > limit:
                del wanted[key]
                notes.pop(key, None)
                offer = f"clouds offer at most {limit} {unit} with it, not {asked}"
                notes["accelerators"] = "; ".join(filter(None, (notes.get("accelerators"), offer)))

    def _accounting(self) -> Iterator[tuple[str, str, bool]]:
        """Account and QOS: option, value, whether the site lists it."""
        routes = {*dict(self.site.account_routes), *dict(self.site.qos_routes)}
        cluster = {*(one.name for one in self.site.cluster.qos), *(one.name for one in self.site.cluster.accounts)}
        for option, name in (("account", self.spec.account), ("qos", self.spec.qos)):
            if name:
                yield option, name, name in {*self.site.accounts, *routes, *cluster}

    def _gpu_partition(self, wanted: dict[str, Any], notes: dict[str, str]) -> list[str]:
        """Request a GPU for a script in a partition of GPUs.

        The script uses GPUs without a request. A comment is added if the use is unclear.
        """
        name, why = gpu_types.hinted(self.spec, self.partition, self.site.gpus)
        if not why:
            named = (("partition", self.spec.partition), ("constraint", self.spec.constraint))
            why = next((f"--{option}={text}" for option, text in named if re.search(r"(?i)gpu|dgx", text or "")), "")
            name = self.site.gpus.default
        images = " ".join(module.image for module in self.reading.modules)
        runs = any(_GPU_PROGRAM.search(self.script.text(command)) for command in self.script.commands)
        none = (
            re.search(r"\bgpu(:\w+)?:0\b", self.spec.gres or "")
            or re.match("(?i)cpu", self.spec.partition or "")
            or "0" in (self.spec.gpus, self.spec.gpus_per_node)
        )
        if "accelerators" in wanted or "instance_type" in wanted or none:
            return []
        learns = _LEARNS.search(self.source)
        if not (why or runs) and learns and any("nvcc" in module.gives for module in self.reading.modules):
            runs, why = True, "module cuda"
        if runs or (why and learns and not self.reading.needs):
            wanted["accelerators"] = f"{name}:{self._devices()}"
            notes["accelerators"] = f"{why or 'the script'} {'names' if why else 'uses'} GPUs without a request"
            if wanted.get("cpus") == "1+":
                del wanted["cpus"]
            return []
        if not (why or "cuda" in images) or not _USES_GPU.search(self.source + images):
            return []
        if not why:
            return [f"the script uses CUDA but requests no GPU; if it needs one:  accelerators: {name}:1"]
        return [f"{why} names GPUs, but the script requests none; if it uses one:  accelerators: {name}:1"]

    def _devices(self) -> int:
        """Number of GPUs of a script without a request.

        It is the number of GPUs that the script numbers, else one per process.
        """
        workers = [int(count) for count in _WORKERS.findall(self.source)] if self.task.geometry.nodes == 1 else []
        each = (
            self.directives.tasks_per_node
            if self.spec.exclusive is not None and self.directives.tasks_per_node <= 8
            else 1
        )
        return max([self.reading.devices or each, *workers])

    def _whole_node(self, wanted: dict[str, Any], notes: dict[str, str]) -> None:
        """Choose a size for --exclusive without CPUs. The user must check it."""
        if "accelerators" not in wanted and "instance_type" not in wanted:
            wanted["cpus"] = "16+"
            notes["cpus"] = "--exclusive is a whole node of the old cluster: write its number of CPUs"

    def _entry(self, image: tuple[str, str] | None) -> list[str]:
        """Line of run that puts an image's programs in PATH."""
        files = [file for start, file in _ENTRIES.items() if image and image[0].startswith(start)]
        return [f". {file}" for file in files if not re.search(r"FOAM_BASH|etc/bashrc", self.source)]

    @cached_property
    def _image(self) -> tuple[str, str] | None:
        """The task's image, and the reason for it."""
        options = dict(self.spec.site_options)
        # With several images, each step starts its own image.
        image = options.get("container-image") or (self.reading.images[0] if len(self.reading.images) == 1 else "")
        if image:
            try:
                return docker_image(image), "--container-image" if "container-image" in self.source else "its container"
            except Refused as error:
                self.left_out.append(Dropped(0, f"--container-image={one_line(image)}", error.hint, to_do=True))
                return None
        for module in self.reading.modules:
            if module.image and module.source == "site":
                return docker_image(module.image), f"module {one_line(module.name)}, the site file"
        images = by_contents(self.reading.modules)
        if images:
            kind = "-devel-" if COMPILERS & set(needs.of(self.source).programs) else "-runtime-"
            return docker_image(images[0].image).replace("-runtime-", kind), f"module {one_line(images[0].name)}"
        given = self.task.fields["resources"].get("image_id")
        for name in needs.of(self.source).programs if not given and not self.reading.modules else ():
            found = source_of(name)
            if found is not None and found.kind == "image":
                return found.package, name
        if not given and "matlab" in needs.of(self.source).licensed:
            release = re.search(r"(?i)matlab\W*r?(202[1-5][ab])", self.source)
            return f"{MATLAB}:r{release[1].lower() if release else '2024b'}", "module matlab"
        return (given, "the site file") if given else None
