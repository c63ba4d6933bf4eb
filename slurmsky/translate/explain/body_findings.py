"""Findings for a script's body: modules, programs, paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from ...site.modules import Module, find
from ..script import mount_points, needs, outside_paths, start_files
from ..script.conversion_tables import LAUNCHERS, one_line
from ..script.paths_above import outside
from ..script.program_paths import CONDA_PROGRAMS
from ..script.programs import Source
from ..script.programs import find as find_program
from ..script.workflow_submission import submits
from ..shell import module_lines
from ..shell.held_commands import held_commands
from ..shell.launched_program import Launched, launched
from ..shell.shell_elements import Command
from ..shell.word_sets import words
from .explain_input import View
from .finding import CHANGED, DECISION, KEPT, MISSING, NOTHING, Finding
from .site_suggestions import toml

_LOADS = ("load", "try-load", "load-any", "swap")
#: modules that provide compilers or libraries, not the programs that a job runs
_TOOLCHAINS = re.compile(r"(?i)^(gcc|gnu|cuda|cudnn|nccl|python|anaconda|miniconda|conda|openmpi|mpi|mpich|intel|mkl|"
                         r"cmake|"
                         r"prgenv|foss|slurm|rhel|stdenv|cray)")  # fmt: skip
#: programs for which modules bring packages, libraries or settings
_LANGUAGES = words(
    """
    python python2 python3 ipython pip pip3 conda mamba jupyter R Rscript perl julia java ruby lua octave matlab bash sh
    zsh ksh tcsh csh source . eval make cmake gcc g++ cc c++ gfortran mpicc mpicxx mpif90 nvcc go cargo npm node
    snakemake nextflow torchrun accelerate deepspeed parallel xargs sbatch find wandb ray
    """
)
#: the script ends at the first command that fails
_ERREXIT = re.compile(r"(?m)^\s*set\s+(-\w+\s+)*-\w*e|^\s*set\s+-o\s+errexit|\A#!.*\s-\w*e")
#: builtins of ksh and zsh that bash lacks
_KSH = frozenset(("integer", "float", "print", "whence", "setopt", "unsetopt", "autoload", "zmodload", "emulate"))
#: uses of a folder that need none of its content; explain reports each separately
_USES = {
    outside_paths.WRITTEN: "made",
    outside_paths.CACHE: "made",
    outside_paths.BOUND: "made",
    outside_paths.ENTRY: "entry",
} | (
    dict.fromkeys(
        (outside_paths.MODULES, outside_paths.CONDA, outside_paths.SHELL, outside_paths.VENV, outside_paths.CUDA),
        "start",
    )
)
#: the replacement of an old cluster's path on a node
_STUBS = {
    outside_paths.MODULES: "starts the old cluster's module system; slurmsky's own module command is available",
    outside_paths.CONDA: "conda's start file: the start file of the node's conda replaces it",
    outside_paths.SHELL: "the shell's start file of an old account: the start file on the node replaces it",
    outside_paths.CUDA: "a link to the node's CUDA, /usr/local/cuda",
    outside_paths.PROGRAM: "setup installs the program and makes a link here",
    outside_paths.BOUND: "a file system that the container mounts: an empty folder if the node lacks it",
}
#: lines that may add programs; a line that only adds a folder to PATH is stored with the folder
_ADDS = re.compile(r"(?m)^\s*(?:export\s+)?PATH=.*$|\bsource\s+(?!.*activate)\S|\bspack load\b|^\s*\.\s+\S|\beval\b")
_OLD_PATH = re.compile(r"(?m)^\s*(?:export\s+)?PATH=[\"']?(/[\w./-]+):\$\{?PATH\b\S*$")
_NOT_READ = (outside_paths.WRITTEN, outside_paths.CACHE, outside_paths.ENTRY, outside_paths.MODULES)
_SAME = {"pip3": "pip", "mpiexec.hydra": "mpiexec", "ml": "module", "nvidia-docker": "docker"}


@dataclass
class Body:
    """Finds modules, programs and paths in one script's body."""

    view: View

    # --- modules

    def modules(self) -> Iterator[Finding]:
        """Findings for names in ``module load`` and other module lines."""
        for module_line in module_lines.parse(self.view.source):
            if module_line.action not in _LOADS:
                reason = self.view.sentence("command", "module")
                yield Finding(module_line.line, "module", one_line(str(module_line)), KEPT, reason)
                continue
            for name in module_line.names[-1:] if module_line.action == "swap" else module_line.names:
                yield self._module(module_line.line, name)
        for line, name in needs.spack_loads(self.view.script, self.view.scope) if self.view.sky else ():
            yield self._module(line, name)

    def _module(self, line: int, name: str) -> Finding:
        view = self.view
        shown = f"module load {one_line(name)}"
        if "$" in name or "`" in name:
            return Finding(line, "module", shown, CHANGED, "known only when the job runs; then the module map applies")
        module = find(view.site, name)
        if module is None or not module.complete:
            if view.sky and not self._may_need_modules:
                return Finding(line, "module", shown, NOTHING, "no program that the script starts needs it")
            if view.sky and module is not None and "nvcc" in module.gives and self._only_python:
                return Finding(line, "module", shown, CHANGED, f"{module.note}; Python's packages bring their own CUDA")
            suggestion = f'[modules]\n"{toml(name)}" = "docker:IMAGE"'
            why = module.note if module is not None else "no module map has it; the job prints a warning and continues"
            effect = DECISION if view.sky else NOTHING if module is None else KEPT
            if not view.sky:
                why = "the machine's own module; else marked as loaded, with a line on stderr"
            return Finding(line, "module", shown, effect, why, suggestion if view.sky else "")
        if module.source == "site":
            what = f"image {module.image}" if module.image else "setup and variables of the site file"
            return Finding(line, "module", shown, CHANGED if view.sky else KEPT, what)
        if not view.sky:
            return Finding(line, "module", shown, KEPT, "the machine's own modules; else marked as loaded")
        if not (module.image or module.setup):
            return Finding(line, "module", shown, NOTHING, module.note)
        what = f"image {module.image}" if module.image else f"setup: {one_line(module.setup, 120)}"
        if view.site.shipped_modules:
            return Finding(line, "module", shown, CHANGED, f"{what}; {module.note}".rstrip("; "))
        key, text = toml(name), toml(module.image or module.setup, 200)
        suggestion = f'[modules]\n"{key}" = "{text}"' if module.image else f'[modules."{key}"]\nsetup = "{text}"'
        why = f"marked as loaded, but its software must be on the node; {module.note}".rstrip("; ")
        return Finding(line, "module", shown, DECISION, why, suggestion)

    @cached_property
    def _only_python(self) -> bool:
        """Return whether the script starts only Python and programs without GPU."""
        for command in self.view.script.commands:
            found = launched(command, self.view.scope.containers)
            if not found.words or found.inside or found.name in self.view.scope.functions:
                continue
            source = find_program(found.name)
            if source is None or source.kind not in ("base", "node", "slurm", "pip"):
                return False
        return bool(self.view.wants.python.pip)

    @cached_property
    def _may_need_modules(self) -> bool:
        """Return whether a module may provide a program of the script."""
        started = False
        for command in self.view.script.commands:
            found = launched(command, self.view.scope.containers)
            if not found.words or found.inside or found.name in ("module", "ml", *self.view.scope.functions):
                continue
            first = found.words[0].text or "$"
            source = find_program(found.name)
            known = source is not None and source.kind not in ("licensed", "old") and found.name not in _LANGUAGES
            if "/" in first or "$" in first or not known:
                return True
            started |= source is not None and bool(source.package)
        return not started

    # --- programs

    def programs(self) -> Iterator[Finding]:
        """The source of each program, reported once."""
        seen: set[str] = set()
        for command in held_commands(self.view.script, self.view.scope):
            found = launched(command, self.view.scope.containers)
            names = [(command.name, Launched(command.name, command.words))] if command.words else []
            if found.name != command.name and not found.inside and "--multi-prog" not in command.word_texts:
                names.append((found.name, found))
            for name, part in names:
                name = _SAME.get(name, name)
                if name in seen or name == "module" or not re.search(r"^(?!-).*[A-Za-z_]|^[:.\[]", name):
                    continue
                seen.add(name)
                finding = self._submission(command, part) or self._program(command, name, part)
                if finding is not None:
                    yield finding

    def _submission(self, command: Command, part: Launched) -> Finding | None:
        """Finding for a workflow manager that submits jobs."""
        folder = self.view.project.folder if self.view.project else ""
        texts = [self.view.scope.expand(word) for word in part.words]
        shared = not self.view.sky or mount_points.is_mounted(folder, self.view.mounted)
        if part.name not in ("snakemake", "nextflow") or shared or not submits(texts, folder):
            return None
        why = "its parts become jobs on nodes without this folder's files: run them on this node, or mount the folder"
        return Finding(command.line, "command", one_line(" ".join(texts[:3]), 50), DECISION, why)

    def _program(self, command: Command, name: str, part: Launched) -> Finding | None:
        view = self.view
        shown = one_line(" ".join(word.text_or_source for word in part.words[:3]), 50)

        def finding(effect: str, reason: str, suggestion: str = "") -> Finding:
            return Finding(command.line, "command", shown, effect, reason, suggestion)

        first = part.words[0]
        if name in view.scope.functions:
            return finding(KEPT, "a function of the script")
        if first.text is None and not first.raw.startswith(("./", "../")):
            return None  # a program in a variable; its value is checked as a path
        if "/" in (first.text or first.raw):
            beside = not (first.text or first.raw).startswith(("/", "~"))
            where = "a file of the submit folder" + (", which is copied" if view.sky else "")
            return finding(KEPT, where) if beside else None
        reason = view.sentence("command", name)
        source = find_program(name)
        if source is None and name in _KSH and re.match(r"#!.*\b(?:ksh|zsh|mksh)", view.source):
            source = Source("base")
        if not view.sky:
            return self._local_program(finding, name, source, reason)
        if name in dict(view.site.programs):
            return finding(CHANGED, "the site file's setup installs it")
        provider = self._provider(name)
        if source is None:
            if provider:
                return finding(KEPT, f"from {provider}")
            if command.name in ("srun", "ibrun", *LAUNCHERS) and self._is_built_here(name):
                return finding(KEPT, f"a program of the project, which {command.name} finds in the submit folder")
            if self._own_path():
                return finding(KEPT, "in a folder that the script adds to PATH")
            suggestion = f'[programs]\n"{toml(name)}" = "COMMAND THAT INSTALLS IT"'
            return finding(DECISION, "no image or package is known for it", suggestion)
        if source.kind in ("base", "node", "slurm"):
            return finding(KEPT, reason or "unchanged; every node has it")
        if source.kind == "machine":
            return self._machine(finding, reason)
        if provider:
            return finding(KEPT, f"from {provider}")
        return self._installed(finding, name, source)

    def _is_built_here(self, name: str) -> bool:
        """Return whether a program's user builds it in the submit folder."""
        if name.endswith((".x", ".exe", ".out")) or re.search(rf"-o\s+{re.escape(name)}\b", self.view.source):
            return True
        return self.view.lookup is not None and self.view.lookup.built(name)

    def _installed(self, finding: Callable[..., Finding], name: str, source: Source) -> Finding:
        """Finding for a program of a package, an image, or the user."""
        fields = self.view.fields
        if source.install:
            return finding(CHANGED, f"setup installs {source.package} ({source.kind}) where the node lacks it")
        suggestion = f'[programs]\n"{toml(name)}" = "COMMAND THAT INSTALLS IT"'
        if source.kind == "image":
            if "image_id" in fields and str(fields["image_id"]) != source.package:
                return finding(DECISION, f"not in {fields['image_id']}", suggestion)
            return finding(CHANGED, f"image {source.package}")
        if source.kind == "reports" and not _ERREXIT.search(self.view.source):
            return finding(NOTHING, "only prints information; without it the script prints an error and continues")
        why = "licensed software: use an image that contains it" if source.kind == "licensed" else "of the old cluster"
        return finding(DECISION, why, suggestion)

    def _machine(self, finding: Callable[..., Finding], reason: str) -> Finding:
        """Finding for docker, which needs virtual machines instead of pods."""
        pods = [place for place in self.view.infra if place.startswith(("kubernetes", "k8s", "slurm", "ssh"))]
        if pods and len(pods) == len(self.view.infra):
            suggestion = f'[[partition]]\nname = "{toml(self.view.partition or "docker")}"\ninfra = "aws"'
            return finding(DECISION, reason, suggestion)
        return finding(CHANGED, "SkyPilot uses a virtual machine, which has docker; pods have none")

    def _local_program(self, finding: Callable[..., Finding], name: str, source: Source | None, reason: str) -> Finding:
        view = self.view
        usual = source is not None and source.kind in ("base", "slurm")
        if view.lookup is not None and not usual and not view.lookup.program(name) and not self._provider(name):
            return finding(MISSING, "no such program in PATH on this machine")
        return finding(KEPT, reason or "unchanged")

    def _provider(self, name: str) -> str:
        """Module, environment or image that provides a program, or ""."""
        view = self.view
        if "image_id" in view.fields and view.wants.images:
            return f"the image {view.fields['image_id']}"
        for loaded in view.wants.modules:
            module = find(view.site, loaded)
            bare = re.split(r"[/]", loaded)
            if module is not None and module.kind == "licensed" and not _TOOLCHAINS.match(bare[0]):
                return f"module {one_line(loaded, 40)}"
            if module is not None and gives(module, name):
                return f"module {one_line(loaded, 40)}"
            known = module is not None and module.source != "site"
            unknown = find_program(name) is None and not _is_build(name) and not name.endswith(".sh")
            wheels = module is None or module.setup.startswith("pip install") or not (module.image or module.setup)
            brings = not known or (unknown and not wheels)
            if brings and not _TOOLCHAINS.match(bare[0]):
                return f"module {one_line(loaded, 40)}"
        entered = view.wants.environments
        # the program that enters an environment is outside of it
        return f"environment {one_line(entered[0], 40)}" if entered and name not in CONDA_PROGRAMS else ""

    def _own_path(self) -> bool:
        """Return whether the script adds folders to PATH that the nodes may have."""
        added = _OLD_PATH.finditer(self.view.source)
        old = {line[0] for line in added if not mount_points.is_mounted(line[1], self.view.mounted)}
        return any(line[0] not in old for line in _ADDS.finditer(self.view.source))

    # --- paths

    def paths(self) -> Iterator[Finding]:
        """Folders outside the submit folder, each with its use."""
        view, seen = self.view, set[tuple[str, str]]()
        above = outside(view.script, view.scope) if view.sky else None
        if above is not None:
            levels, project = view.wants.above, view.project
            top = project.above(levels) if project else "the folder above the submit folder"
            effect = CHANGED if levels and top else DECISION
            why = "above the submit folder, so it is not copied: submit from the folder above, with paths from there"
            if view.lookup is not None and self._is_absent(above[1]):
                effect, why = MISSING, "no folder above the submit folder has it"
            elif effect == CHANGED:
                why = f"{top} is copied: it contains this and the submit folder, up to {view.site.sky.upload_mib} MiB"
            yield Finding(above[0], "path", one_line(above[1], 60), effect, why)
        for place in outside_paths.places(view.script, view.scope):
            if mount_points.on_every_node(place.text) and place.role != outside_paths.MODULES:
                continue
            own = self._own_folder(place.text)
            top = own or mount_points.mount_of(place.text)
            key = (top, _USES.get(place.role, "needed"))
            if key in seen or (top, "needed") in seen:
                continue
            seen.add(key)
            finding = self._in_project(place, own) if own else self._path(place, top)
            if finding is not None:
                yield finding

    def _is_absent(self, path: str) -> bool:
        """Return whether the submit folder lacks a relative path."""
        moves = any(command.name in ("cd", "pushd") for command in self.view.script.commands)
        return not moves and "$" not in path and not (self.view.lookup and self.view.lookup.path(path))

    def _own_folder(self, path: str) -> str:
        """Submit folder as a path names it; "" for other paths."""
        project = self.view.project
        path = project.with_user(path) if project else path
        if project is None or not self.view.sky or mount_points.is_mounted(path, self.view.mounted):
            return ""
        if project.holds(path):
            return project.folder
        links = self.view.wants.links
        return next((link for link in links if mount_points.is_mounted(path, (link,))), "") or project.former(path)

    def _in_project(self, place: outside_paths.Place, folder: str) -> Finding:
        effect, reason = KEPT, "in the submit folder, which is copied"
        if folder in self.view.wants.links:
            effect, reason = CHANGED, f"the submit folder as another machine names it: {folder} is a link to it"
        return Finding(place.line, "path", one_line(place.text, 60), effect, reason)

    def _path(self, place: outside_paths.Place, top: str) -> Finding | None:
        view, shown = self.view, one_line(place.text, 60)

        def finding(effect: str, reason: str, suggestion: str = "") -> Finding:
            return Finding(place.line, "path", shown, effect, reason, suggestion)

        if not view.sky:
            if place.role in _NOT_READ or view.lookup is None:
                return finding(KEPT, "as on this machine")
            known = place.text.split("$", 1)[0]
            if known.rstrip("/") and view.lookup.path(known):
                return finding(KEPT, "is here")
            return finding(MISSING, "is not on this machine")
        if mount_points.is_mounted(place.text, view.mounted):
            return finding(KEPT, f"{top} is mounted")
        stub = "" if place.role == outside_paths.CUDA and not place.text.startswith("/") else _STUBS.get(place.role, "")
        if stub:
            return finding(NOTHING if place.role == outside_paths.MODULES else CHANGED, stub)
        if place.role == outside_paths.VENV:
            return None  # reported as an environment
        if place.role == outside_paths.SOFTWARE:
            module = find(view.site, start_files.software_of(place.text))
            if module is not None and module.complete and view.site.shipped_modules:
                what = f"image {module.image}" if module.image else f"setup: {one_line(module.setup, 80)}"
                return finding(CHANGED, f"a start file, for which module {module.name} stands: {what}")
        if place.role == outside_paths.ENTRY:
            return finding(NOTHING, "programs skip a folder of the list that is not on the nodes")
        if place.role in (outside_paths.WRITTEN, outside_paths.CACHE) or mount_points.is_scratch(place.text):
            return finding(CHANGED, f"created on each node, removed with it; [paths] of the site file can keep {top}")
        suggestion = f'[paths]\n"{toml(top)}" = "s3://BUCKET/{toml(top.strip("~/"))}"'
        if top.startswith("/path"):
            return finding(DECISION, "looks like a placeholder: write the value")
        if view.project is not None and view.project.elsewhere(place.text):
            why = "on this machine, outside the submit folder: submit from there, or set where nodes find its content"
            return finding(DECISION, why, suggestion)
        why = "a container file of the old cluster" if place.role == outside_paths.IMAGE else "is on the old cluster"
        return finding(DECISION, f"{why}: set where its content is now", suggestion)


def _is_build(name: str) -> bool:
    """Return whether a program is a site's build, such as lmp_intel_cpu."""
    stem = re.match(r"[A-Za-z0-9]+(?=[_.-])", name)
    source = find_program(stem[0]) if stem else None
    return source is not None and source.kind in ("conda", "pip")


def gives(module: Module, program: str) -> bool:
    """Return whether the shipped module map names a program of a module."""
    if program in module.gives:
        return True
    bare = re.sub(r"[^a-z]", "", module.name.lower().partition("/")[0])
    if program.endswith(".sh") and module.source != "site" and find_program(program) is None:
        return False  # a site's own script around the software, which its image and packages lack
    return len(bare) > 2 and (program.lower().startswith(bare) or bare.startswith(program.lower()))
