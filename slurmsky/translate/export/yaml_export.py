"""Converts a batch script to a readable SkyPilot YAML.

A script that needs Slurm's machinery (several tasks per node, steps, the queue) is reported as such, and the YAML
passes the unchanged script to slurmsky on the nodes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ...language import arrayspec
from ...language.syntax_errors import LanguageError
from ...model.spec import JobSpec
from ...options.getopt import split
from ...options.table import load
from ...site.modules import find
from ...site.record import Site
from ..script import needs
from ..script.folders_above import levels_above
from ..script.language_packages import language_setup
from ..script.needs import Needs
from ..script.own_packages import own_packages
from ..script.program_paths import CONDA_BASE
from ..script.project_folder import Project
from ..script.project_root import origin
from ..script.python_projects import setup_of_files
from ..script.work_folder import entered
from ..shell.script_commands import Script, parse
from ..shell.script_variables import Scope
from ..sky_task.geometry import Geometry, geometry
from ..sky_task.setup_commands import folders_setup, one_environment
from ..sky_task.sky_components import plan_all
from ..sky_task.sky_names import sky_name
from ..sky_task.task import SkyTask
from ..sky_task.translation_notes import Note, Refused
from . import conversion
from .conversion import Dropped, Reading
from .inlined_launchers import inlined
from .omitted_options import by_contents
from .project_files import bring_files
from .run_text import BASH, interpreter, run_text, until_exit
from .slurm_traces import commands_in_texts, slurm_use
from .started_files import StartedFiles
from .variable_conversion import DirectiveValues
from .yaml_draft import REQUIRED, Draft
from .yaml_setup import (
    bring_own_packages,
    bring_programs,
    is_framework,
    leave_images,
    leave_toolchains,
    list_packages,
    name_programs,
    one_python,
    package_files_above,
    set_variables,
)

DEFAULT_GPU = "H100"
#: versions of CUDA below these do not support newer GPUs. Source: NVIDIA's release notes of CUDA
_GPUS_BEFORE = (((11, 0), "V100"), ((11, 8), "A100"))
NAME_LENGTH = 60
#: packages that make up a Python environment, unlike a library in it
_FRAMEWORKS = re.compile("numpy|torch|tensorflow|jax")
#: packages of conda with a separate build for GPUs
_GPU_BUILT = re.compile(r"(?<=\s)(gromacs)(?=\s|$|\))")
#: characters that YAML cannot hold in a block of text
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_GPU_OPTIONS = frozenset(("gres", "gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket"))


@dataclass(frozen=True)
class ExportedYaml:
    """An exported YAML. ``needs``: why slurmsky must be on the nodes; empty for plain SkyPilot."""

    yaml: str
    name: str
    needs: tuple[Dropped, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[Note, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)


def export_yaml(
    source: str,
    specs: Sequence[JobSpec],
    site: Site,
    partition: str,
    *,
    file: str = "job.sh",
    arguments: Sequence[str] = (),
    folder: str = "",
    path: str = "",
    serve: bool = False,
    dropped: Sequence[Dropped] = (),
) -> ExportedYaml:
    """Export the YAML for a script with options ``specs``.

    ``file``: the script's name in texts. ``folder``: the submit folder, if known; ``path``: the script's path below
    it. ``serve``: write a service for ``sky serve`` if the script starts a server. ``dropped``: directives that
    sbatch does not know. Raises Refused with Slurm's text if SkyPilot cannot provide such nodes.
    """
    source = re.sub(r"(?m)^\s*#[^!\n].*$", lambda line: _UNPRINTABLE.sub("", line[0]), source)
    spec, source = specs[0], inlined(until_exit(parse(source)))
    guessed = not (site.sky_partition(partition).gpu or site.gpus.default)
    if guessed:
        site = replace(site, gpus=replace(site.gpus, default=_gpu_for(source, site)))
    partition_of_plan = partition if not partition or site.cluster.partition(partition) else ""
    spec, image_file = _without_image_file(spec)
    script = parse(source)
    spec = _with_gpus_of_steps(spec, script) if len(specs) == 1 else spec
    if spec.job_name == file and "." in file:
        spec = spec.evolve(job_name=file.rpartition(".")[0])  # the client's default: the script's name
    # The other components of a het job may name their own partitions.
    others = [(part, (part.partition or partition_of_plan).split(",")[0]) for part in specs[1:]]
    apart = (
        bool(folder and spec.chdir) and os.path.normpath(spec.chdir or "") != folder
    )  # --chdir, and not the submit folder
    asked = needs.of(source)
    own = (spec.chdir or "").startswith(f"{folder}/")
    old = spec.chdir if apart and not own and not os.path.isdir(spec.chdir or "") else ""
    start = origin(script, Scope.of(script), "" if apart and not old else folder, (*asked.paths, old or ""), path)
    if start.levels or start.below:
        base = os.path.normpath(os.path.join(folder, start.below, *[".."] * start.levels))
        folder, path = base, os.path.relpath(os.path.join(folder, path or file), base)
    task = plan_all([(spec, partition_of_plan), *others], site, wants=Needs(amd=asked.amd, cpus=asked.cpus))
    task = replace(task, name=sky_name(spec.job_name or "sbatch", NAME_LENGTH))
    size = geometry(spec, site.cluster.partition(partition_of_plan))
    directives = _directive_values(spec, task, size, partition, file, source)
    image = next((one.text.partition("=")[2] for one in dropped if one.text.startswith("--image=")), "")
    directives = replace(directives, file=path or file, folder=folder, former=start.former, image=image)
    reading = _read(script, source, directives, site)
    reading.dropped += [one for one in dropped if not (image in reading.images and one.text.startswith("--image="))]
    reading.envs.update(_exported(spec.export))
    if folder:
        reading.unchanged = StartedFiles(script, folder, directives, reading, site).read()
        inner = needs.with_started(asked, source, Project(os.path.dirname(folder), work_dir=folder))
        asked = replace(asked, programs=inner.programs)
    leave_toolchains(script, reading)
    leave_images(script, reading)
    _site_options(spec, image_file, reading)
    if _WANDB.search(source) and not re.search(r"WANDB_(MODE|DISABLED)\b|WANDB_API_KEY", source):
        reading.secrets.append("WANDB_API_KEY")
    _bring_packages(asked, script, reading, folder)
    given = {*reading.envs, *REQUIRED.findall(source)}
    reading.envs.update((name, folder) for name, folder in asked.stores if name not in given)
    name_programs(asked, source, reading)
    reading.setup += folders_setup(site, _still_used(asked, source, reading))
    for command in script.commands if interpreter(source)[0] in (*BASH, "") else ():
        why = slurm_use(command)
        if why:
            reading.need(command.line, script.text(command), why)
    if not reading.needs and (interpreter(source)[0] in BASH or not interpreter(source)[0]):
        commands_in_texts(script, reading)
    if len(specs) > 1:
        reading.need(1, "hetjob", "components of different sizes, but all nodes of a SkyPilot task are equal")
    if re.search(r"\$\{?TMPDIR\b(?!:?-)", source) and not re.search(r"\bTMPDIR=", source):
        reading.envs["TMPDIR"] = "/tmp"  # Slurm's nodes set it
    if size.gpus:
        reading.setup[:] = [
            re.sub(r"(?<=\s)gromacs(?=\s|$|\))", "'gromacs=*=nompi_cuda*'", line) for line in reading.setup
        ]
    set_variables(source, reading)
    one_python(reading)
    list_packages(reading, source, folder)
    above: list[tuple[int, str]] = []
    if not reading.needs:
        projects = own_packages(source, folder, asked.unknown)
        bring_own_packages(reading, projects)
        start, files = bring_files(script, reading, folder, start, asked.unknown)
        above = [*((one.levels, one.name) for one in projects), *files, *package_files_above(reading)]
    reading.setup[:] = one_environment(reading.setup)
    draft = Draft(
        source, script, spec, site, partition, file, task, directives, reading, tuple(arguments), guessed, serve, start
    )
    if not reading.needs and folder and spec.chdir and apart:
        _work_dir(draft, os.path.normpath(spec.chdir), folder)
    elif not reading.needs and not apart:
        _upper_workdir(draft, folder, max(above, default=(0, "")))
    text, fields = draft.agent_yaml() if reading.needs else draft.plain_yaml()
    return ExportedYaml(text, task.name, tuple(reading.needs), tuple(draft.left_out), task.notes, fields)


def _still_used(asked: Needs, source: str, reading: Reading) -> Needs:
    """Requirements without the paths that the conversion removed."""
    text = run_text(source, reading)
    starts = tuple(start for start in asked.starts if start[0] in text)
    read = [*(path for _, path in reading.paths), *reading.checkpoints]
    folders = (one for one in asked.folders if any(one in given for given in (text, *reading.envs.values())))
    written = tuple(one for one in folders if not any(path.startswith(f"{one}/") for path in read))
    return replace(asked, starts=starts, folders=written)


_WANDB = re.compile(
    r"(?m)^[^#\n]*(--[\w-]*wandb(?![\w-])|report_to[= ][\"']?wandb|\bWANDB_(PROJECT|ENTITY)="
    r"|\bwandb +(agent|sweep|sync|artifact)\b)"
)


def _gpu_for(source: str, site: Site) -> str:
    """GPU for a script without one: the newest for its CUDA."""
    names = needs.of(source).modules
    images = by_contents([module for name in names if (module := find(site, name))])
    named = (
        re.search(r"(?i)cuda(?:toolkit)?[/:-]?(\d{1,2})\.?(\d{0,2})", text)
        for text in (*(one.image for one in images), *names)
    )
    version = next(((int(found[1]), int(found[2] or 0)) for found in named if found), (99, 0))
    return next((gpu for known, gpu in _GPUS_BEFORE if version < known), DEFAULT_GPU)


def _with_gpus_of_steps(spec: JobSpec, script: Script) -> JobSpec:
    """Options; GPUs of the largest step if only steps have any."""
    largest, scope = spec, Scope.of(script)
    for command in script.commands if not geometry(spec).gpus else ():
        if command.name == "srun":
            found = split(load("srun"), [scope.expand(word) for word in command.words[1:]]).found
            given = {one.name.replace("-", "_"): text for one, text in found if text and "gpu" in f"{one.name}{text}"}
            asked = {name: given[name] for name in given.keys() & _GPU_OPTIONS if "$" not in given[name]}
            tasks = next((text for one, text in found if one.name == "ntasks" and text and text.isdecimal()), "")
            counts = {"ntasks": int(tasks[:6])} if tasks and asked and spec.ntasks_per_node is None else {}
            with suppress(Refused):  # Slurm refuses such a step
                largest = max(largest, spec.evolve(**asked, **counts), key=lambda one: geometry(one).gpus)
    return largest


def _without_image_file(spec: JobSpec) -> tuple[JobSpec, str]:
    """Options without an image file of the old cluster, and that file."""
    file = dict(spec.site_options).get("container-image", "")
    if not file.startswith(("/", ".", "~")) and not file.endswith((".sqsh", ".squashfs")):
        return spec, ""
    return spec.evolve(site_options=tuple(pair for pair in spec.site_options if pair[0] != "container-image")), file


def _site_options(spec: JobSpec, image_file: str, reading: Reading) -> None:
    """Record options of the old cluster's plug-ins and its image file."""
    for name, text in spec.site_options:
        if name != "container-image":
            mounts = "mount the buckets or volumes at these paths of the container, by file_mounts or volumes"
            mount = "mount" in name
            reading.drop(0, f"--{name}={text}", mounts if mount else "an option of the old cluster", to_do=mount)
    if image_file:
        why = "an image file: push it to a registry and name it here, image_id: docker:NAME"
        reading.drop(0, f"--container-image={image_file}", why, to_do=True)


def _bring_packages(asked: Needs, script: Script, reading: Reading, folder: str) -> None:
    """Install the script's programs, and the packages of its Python, Julia and R files."""
    small = {module.setup for module in reading.modules if not _FRAMEWORKS.search(module.setup)}
    others = [line for line in reading.setup if line not in small]
    packages = setup_of_files(script.source, others, folder, framework=any(map(is_framework, reading.modules)))
    bring_programs(asked, script, reading)
    if not all(map(CONDA_BASE.search, asked.environments)):
        return
    if packages and "--container-image" not in script.source:
        reading.setup += packages
        if packages[0].startswith("conda env create"):
            reading.setup.append("conda activate job")
            reading.activate += [] if "conda activate job" in reading.activate else ["conda activate job"]
    reading.setup += language_setup(script, folder)


def _work_dir(draft: Draft, work_dir: str, folder: str) -> None:
    """Begin in the folder of ``--chdir`` below the submit folder."""
    reading = draft.reading
    reading.workdir = True
    if work_dir.startswith(f"{folder}/"):
        place = "" if reading.former else os.path.relpath(work_dir, folder)
    else:
        reading.former = reading.former or work_dir
        stays = reading.former == work_dir or entered(draft.script, Scope.of(draft.script))[0]
        place = "" if stays else work_dir
    if place:
        reading.activate.insert(0, f"cd {conversion.quoted(place)}")


def _upper_workdir(draft: Draft, folder: str, own: tuple[int, str]) -> None:
    """Place the workdir above the submit folder as far as needed. The script reads files in the folders above.

    ``own``: the number of folders above with modules of the project, and the name of one.
    """
    levels, path = max(levels_above(draft.script, Scope.of(draft.script)), own)
    if "rev-parse --show-toplevel" in draft.source:
        bases = [os.path.normpath(os.path.join(folder, *[".."] * level)) for level in range(6)]
        levels = next((level for level, base in enumerate(bases) if os.path.lexists(f"{base}/.git")), levels)
    parts = folder.strip("/").split("/")
    if not levels:
        return
    if len(parts) <= levels + 1 or os.path.expanduser("~") == f"/{'/'.join(parts[:-levels])}":
        why = "above the workdir: name a folder that holds both, and `cd` in it first"
        draft.left_out.append(Dropped(0, f"{path}/...", why, to_do=True))
        return
    draft.workdir = os.path.normpath(os.path.join(draft.start.below, *[".."] * (levels + draft.start.levels)))
    draft.begins = "/".join(parts[-levels:])


def _exported(export: str | None) -> dict[str, str]:
    """Variables that ``--export=ALL,NAME=VALUE`` sets."""
    return dict(re.findall(r"(?:^|,)([A-Za-z_]\w*)=([^,]*)", export or ""))


def _directive_values(
    spec: JobSpec, task: SkyTask, size: Geometry, partition: str, file: str, source: str
) -> DirectiveValues:
    indices: tuple[int, ...] = ()
    if spec.array:
        try:
            found = arrayspec.parse(spec.array, 1 << 20)
            indices = tuple(index for part in found.ranges for index in part) if found else ()
        except LanguageError:
            indices = ()
    if len(indices) == 1 and "SLURM_ARRAY" not in source:
        indices = ()
    return DirectiveValues(
        spec=spec,
        name=spec.job_name or file,
        nodes=size.nodes,
        ntasks=size.ntasks,
        tasks_per_node=size.tasks_per_node,
        gpus=size.gpus,
        partition=partition,
        array=indices,
    )


def _read(script: Script, source: str, directives: DirectiveValues, site: Site) -> Reading:
    program, _ = interpreter(source)
    if program in BASH or not program:
        return conversion.read(script, directives, site)
    reading = Reading()
    names = sorted(set(re.findall(r"\bSLURMD?_[A-Z0-9_]+\b", re.sub(r"(?m)^#.*$", "", source))))
    constants = directives.constants
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
    if directives.nodes > 1:
        reading.need(1, source.split("\n", 1)[0], f"{program} on the first of several nodes")
    return reading
