"""Converts a batch script to the SkyPilot YAML that a user would write by hand for the same work.

A script that needs Slurm's machinery (several tasks per node, steps, the queue) is reported as such, and the YAML
passes the unchanged script to slurmsky on the nodes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..language import arrayspec
from ..language.syntax_errors import LanguageError
from ..model.spec import JobSpec
from ..site.record import Site
from . import idiom, mountpoints, places, wants
from .geometry import Geometry, geometry
from .idiom import Dropped, Reading, one_line
from .idiomtables import LAUNCHERS
from .idiomvars import Facts
from .notes import Note, Refused
from .omitted_options import left_out
from .programs import setup_lines
from .scope import Scope
from .scriptfiles import leaves_files, names_files_beside, serve_port, takes_arguments
from .setup_commands import folders_setup, preparation
from .shell import Script, parse
from .sky_components import plan_all
from .task import SkyTask, docker_image, label, sky_name
from .wants import Wants
from .yaml_document import YamlDocument

DEFAULT_GPU = "H100"
NAME_LENGTH = 60
REMOTE = "~/.slurmsky"  # where the agent's folder is mounted: engines/sky/shipment.py
_SHELL = re.compile(r"#!\s*(?:/usr/bin/env\s+(?:-S\s*)?)?(?:\S*/)?(\w+)(.*)")
_BASH = frozenset(("bash", "sh", "dash"))


@dataclass(frozen=True)
class Kept:
    """An exported YAML. ``needs``: why slurmsky must be on the nodes; empty for plain SkyPilot."""

    yaml: str
    name: str
    needs: tuple[Dropped, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[Note, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)


def keep(
    source: str,
    specs: Sequence[JobSpec],
    site: Site,
    partition: str,
    *,
    file: str = "job.sh",
    arguments: Sequence[str] = (),
) -> Kept:
    """Export the YAML for a script with options ``specs``. ``file``: the script's name in texts.

    Raises Refused with Slurm's text where SkyPilot cannot provide such nodes.
    """
    spec = specs[0]
    guessed = not (site.sky_partition(partition).gpu or site.gpus.default)
    if guessed:
        site = replace(site, gpus=replace(site.gpus, default=DEFAULT_GPU))
    if partition and not site.cluster.partition(partition):
        partition_of_plan = ""
    else:
        partition_of_plan = partition
    if spec.job_name == file and "." in file:
        spec = spec.evolve(job_name=file.rpartition(".")[0])  # the client's default: the script's name
    # The other components of a het job have their own partitions, where they name any.
    others = [(part, (part.partition or partition_of_plan).split(",")[0]) for part in specs[1:]]
    asked = wants.of(source)
    task = plan_all([(spec, partition_of_plan), *others], site, wants=Wants(amd=asked.amd, cpus=asked.cpus))
    task = replace(task, name=sky_name(spec.job_name or "sbatch", NAME_LENGTH))
    size = geometry(spec, site.cluster.partition(partition_of_plan))
    facts = _facts(spec, task, size, partition, file)
    script = parse(source)
    reading = _read(script, source, facts, site)
    reading.envs.update(_exported(spec.export))
    known = {program for module in reading.modules for program in module.gives}
    if not reading.images and not asked.environments:
        names = [name for name in asked.programs if name not in known]
        if "mpirun" not in known and any(command.name in LAUNCHERS for command in script.commands):
            names.append("mpicc")  # of the package that provides mpirun
        installed = setup_lines(tuple(names))
        reading.setup[:0] = [line for line in installed if line not in reading.setup]
    given = {*reading.envs, *_REQUIRED.findall(source)}
    reading.envs.update((name, folder) for name, folder in asked.stores if name not in given)
    reading.setup += folders_setup(site, asked)
    if not reading.needs and (interpreter(source)[0] in _BASH or not interpreter(source)[0]):
        _commands_in_texts(source, reading)
    if len(specs) > 1:
        reading.need(1, "hetjob", "components of different shape, which SkyPilot's nodes of one task do not know of")
    draft = _Draft(source, script, spec, site, partition, file, task, facts, reading, tuple(arguments), guessed)
    text, fields = draft.agent_yaml() if reading.needs else draft.plain_yaml()
    return Kept(text, task.name, tuple(reading.needs), tuple(draft.left_out), task.notes, fields)


#: variables that a script requires from its caller
_REQUIRED = re.compile(r"\$\{(\w+):?\?")


def _exported(export: str | None) -> dict[str, str]:
    """Variables that ``--export=ALL,NAME=VALUE`` sets."""
    return dict(re.findall(r"(?:^|,)([A-Za-z_]\w*)=([^,]*)", export or ""))


def _facts(spec: JobSpec, task: SkyTask, size: Geometry, partition: str, file: str) -> Facts:
    indices: tuple[int, ...] = ()
    if spec.array:
        try:
            found = arrayspec.parse(spec.array, 1 << 20)
            indices = tuple(index for part in found.ranges for index in part) if found else ()
        except LanguageError:
            indices = ()
    return Facts(
        spec=spec,
        name=spec.job_name or file,
        nodes=size.nodes,
        ntasks=size.ntasks,
        tasks_per_node=size.tasks_per_node,
        gpus=size.gpus,
        partition=partition,
        array=indices,
    )


_CALLS = re.compile(
    r"(?:^|[=\"'`;|&({]|\beval|\bexec|\btime)\s*(srun|sbatch|salloc|ibrun|scontrol|squeue|sbcast|scancel)(?=[\s\"']|$)"
)


def _commands_in_texts(source: str, reading: Reading) -> None:
    """Slurm's commands in variables and here-documents, which the idioms do not rewrite: RUN="srun -n 4"."""
    for text in run_text(source, reading).splitlines():
        bare = re.sub(r"(^|\s)#.*", "", text)
        called = None if re.match(r"\s*(echo|printf)\b", bare) else _CALLS.search(bare)
        if called:
            reading.need(0, text.strip(), f"{called[1]} in a text that the script runs later")


def interpreter(source: str) -> tuple[str, str]:
    """(program, options) of the first line; ("", "") without one."""
    found = _SHELL.match(source.split("\n", 1)[0])
    return (found[1], found[2].strip()) if found else ("", "")


def _read(script: Script, source: str, facts: Facts, site: Site) -> Reading:
    program, _ = interpreter(source)
    if program in _BASH or not program:
        return idiom.read(script, facts, site)
    reading = Reading()
    names = sorted(set(re.findall(r"\bSLURMD?_[A-Z0-9_]+\b", re.sub(r"(?m)^#.*$", "", source))))
    constants = facts.constants
    for name in names:
        if name in constants:
            reading.envs[name] = constants[name]
        elif name == "SLURM_SUBMIT_DIR":
            reading.activate.append("export SLURM_SUBMIT_DIR=$PWD")
        elif name in ("SLURM_JOB_ID", "SLURM_JOBID"):
            reading.activate.append(f"export {name}=$SKYPILOT_MANAGED_JOB_ID")
        else:
            reading.need(1, name, f"{program} reads it, and it cannot be renamed there")
    called = re.search(r"(?m)^[^#\n]*\b(srun|scontrol|sbatch|squeue|sbcast|module|ml)\s", source)
    if called:
        reading.need(1, called[1], f"{program} calls it, and no line of {program} is rewritten")
    if facts.nodes > 1:
        reading.need(1, source.split("\n", 1)[0], f"{program} on the first of several nodes")
    return reading


def run_text(source: str, reading: Reading) -> str:
    """The script with its edits, without first line, directives and runs of blank lines."""
    pieces: list[str] = []
    at = 0
    # Of overlapping edits the widest wins; insertions keep their order.
    for start, end, text in sorted(reading.edits, key=lambda edit: (edit[0], edit[0] != edit[1], -edit[1])):
        if start < at:
            continue
        pieces += [source[at:start], text]
        at = end
    pieces.append(source[at:])
    documents = "".join(pieces)
    lines = documents.split("\n")
    kept: list[str] = []
    body = False
    for index, line in enumerate(lines):
        if index == 0 and line.startswith("#!"):
            continue
        bare = line.strip()
        if not body and (re.match(r"#+\s?(SBATCH|SLURM|PBS|BSUB)\b", bare) or bare.startswith("#$")):
            continue
        body = body or (bool(bare) and not bare.startswith("#"))
        if bare in (";", "&") or (not bare and (not kept or not kept[-1].strip())):
            continue
        kept.append(line.rstrip("\r"))
    while kept and not kept[-1].strip():
        kept.pop()
    return "\n".join(kept)


@dataclass
class _Draft:
    source: str
    script: Script
    spec: JobSpec
    site: Site
    partition: str
    file: str
    task: SkyTask
    facts: Facts
    reading: Reading
    arguments: tuple[str, ...]
    guessed: bool
    left_out: list[Dropped] = field(default_factory=list)

    # --- plain SkyPilot

    def plain_yaml(self) -> tuple[str, dict[str, Any]]:
        document = YamlDocument()
        image = self._image()
        self._head(document)
        document.put("name", self.task.name)
        if self.task.geometry.nodes > 1:
            document.put("num_nodes", self.task.geometry.nodes)
        if self._needs_workdir():
            document.put("workdir", ".", comments=("the folder that sbatch was called in",))
        self._resources(document, image)
        self._variables(document)
        self._mounts(document)
        if self.task.fields.get("config"):
            document.put("config", self.task.fields["config"])
        if self.reading.setup:
            document.put("setup", "\n".join(dict.fromkeys(self.reading.setup)) + "\n")
        document.put("run", self._run() + "\n", comments=self._run_comments())
        return document.text(), document.fields

    def _head(self, document: YamlDocument) -> None:
        document.comment(f"{one_line(self.file)} as SkyPilot runs it:  sky jobs launch {self._yaml_name()}")
        if re.search("[\ud800-\udfff]", self.source):
            document.comment("Bytes of the script that are not UTF-8 are \ufffd here: YAML has no place for them.")
        self.left_out += self.reading.dropped
        self.left_out += left_out(self.spec, {note.option for note in self.task.notes if note.fate == "recorded"})
        if re.search(r"(^|\s)-(l|-login)\b", interpreter(self.source)[1]):
            self.left_out.append(
                Dropped(1, "-l of the first line", "SkyPilot's shell reads ~/.bashrc, no login profile")
            )
        for line, name in self.reading.unknown_modules:
            self.left_out.append(
                Dropped(
                    line,
                    f"module load {one_line(name)}",
                    "no map knows it: install it in setup, or take an image that has it",
                )
            )
        for module in self.reading.modules:
            if module.kind or not (module.image or module.setup):
                self.left_out.append(
                    Dropped(0, f"module load {one_line(module.name)}", module.note or "nothing is needed")
                )
        if self.facts.array:
            self._array(document)
        if self.left_out:
            document.comment("")
            document.comment("Left out:")
            for entry in self.left_out:
                place = f" (line {entry.line})" if entry.line else ""
                document.comment(f"  {entry.text}{place}: {entry.why}")

    def _yaml_name(self) -> str:
        return f"{self.task.name}.yaml"

    def _array(self, document: YamlDocument) -> None:
        """--array: one launch for each index."""
        indices = self.facts.array
        step = indices[1] - indices[0] if len(indices) > 1 else 1
        even = list(indices) == list(range(indices[0], indices[-1] + 1, step))
        listed = (
            f"$(seq {indices[0]} {step} {indices[-1]})"
            if even and len(indices) > 1
            else " ".join(map(str, indices[:50]))
        )
        document.comment("")
        document.comment(f"The array --array={one_line(self.spec.array or '')} is one launch an element:")
        document.comment(f"  for i in {listed}; do sky jobs launch -y -d --env TASK_ID=$i {self._yaml_name()}; done")
        if "%" in (self.spec.array or ""):
            most = (self.spec.array or "").rpartition("%")[2]
            document.comment(
                f"  at most {one_line(most)} at once: a pool of so many workers (sky jobs pool apply), and --pool"
            )

    def _needs_workdir(self) -> bool:
        """Whether the script needs the files beside it."""
        program, _ = interpreter(self.source)
        if program not in _BASH and program:
            return True
        return self.reading.workdir or names_files_beside(self.script)

    def _resources(self, document: YamlDocument, image: tuple[str, str] | None) -> None:
        wanted = {key: item for key, item in self.task.fields["resources"].items() if key != "labels"}
        notes: dict[str, str] = {}
        if wanted.get("cpus") == "1+" and ("accelerators" in wanted or self.spec.exclusive is not None):
            del wanted["cpus"]  # any node with GPUs has more, as has the whole node of --exclusive
        port = serve_port(self.script)
        if port and not self.reading.needs:
            wanted["ports"] = port
            notes["ports"] = "a server runs here; `sky serve up` needs a service: section with its readiness_probe"
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
            notes["accelerators"] = "per node"
        if self.spec.exclusive is not None and "cpus" not in wanted:
            self._whole_node(wanted, notes)
        if self.spec.mem_mib == 0 and wanted and self.spec.exclusive is None:
            notes["cpus" if "cpus" in wanted else "accelerators"] = (
                "--mem=0: the node's whole memory is the job's anyway"
            )
        asked = {key: item for key, item in (("account", self.spec.account), ("qos", self.spec.qos)) if item}
        # Keep the site's labels (of its QOS, accounts and partitions); slurmsky's labels are useless without slurmsky.
        of_site = self.task.fields["resources"].get("labels", {}).items()
        labels = {key: label(item) for key, item in asked.items()}
        labels.update((key, item) for key, item in of_site if not key.startswith("slurmsky-"))
        if labels:
            wanted["labels"] = labels
        order = ("infra", "ordered", "accelerators", "cpus", "memory", "disk_size", "image_id", "use_spot")
        ranked = sorted(wanted, key=lambda key: order.index(key) if key in order else len(order))
        if wanted:
            document.put("resources", {key: wanted[key] for key in ranked}, inline=notes)

    def _whole_node(self, wanted: dict[str, Any], notes: dict[str, str]) -> None:
        """Choose a size for --exclusive without a number of CPUs, and have the user check it."""
        if "accelerators" not in wanted and "instance_type" not in wanted:
            wanted["cpus"] = "16+"
            notes["cpus"] = "--exclusive is a whole node of the old cluster: write its number of CPUs"

    def _image(self) -> tuple[str, str] | None:
        options = dict(self.spec.site_options)
        # With several images, each step starts its own.
        asked = options.get("container-image") or (self.reading.images[0] if len(self.reading.images) == 1 else "")
        if asked:
            try:
                return docker_image(asked), "--container-image"
            except Refused as error:
                self.left_out.append(Dropped(0, f"--container-image={one_line(asked)}", error.hint))
                return None
        for module in self.reading.modules:
            if module.image and module.source == "site":
                return docker_image(module.image), f"module {one_line(module.name)}, the site file"
        images = [module for module in self.reading.modules if module.image]
        # A framework's image contains CUDA, too, but not vice versa.
        images.sort(key=lambda module: "nvidia/cuda" in module.image)
        if images:
            return docker_image(images[0].image), f"module {one_line(images[0].name)}"
        given = self.task.fields["resources"].get("image_id")
        return (given, "the site file") if given else None

    def _variables(self, document: YamlDocument) -> None:
        envs: dict[str, str | None] = {}
        if self.facts.array:
            envs["TASK_ID"] = str(self.facts.array[0])
        envs.update(self.reading.envs)
        for name in self.reading.secrets:
            envs.pop(name, None)
        required = [name for name in dict.fromkeys(_REQUIRED.findall(self.source)) if name not in envs]
        required = [name for name in required if name not in self.reading.secrets and not name.startswith("SLURM")]
        envs.update(dict.fromkeys(required))
        if envs:
            notes = dict.fromkeys(required, "the script wants it: --env NAME=VALUE")
            notes |= {"TASK_ID": "one element; the others by --env TASK_ID=..."} if self.facts.array else {}
            document.put("envs", envs, inline=notes)
        if self.reading.secrets:
            document.put(
                "secrets",
                dict.fromkeys(dict.fromkeys(self.reading.secrets)),
                inline={name: f"pass with --secret {name}" for name in self.reading.secrets},
            )

    def _mounts(self, document: YamlDocument, own: Mapping[str, str] | None = None) -> None:
        used = [path for _, path in self.reading.paths] + self.reading.checkpoints
        source = self.source
        mounts: dict[str, Any] = dict(own or {})
        volumes: dict[str, Any] = {}
        for path, item in self.task.fields.get("file_mounts", {}).items():
            if path in source:
                mounts[path] = item
        for path, item in self.task.fields.get("volumes", {}).items():
            if path in source or path in dict(self.site.sky_partition(self.partition).volumes):
                volumes[path] = item
        notes: dict[str, str] = {}
        used += self._places()
        for path in dict.fromkeys(map(_checkpoint_folder, self.reading.checkpoints)):
            if not _below(path, [*mounts, *volumes]):
                bucket = self.site.sky.bucket.rstrip("/")
                place = path.strip("/").replace("/", "-")
                mounts[path] = (
                    {"source": f"{bucket}/{self.task.name}/{place}", "mode": "MOUNT"}
                    if bucket
                    else {"name": self._bucket(sky_name(place, 30)), "mode": "MOUNT"}
                )
                notes[path] = "outlives the nodes: a bucket" + ("" if bucket else " of this name is made")
        known = (*mounts, *volumes)
        tops = {_top(path.split("$", 1)[0]) for path in used if "," not in path and not _below(path, known)}
        missing = sorted(top for top in tops if len(top) > 1)
        if mounts:
            document.put("file_mounts", mounts, inline=notes)
        if volumes:
            document.put("volumes", volumes)
        if missing:
            document.blank()
        for path in missing:
            place = one_line(path)
            document.comment(f"{place} is on the old cluster: put it into a bucket and add")
            document.comment(f"  file_mounts: {{{place}: {{source: s3://BUCKET/{place.strip('~/')}, mode: MOUNT}}}}")

    def _places(self) -> list[str]:
        """Paths of the old cluster that the script reads when it runs unchanged."""
        found = places.places(self.script, Scope.of(self.script))
        roles = (places.READ, places.RUN, places.IMAGE)
        return [
            place.text
            for place in found
            if place.role in roles and place.text[:1] in "/~" and not mountpoints.on_every_node(place.text)
        ]

    def _bucket(self, place: str) -> str:
        """A bucket's name: bucket names are globally unique, so part of it is derived from the script's text."""
        unique = hashlib.sha256(self.source.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return f"{self.task.name[:20].rstrip('-')}-{place}-{unique}"[:63]

    def _run_comments(self) -> list[str]:
        found = [one_line(note) for note in self.reading.notes]
        if self.facts.nodes > 1 and 'NODE_RANK" = 0' in "".join(text for _, _, text in self.reading.edits):
            found.append("run starts on every node; what Slurm did on the first one only is behind NODE_RANK 0")
        if leaves_files(self.script):
            found.append("files that it writes stay on the node and go with it; to keep them, write below a bucket:")
            found.append(f"  file_mounts: {{/results: {{name: {self._bucket('results')}, mode: MOUNT}}}}")
        return list(dict.fromkeys(found))

    def _run(self) -> str:
        program, options = interpreter(self.source)
        lines: list[str] = []
        if program and program not in _BASH:
            lines += self.reading.activate
            lines.append(" ".join([program, options, self.file, *self.arguments]).replace("  ", " "))
            return "\n".join(lines)
        text = run_text(self.source, self.reading)
        flags = [word for word in options.split() if re.fullmatch(r"-[eux]+", word)]
        if flags:
            lines.append("set " + " ".join(flags))
        if re.search(r"![^\s=(\"']", text.replace("$!", "")):
            lines.append("set +H  # SkyPilot's bash is an interactive one, where ! means history")
        if takes_arguments(self.script):
            given = " ".join(idiom.quoted(word) for word in self.arguments)
            lines.append(f"set -- {given}".rstrip() + "  # the arguments of the script")
        lines += self.reading.activate
        return "\n".join([*lines, *([text] if text else [])]) or ":"

    # --- with slurmsky on the nodes

    def agent_yaml(self) -> tuple[str, dict[str, Any]]:
        document = YamlDocument()
        document.comment(
            f"{one_line(self.file)} needs Slurm's own ways on the nodes, so slurmsky runs it there as it is:"
        )
        shown: list[str] = []
        for entry in self.reading.needs:
            line = f"  line {entry.line}: {entry.text}: {entry.why}" if entry.line else f"  {entry.text}: {entry.why}"
            if line not in shown:
                shown.append(line)
        for line in shown[:8]:
            document.comment(line)
        if len(shown) > 8:
            document.comment(f"  and {len(shown) - 8} more")
        shipped = replace(self.site, shipped_modules=True)
        chosen, setup, _ = preparation(shipped, wants.of(self.source))
        asked = wants.of(self.source).images
        image = self._image()
        if image is None and (asked[:1] if len(asked) == 1 else chosen):
            image = docker_image(asked[0] if len(asked) == 1 else chosen), "its steps" if asked else "its modules"
        for name in wants.of(self.source).environments:
            document.comment(f"  {one_line(name)}: setup makes that environment of Python: add the packages it needs")
        for number, name in self.reading.unknown_modules:
            document.comment(f"  line {number}: module load {one_line(name)}: no map knows it")
        for dropped in self.left_out:
            document.comment(f"  {dropped.text}: {dropped.why}")
        folder = f"{self.task.name}.slurmsky"
        document.comment(
            f"`sbatch {one_line(self.file)}` does the same and needs no file. This one needs the folder {folder}"
        )
        document.comment(f"beside it, which `slurmsky translate -o {self._yaml_name()} {one_line(self.file)}` makes.")
        document.put("name", self.task.name)
        if self.task.geometry.nodes > 1:
            document.put("num_nodes", self.task.geometry.nodes)
        self._resources(document, image)
        self._mounts(
            document, {f"{REMOTE}/{self.task.name}": f"./{folder}/job", f"{REMOTE}/agent.pyz": f"./{folder}/agent.pyz"}
        )
        if self.task.fields.get("config"):
            document.put("config", self.task.fields["config"])
        if setup:
            document.put("setup", "\n".join(setup) + "\n", comments=["for its modules, programs and environments"])
        document.put("run", f"sh {REMOTE}/{self.task.name}/start.sh\n")
        return document.text(), document.fields


def _below(path: str, tops: Sequence[str]) -> bool:
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)


def _checkpoint_folder(path: str) -> str:
    """The mount point of a bucket for checkpoints below a path."""
    first = "/" + path.strip("/").split("/")[0]
    return first if re.search("ckpt|checkpoint", first.lower()) else path.rstrip("/")


def _top(path: str) -> str:
    """The first two folders of a path, which are its mount point."""
    if path.startswith("~"):
        return mountpoints.mount_of(path)
    parts = path.strip("/").split("/")
    return "/" + "/".join(parts[:2] if len(parts) > 2 else parts[:1])
