"""Requirements of a script beyond its options."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ...language import image_names
from ...options.getopt import split
from ...options.table import load
from ..shell import module_lines
from ..shell.held_commands import held_commands
from ..shell.launched_program import launched, own_words
from ..shell.script_commands import Script, interpreter_of, parse
from ..shell.script_variables import Scope
from ..shell.shell_elements import Command, Word
from ..shell.word_sets import words
from . import mount_points, outside_paths, program_paths, start_files
from .conversion_tables import LAUNCHERS
from .declared_packages import NO_PACKAGES, PythonPackages
from .entered_environments import environments, following
from .folders_above import levels_above
from .language_packages import SetupLine
from .programs import find as find_program
from .project_folder import Project
from .started_scripts import makefiles_of, started_by
from .work_folder import work_folder

_LOADS = ("load", "try-load", "load-any", "swap")
_AMD = re.compile(r"(?<![A-Za-z])(rocm|hipcc|hip|gfx9\w\w|MI[123]\d\d[AX]?|amdgpu|rocprof\w*|HIP_VISIBLE_DEVICES|"
                  r"ROCR_VISIBLE_DEVICES|MIOPEN_\w+|HSA_\w+|rccl)(?![A-Za-z])", re.IGNORECASE)  # fmt: skip
_AMD_MODEL = re.compile(r"(?<![A-Za-z0-9])(gfx90a|gfx908|gfx94\w|MI[123]\d\d[AX]?)(?![A-Za-z0-9])", re.IGNORECASE)

#: roles of paths whose content setup creates
_STARTS = (
    outside_paths.MODULES, outside_paths.CONDA, outside_paths.SHELL, outside_paths.CUDA, outside_paths.PROGRAM,
    outside_paths.SOFTWARE,
)  # fmt: skip
_NODES = re.compile(r"(?m)^#SBATCH\s+(?:-N\s*|--nodes[= ]\s*)(\d{1,4})\s*(?:#.*)?$")
_OWN_CODE = re.compile(r"(\S*/)?(python[\d.]*|make|jupyter|papermill)$|\.{1,2}/|\S+\.py$|\"?\$\{?CONDA_PREFIX\}?/bin/")
_NO_CODE = re.compile(r"-(-version|V+|m (pip|venv|virtualenv))\b")
_SCHEDULERS = words("qsub bsub qstat bjobs oarsub msub")
_PMIX = re.compile(r"(?m)^[^#\n]*(?:--mpi[= ]['\"]?pmix|SLURM_MPI_TYPE=['\"]?pmix)")


@dataclass(frozen=True)
class Needs:
    """Modules, images, programs, folders, environments and GPUs of a script."""

    modules: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()  # folders of the old cluster that the script names, as mount points
    paths: tuple[str, ...] = ()  # all paths that the script names
    links: tuple[str, ...] = ()  # paths by which the script names the submit folder
    above: int = 0  # number of folders above its working directory that the script reads
    work_folder: tuple[str, tuple[str, ...]] = ("", ())  # the folder with the script's own files, and their names
    starts: tuple[tuple[str, str], ...] = ()  # (start file or CUDA folder of the old cluster, its role)
    environments: tuple[str, ...] = ()  # names of conda environments, folders of virtual environments
    cpus: int = 0  # number of CPUs of the largest step on one node
    unknown: tuple[str, ...] = ()  # programs that the table lacks
    licensed: tuple[str, ...] = ()  # programs that the user must provide
    others: tuple[str, ...] = ()  # commands of other schedulers
    python: PythonPackages = NO_PACKAGES  # Python packages that the script's files need
    own_code: bool = False  # the script starts Python or programs of the project, which need packages
    languages: tuple[SetupLine, ...] = ()  # for the packages that R and Julia files beside the script name
    stores: tuple[tuple[str, str], ...] = ()  # file-system variables of the old cluster, and folders for them
    pmix: bool = False  # a step uses --mpi=pmix
    amd: str = ""  # AMD GPU as the script spells it, or ""


#: fields that also have the requirements of started scripts
_JOINED = words("modules programs folders mounts paths starts environments unknown licensed stores")


@lru_cache(maxsize=8)
def of(source: str) -> Needs:
    """Analyse a script's text."""
    script = parse(source)
    return _of(script, Scope.of(script))


def _of(script: Script, scope: Scope) -> Needs:
    source = script.source
    used = tuple(outside_paths.places(script, scope))
    spacked = [name for _, name in spack_loads(script, scope)]
    return Needs(
        modules=tuple(dict.fromkeys((*loaded(source), *_software(used), *spacked))),
        images=of_steps(source),
        programs=tuple(dict.fromkeys((*_interpreter(source), *_programs(script, scope), *_by_path(used)))),
        folders=tuple(dict.fromkeys(_folders(used))),
        mounts=tuple(dict.fromkeys(_mounts(used))),
        paths=tuple(dict.fromkeys(place.text for place in used)),
        starts=tuple(
            dict.fromkeys((place.text, place.role) for place in used if place.role in _STARTS and "$" not in place.text)
        ),
        above=levels_above(script, scope)[0],
        work_folder=work_folder(script, scope),
        environments=tuple(dict.fromkeys(name for _, name in environments(script, scope))),
        cpus=_step_cpus(script, scope),
        unknown=tuple(dict.fromkeys(_unknown(script, scope))),
        licensed=tuple(dict.fromkeys(_licensed(script, scope))),
        own_code=any(_is_own_code(command, scope) for command in script.commands),
        others=tuple(dict.fromkeys(one.name for one in script.commands if one.name in _SCHEDULERS)),
        stores=tuple(scope.stores.items()),
        pmix=bool(_PMIX.search(source)),
        amd=amd_of(source),
    )


def with_started(wants: Needs, source: str, project: Project) -> Needs:
    """Add the requirements of scripts that a script starts."""
    script = parse(source)
    scope = Scope.of(script)
    for one in (*started_by(script, scope, project), *makefiles_of(script, scope, project)):
        more = _of(one.script, one.scope)
        joined: dict[str, Any] = {
            name: tuple(dict.fromkeys((*getattr(wants, name), *getattr(more, name)))) for name in _JOINED
        }
        levels = 0 if one.folder else more.above
        joined["above"] = max(wants.above, levels)
        wants = replace(wants, pmix=wants.pmix or more.pmix, amd=wants.amd or more.amd, **joined)
    return wants


def needs_in_folder(wants: Needs, project: Project) -> Needs:
    """Requirements of a job in this submit folder.

    Virtual environments in the folder get their whole paths, former paths of the folder become links, and setup makes
    no folder below either. Without a former path, the folder replaces the one where the script expects its files.
    """
    base = project.work_dir or project.folder
    paths = [
        *(project.with_user(path) for path in wants.paths),
        *([project.work_dir] if project.work_dir.startswith("/") else []),
    ]
    links = dict.fromkeys(link for path in paths if not project.holds(path) and (link := project.former(path)))
    named, files = wants.work_folder
    apart = project.work_dir.startswith("/") and not project.holds(project.work_dir)
    work_folder = project.with_user(named) or (project.work_dir if apart and files else "")
    if not links and work_folder and "$" not in work_folder and (link := project.stands_for(work_folder, files)):
        links[link] = None

    def here(name: str) -> str:
        """Path of an environment in the submit folder."""
        for link in links:
            if name.startswith(link + "/"):
                return project.folder + name[len(link) :]
        return os.path.normpath(os.path.join(base, name)) if name[:1] == "." else name

    names = (here(project.with_user(name)) for name in wants.environments)
    made = (name for name in wants.folders if not (project.holds(name) or mount_points.is_mounted(name, tuple(links))))
    return replace(
        wants, environments=tuple(dict.fromkeys(names)), links=tuple(links), folders=tuple(dict.fromkeys(made))
    )


def loaded(text: str) -> Iterator[str]:
    """Module names in ``module load``."""
    for line in module_lines.parse(text):
        if line.action in _LOADS:
            yield from line.names[-1:] if line.action == "swap" else line.names


def spack_loads(script: Script, scope: Scope) -> Iterator[tuple[int, str]]:
    """Pairs (line, module) of ``spack load``; gcc@9.3 is gcc/9.3."""
    if re.search(r"(?m)^[^#\n]*\bspack\s+(?:-\S+\s+)*install\b", script.source):
        return
    for command in script.commands:
        texts = [scope.expand(word) for word in command.words]
        if command.name == "spack" and texts[1:2] == ["load"]:
            for text in texts[2:]:
                found = re.match(r"(?!\w+=)([A-Za-z][\w-]*)(?:@=?([\w.]+))?", text)
                if found:
                    yield command.line, f"{found[1]}/{found[2]}" if found[2] else found[1]


def amd_of(source: str) -> str:
    """Script's word for an AMD GPU, or ""."""
    code = re.sub(r"(?m)^\s*#(?!SBATCH|!).*$", "", source)
    if not _AMD.search(code):
        return ""
    if re.search(r"(?i)nvidia-smi|\bnvcc\b|module +load +.*cuda", code):
        return ""  # the script names GPUs of both manufacturers
    found = _AMD_MODEL.search(code)
    return found[0] if found else "rocm"


def _interpreter(source: str) -> Iterator[str]:
    """Installable program of the first line: tcsh, zsh, Rscript."""
    name = interpreter_of(source)
    if name and (found := find_program(name)) and found.install:
        yield name


def _programs(script: Script, scope: Scope) -> Iterator[str]:
    for command in held_commands(script, scope):
        found = launched(command, scope.containers)
        name = found.name
        if name in ("snakemake", "nextflow") and re.search(r"singularity|apptainer", " ".join(command.word_texts[1:])):
            yield "singularity"
        if name in ("parallel", "xargs"):
            for text in command.word_texts[1:]:
                inner = find_program(text) if text not in scope.functions else None
                if inner is not None and inner.install:
                    yield text
        if re.search(r"\.(sif|simg)$", scope.expand(found.words[0]) if found.words else ""):
            yield "singularity"  # an image file is a program that needs it
        if found.inside and not find_program(found.inside):
            continue
        name = found.inside or name
        first = re.sub("^/(usr/(local/)?)?bin/", "", found.words[0].text or "/") if found.words else None
        if re.fullmatch(r"[\w.+-]+", first or "/") and name not in scope.functions:
            source = find_program(name)
            if source is not None and (source.install or source.kind in ("image", "machine")):
                yield name
        elif found.inside:
            yield name
    yield from (command.name for command in script.commands if command.name in LAUNCHERS)


def _step_cpus(script: Script, scope: Scope) -> int:
    """CPUs of the largest step on one node."""
    most, header = 0, _NODES.search(script.source)
    for command in script.commands:
        if command.name in LAUNCHERS:
            texts = [scope.expand(word) for word in own_words(command)]
            ranks = ("-ppn", "-perhost", *(() if header and header[1] != "1" else ("-n", "-np")))
            most = max(most, *(int(text) for text in following(texts, ranks) if text.isdecimal()), 0)
        if command.name != "srun":
            continue
        given = {}
        for option, text in split(load("srun"), [scope.expand(word) for word in command.words[1:]]).found:
            if text is not None and text.isdecimal() and len(text) < 6:
                given[option.name] = int(text)
        nodes = max(1, given.get("nodes", int(header[1]) if header else 1))
        tasks = given.get("ntasks-per-node") or -(-given.get("ntasks", 1) // nodes)
        if "nodes" in given or header or nodes == 1:
            most = max(most, tasks * given.get("cpus-per-task", 1))
    return most


def _is_own_code(command: Command, scope: Scope) -> bool:
    """Return whether a command may start the project's Python code."""
    found = launched(command, scope.containers)
    first = found.words[0].raw if found.words and not found.inside else ""
    text = " ".join(word.raw for word in found.arguments)
    return bool(_OWN_CODE.match(first)) and not _NO_CODE.match(text)


def _unknown(script: Script, scope: Scope) -> Iterator[str]:
    made = {text for one in script.commands for text in following(one.word_texts, ("-o",))}
    for command in held_commands(script, scope):
        found = launched(command, scope.containers)
        text = found.words[0].text if found.words and found.name not in made else None
        listed = "--multi-prog" in command.word_texts  # the word is a file of programs
        known = listed or found.inside or found.name in scope.functions or find_program(found.name)
        if text and "/" not in text and not known and re.match(r"[A-Za-z_][\w.+-]*$", found.name):
            yield found.name


def _licensed(script: Script, scope: Scope) -> Iterator[str]:
    for command in script.commands:
        found = launched(command, scope.containers)
        name = scope.expand(found.words[0]).rpartition("/")[2] if found.words and not found.inside else ""
        source = find_program(name) if name not in scope.functions else None
        if source is not None and source.kind == "licensed":
            yield name


def _software(used: tuple[outside_paths.Place, ...]) -> Iterator[str]:
    """Modules that replace start files of software."""
    return (start_files.software_of(place.text) for place in used if place.role == outside_paths.SOFTWARE)


def _by_path(used: tuple[outside_paths.Place, ...]) -> Iterator[str]:
    """Installable programs that the script starts by an old path."""
    return (program_paths.known_program(place.text) for place in used if place.role == outside_paths.PROGRAM)


def _mounts(used: tuple[outside_paths.Place, ...]) -> Iterator[str]:
    for place in used:
        skipped = place.role == outside_paths.ENTRY or place.role in _STARTS
        if not skipped and not mount_points.on_every_node(place.text) and not place.text.startswith("/path/"):
            top = mount_points.mount_of(place.text)
            if top not in ("/", "~"):
                yield top


def _folders(used: tuple[outside_paths.Place, ...]) -> Iterator[str]:
    """Folders that the script writes and a node lacks."""
    for place in used:
        if place.role == outside_paths.BOUND and not mount_points.on_every_node(place.text):
            yield place.text.rstrip("/")
        if place.role not in (outside_paths.WRITTEN, outside_paths.CACHE) or mount_points.on_every_node(place.text):
            continue
        known = place.text.split("$", 1)[0]
        folder = known.rpartition("/")[0] or mount_points.mount_of(place.text)
        if not folder.startswith("~") and folder not in ("", "/"):
            yield folder


_OPTION = "container-image"


def of_steps(source: str) -> tuple[str, ...]:
    """Images of the script's steps, in order, without duplicates.

    A variable is used if the script assigns it one plain value. Files (squashfs) are omitted.

    >>> of_steps('#!/bin/bash\\nI=nvcr.io#nvidia/pytorch:24.01-py3\\nsrun --container-image="$I" python train.py\\n')
    ('nvcr.io#nvidia/pytorch:24.01-py3',)
    """
    if _OPTION not in source:
        return ()
    script = parse(source)
    values = _values(script)
    table = load("srun")
    found: list[str] = []
    for command in script.commands:
        if command.name != "srun":
            continue
        texts = [_text(word, values) for word in command.arguments]
        for option, text in split(table, texts).found:
            if option.name == _OPTION and text and "$" not in text and text not in found:
                found.append(text)
    return tuple(image for image in found if not image_names.is_path(image))


def _values(script: Script) -> dict[str, str]:
    given: dict[str, set[str | None]] = {}
    for command in script.commands:
        for entry in command.assignments:
            given.setdefault(entry.name, set()).add(None if entry.append or entry.array else entry.value.text)
        if command.name in ("export", "declare", "readonly", "local"):
            for text in command.word_texts[1:]:
                name, sign, value = text.partition("=")
                if sign:
                    given.setdefault(name, set()).add(None if "$" in value else value.strip("'\""))
    return {name: text for name, (text, *others) in given.items() if text is not None and not others}


def _text(word: Word, values: dict[str, str]) -> str:
    if word.text is not None:
        return word.text
    pieces = [
        part.text if part.kind == "text" else values.get(part.name, "$") if part.kind == "variable" else "$"
        for part in word.parts
    ]
    return "".join(pieces)
