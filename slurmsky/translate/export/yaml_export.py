"""Converts a batch script to a readable SkyPilot YAML.

A script that needs Slurm's machinery (several tasks per node, steps, the queue) is reported as such, and the YAML
passes the unchanged script to slurmsky on the nodes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...model.spec import JobSpec
from ...site.record import Site
from ..script import needs
from ..script.folders_above import levels_above
from ..script.language_packages import language_setup
from ..script.needs import Needs
from ..script.own_packages import own_packages
from ..script.program_paths import CONDA_BASE
from ..script.project_folder import Project
from ..script.project_root import Origin, origin
from ..script.python_projects import setup_of_files
from ..script.work_folder import entered
from ..shell.script_commands import Script, parse
from ..shell.script_variables import Scope
from ..sky_task.geometry import geometry
from ..sky_task.setup_commands import folders_setup, one_environment
from ..sky_task.sky_components import plan_all
from ..sky_task.sky_names import sky_name
from ..sky_task.translation_notes import Note
from . import conversion
from .agent_folder import AgentFolder
from .conversion import Dropped, Reading
from .exported_options import directive_values, exported_variables, gpu_for, with_gpus_of_steps, without_image_file
from .inlined_launchers import inlined
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

NAME_LENGTH = 60
#: packages that make up a Python environment, unlike a library in it
_FRAMEWORKS = re.compile("numpy|torch|tensorflow|jax")
#: packages of conda with a separate build for GPUs
_GPU_BUILT = re.compile(r"(?<=\s)(gromacs)(?=\s|$|\))")
#: characters that YAML cannot hold in a block of text
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class SubmittedScript:
    """A script with its options ``specs``, one for each component.

    ``file``: the script's name in texts. ``folder``: the submit folder, if known; ``path``: the script's path below
    it. ``dropped``: directives that sbatch does not know. ``stage``: the line that submits it, in a pipeline.
    """

    source: str
    specs: Sequence[JobSpec]
    file: str = "job.sh"
    arguments: Sequence[str] = ()
    folder: str = ""
    path: str = ""
    dropped: Sequence[Dropped] = ()
    stage: int = 0


@dataclass(frozen=True)
class ExportedYaml:
    """An exported YAML. ``needs``: why slurmsky must be on the nodes; empty for plain SkyPilot."""

    yaml: str
    name: str
    needs: tuple[Dropped, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[Note, ...]
    fields: dict[str, Any]
    draft: Draft

    def with_folder(self, folder: AgentFolder) -> str:
        """Return the YAML that runs the script with slurmsky's folder, as it was created."""
        return self.draft.agent_yaml(folder)[0]


def export_yaml(submitted: SubmittedScript, site: Site, partition: str, *, serve: bool = False) -> ExportedYaml:
    """Export a script's YAML.

    ``serve``: write a service for ``sky serve`` if the script starts a server. Raises Refused with Slurm's text if
    SkyPilot cannot provide such nodes.
    """
    return _Export(submitted, site, partition).exported(serve)


class _Export:
    """One export. Options, submit folder and plan of the nodes are known before the script's commands are read."""

    def __init__(self, submitted: SubmittedScript, site: Site, partition: str) -> None:
        self._submitted = submitted
        self._partition = partition
        printable = re.sub(r"(?m)^\s*#[^!\n].*$", lambda line: _UNPRINTABLE.sub("", line[0]), submitted.source)
        self._source = inlined(until_exit(parse(printable)))
        self._script = parse(self._source)
        self._guessed = not (site.sky_partition(partition).gpu or site.gpus.default)
        if self._guessed:
            site = replace(site, gpus=replace(site.gpus, default=gpu_for(self._source, site)))
        self._site = site
        self._spec, self._image_file = self._options()
        self._needs = needs.of(self._source)
        self._work_dir = self._other_folder()
        self._start, self._folder, self._path = self._origin()
        self._plan()
        self._reading = self._read()

    def _options(self) -> tuple[JobSpec, str]:
        """Options of the first component, and an image file of the old cluster among them."""
        specs, file = self._submitted.specs, self._submitted.file
        spec, image_file = without_image_file(specs[0])
        spec = with_gpus_of_steps(spec, self._script) if len(specs) == 1 else spec
        if spec.job_name == file and "." in file:
            spec = spec.evolve(job_name=file.rpartition(".")[0])  # the client's default: the script's name
        return spec, image_file

    def _other_folder(self) -> str:
        """Folder of ``--chdir``, if it is not the submit folder."""
        work_dir = os.path.normpath(self._spec.chdir) if self._submitted.folder and self._spec.chdir else ""
        return work_dir if work_dir != self._submitted.folder else ""

    def _origin(self) -> tuple[Origin, str, str]:
        """Folder in which the script's authors call sbatch.

        Returns its place relative to the given folder, its path, and the script's path in it.
        """
        folder, path, chdir = self._submitted.folder, self._submitted.path, self._spec.chdir or ""
        old = chdir if self._work_dir and not (chdir.startswith(f"{folder}/") or os.path.isdir(chdir)) else ""
        known = folder if old or not self._work_dir else ""
        start = origin(self._script, Scope.of(self._script), known, (*self._needs.paths, old), path)
        if not (start.levels or start.below):
            return start, folder, path
        base = os.path.normpath(os.path.join(folder, start.below, *[".."] * start.levels))
        return start, base, os.path.relpath(os.path.join(folder, path or self._submitted.file), base)

    def _plan(self) -> None:
        """Plan the task's nodes. The other components of a het job may name their own partitions."""
        cluster = self._site.cluster
        partition = self._partition if cluster.partition(self._partition) else ""
        others = [(part, (part.partition or partition).split(",")[0]) for part in self._submitted.specs[1:]]
        wanted = Needs(amd=self._needs.amd, cpus=self._needs.cpus)
        task = plan_all([(self._spec, partition), *others], self._site, wants=wanted)
        self._task = replace(task, name=sky_name(self._spec.job_name or "sbatch", NAME_LENGTH))
        self._size = geometry(self._spec, cluster.partition(partition))

    def _read(self) -> Reading:
        """Read the script's commands, and those of the scripts that it starts."""
        submitted, folder = self._submitted, self._folder
        images = [one for one in submitted.dropped if one.text.startswith("--image=")]
        image = images[0].text.partition("=")[2] if images else ""
        values = directive_values(self._spec, self._task, self._size, self._partition, submitted.file, self._source)
        self._directives = replace(
            values, file=self._path or submitted.file, folder=folder, former=self._start.former, image=image
        )
        reading = _read(self._script, self._source, self._directives, self._site)
        used = images if image in reading.images else ()
        reading.dropped += [one for one in submitted.dropped if one not in used]
        reading.envs.update(exported_variables(self._spec.export))
        if folder:
            reading.unchanged = StartedFiles(self._script, folder, self._directives, reading, self._site).read()
            project = Project(os.path.dirname(folder), work_dir=folder)
            inner = needs.with_started(self._needs, self._source, project)
            self._needs = replace(self._needs, programs=inner.programs)
        return reading

    def exported(self, serve: bool) -> ExportedYaml:
        """Convert the script, and write its YAML."""
        reading = self._reading
        self._prepare()
        self._find_slurm_use()
        self._complete()
        above = [] if reading.needs else self._bring_files()
        reading.setup[:] = one_environment(reading.setup)
        draft = Draft(
            self._source,
            self._script,
            self._spec,
            self._site,
            self._partition,
            self._submitted.file,
            self._task,
            self._directives,
            reading,
            tuple(self._submitted.arguments),
            self._guessed,
            serve,
            self._start,
            self._submitted.stage,
        )
        if not reading.needs and self._work_dir:
            _work_dir(draft, self._work_dir, self._folder)
        elif not reading.needs:
            _upper_workdir(draft, self._folder, max(above, default=(0, "")))
        text, fields = draft.agent_yaml() if reading.needs else draft.plain_yaml()
        name, notes = self._task.name, self._task.notes
        return ExportedYaml(text, name, tuple(reading.needs), tuple(draft.left_out), notes, fields, draft)

    def _prepare(self) -> None:
        """Write setup: images, packages, programs and folders that the script needs."""
        source, script, reading, wanted = self._source, self._script, self._reading, self._needs
        leave_toolchains(script, reading)
        leave_images(script, reading)
        _site_options(self._spec, self._image_file, reading)
        if _WANDB.search(source) and not re.search(r"WANDB_(MODE|DISABLED)\b|WANDB_API_KEY", source):
            reading.secrets.append("WANDB_API_KEY")
        _bring_packages(wanted, script, reading, self._folder)
        given = {*reading.envs, *REQUIRED.findall(source)}
        reading.envs.update((name, folder) for name, folder in wanted.stores if name not in given)
        name_programs(wanted, source, reading)
        reading.setup += folders_setup(self._site, _still_used(wanted, source, reading))

    def _find_slurm_use(self) -> None:
        """Record the commands and texts that need slurmsky on the nodes."""
        reading = self._reading
        if interpreter(self._source)[0] in (*BASH, ""):
            for command in self._script.commands:
                if why := slurm_use(command):
                    reading.need(command.line, self._script.text(command), why)
            if not reading.needs:
                commands_in_texts(self._script, reading)
        if len(self._submitted.specs) > 1:
            reading.need(1, "hetjob", "components of different sizes, but all nodes of a SkyPilot task are equal")

    def _complete(self) -> None:
        """Set variables that Slurm's nodes set, and choose one Python and the builds for GPUs."""
        source, reading = self._source, self._reading
        if re.search(r"\$\{?TMPDIR\b(?!:?-)", source) and not re.search(r"\bTMPDIR=", source):
            reading.envs["TMPDIR"] = "/tmp"  # Slurm's nodes set it
        if self._size.gpus:
            reading.setup[:] = [_GPU_BUILT.sub(r"'\1=*=nompi_cuda*'", line) for line in reading.setup]
        set_variables(source, reading)
        one_python(reading)
        list_packages(reading, source, self._folder)

    def _bring_files(self) -> list[tuple[int, str]]:
        """Bring the project's packages and files. Return the folders above the submit folder that hold any."""
        projects = own_packages(self._source, self._folder, self._needs.unknown)
        bring_own_packages(self._reading, projects)
        self._start, files = bring_files(self._script, self._reading, self._folder, self._start, self._needs.unknown)
        return [*((one.levels, one.name) for one in projects), *files, *package_files_above(self._reading)]


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
