"""Completes the setup of a script's YAML. It adds programs, Python, and TODO lines for the user."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ...site.modules import Module
from ..script import needs
from ..script.conversion_tables import ANYWHERE, INSTALLERS, LAUNCHERS, quoted
from ..script.declared_packages import USUAL
from ..script.language_packages import r_environment
from ..script.needs import Needs
from ..script.outside_paths import PROGRAM
from ..script.own_packages import OwnPackage
from ..script.programs import Source, setup_lines
from ..script.programs import find as source_of
from ..script.python_projects import environment_above, project_packages, setup_of_files
from ..script.toolchains import unused
from ..shell.launched_program import in_containers, launched
from ..shell.script_commands import Script, parse
from ..shell.script_variables import Scope
from .conversion import Reading
from .run_text import BASH, OTHER_SHELLS, interpreter

#: system packages that environments of conda have themselves
_OF_CONDA = frozenset(("R", "Rscript"))
_RUNTIMES = frozenset(("singularity", "apptainer"))


_NOWHERE = Source("")


_ABOVE = re.compile(r" ((?:\.\./)*\.\.)(?:/([\w.-]*))?")
#: images that bring Python with their framework
_FRAMEWORK = re.compile(r"pytorch|tensorflow|/jax|nemo|rapids|monai|paddle|mxnet")


def leave_toolchains(script: Script, reading: Reading) -> None:
    """Omit modules of compilers and MPIs that the script ignores."""
    found = () if reading.needs else unused(script, reading.modules, reading.ranks)  # the agent loads all modules
    for at, entry in reversed(list(found)):
        module = reading.modules.pop(at)
        if module.setup in reading.setup and all(other.setup != module.setup for other in reading.modules):
            reading.setup.remove(module.setup)
        reading.dropped.append(entry)


def leave_images(script: Script, reading: Reading) -> None:
    """Omit images of modules if containers provide all programs."""
    contained = in_containers(script.commands, Scope.of(script).containers)
    outside = [one for one in script.commands if not any(start <= one.start < end for start, end in contained)]
    prepares = ANYWHERE | INSTALLERS.keys() | LAUNCHERS | {"srun"}
    others = [one for one in outside if one.words and launched(one).name not in prepares | _RUNTIMES]
    if not contained or others:
        return
    for module in [module for module in reading.modules if module.image and module.source == "shipped"]:
        reading.modules.remove(module)
        reading.drop(
            0, f"module load {module.name}", "the script's containers bring their programs; a node has the driver"
        )


def name_programs(asked: Needs, source: str, reading: Reading) -> None:
    """Call installed programs by name instead of their old path."""
    for path in (file for file, role in asked.starts if role == PROGRAM and not reading.needs):
        spelt = re.escape(path) if path[0] == "/" else r"(?:~|\$HOME|\$\{HOME\})" + re.escape(path[1:])
        for found in re.finditer(rf"(?<![\w./~}}-]){spelt}(?![\w./-])", source):
            reading.edit(found.start(), found.end(), path.rpartition("/")[2])
            reading.paths[:] = [place for place in reading.paths if place[1] != path]


def set_variables(source: str, reading: Reading) -> None:
    """Set variables of the old cluster's modules. The module map has their values on a node."""
    sets = {name: places for module in reading.modules for name, places in module.sets}
    for name in sorted(set(re.findall(r"\$\{?(\w+)", source)) & sets.keys()):
        if not re.search(rf"\b{name}=", source):
            # Setup installs into the active environment.
            places = re.sub("^~/miniconda3/", "$CONDA_PREFIX/", sets[name])
            place, *others = places.replace("~/miniconda3", "$(conda info --base)").split()
            listed = " ".join([place, *others, "2>/dev/null"]) if others and place[0] == "/" else place
            reading.activate.append(f"export {name}=" + (f"$(ls -d {listed} | head -n 1)" if "*" in place else place))


def bring_programs(asked: Needs, script: Script, reading: Reading) -> None:
    """Put the installation of programs before other setup commands."""
    known = {program for module in reading.modules for program in module.gives}
    ranks = reading.ranks or _starts_ranks(script)
    if not reading.images:
        if interpreter(script.source)[0] in BASH:
            known |= OTHER_SHELLS
        if not re.search(r"(?m)^[^#\n]*\bspack +(?!load\b)", script.source):
            known.add("spack")
        names = [name for name in asked.programs if name not in known]
        # environments have their own programs, but neither system packages nor containers' runtimes
        if asked.environments:  # conda's have programs of conda
            kinds = ("pip", "conda", "image") if any("/" not in name for name in asked.environments) else ("pip",)
            own = _OF_CONDA if "conda" in kinds else ()
            kept = (name for name in names if name not in own)
            names = [name for name in kept if name in _RUNTIMES or (source_of(name) or _NOWHERE).kind not in kinds]
        if "get.nextflow.io" in script.source:
            names.append("java")
        if "mpirun" not in known and ranks:
            names.append("mpirun")
        installed = setup_lines(tuple(names))
        reading.setup[:0] = [line for line in installed if line not in reading.setup]
    if ranks and any(module.image for module in reading.modules):
        # Containers run as root, which Open MPI refuses without these.
        reading.envs |= dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")


def _starts_ranks(script: Script) -> bool:
    """Return whether a command starts mpirun, also below another program (``valgrind mpirun ...``)."""
    held = [given.value.raw.strip("\"' ") for command in script.commands for given in command.assignments]
    words = (re.sub("^/usr/(local/)?bin/", "", word.text or "") for one in script.commands for word in one.words)
    return any(word in LAUNCHERS for word in words) or any(text.split(" ")[0] in LAUNCHERS for text in held)


def is_framework(module: Module) -> bool:
    """Return whether a module's image is used for its framework."""
    return bool(_FRAMEWORK.search(module.image)) and "nvcc" not in module.gives


def one_python(reading: Reading) -> None:
    """Keep the Python of a framework's image.

    An environment of a Python module would hide the framework. Without such an image, programs are installed in that
    environment: base is not in PATH once another one is active.
    """
    if any("conda env create" in line for line in reading.setup):
        for at, module in enumerate(reading.modules):
            if module.activate:
                reading.setup[:] = [line for line in reading.setup if line not in (module.setup, module.activate)]
                reading.activate[:] = [line for line in reading.activate if line != module.activate]
                why = "the script activates its own environment; SkyPilot's nodes have conda"
                reading.modules[at] = replace(module, setup="", activate="", unpinned="", note=why)
        own = next((at for at, line in enumerate(reading.setup) if "conda env create -n job" in line), None)
        if own is not None and "conda activate job" not in reading.setup:
            reading.setup.insert(own + 1, "conda activate job")
            reading.activate.append("conda activate job")
    if not any(map(is_framework, reading.modules)):
        if any(module.activate for module in reading.modules):
            reading.setup[:] = [line.replace("conda install -y -n base", "conda install -y") for line in reading.setup]
        return
    for module in reading.modules:
        if module.activate and module.setup in reading.setup:
            listed = module.setup.split()
            packages = listed[next(at for at, word in enumerate(listed) if word.startswith("python")) + 1 :]
            at = reading.setup.index(module.setup)
            reading.setup[at : at + 2] = [f"pip install {' '.join(packages)}"] if packages else []
            reading.activate[:] = [line for line in reading.activate if line != module.activate]


def bring_own_packages(reading: Reading, found: list[OwnPackage]) -> None:
    """Make the project's own modules and programs known to Python. Setup and run begin in the submit folder."""
    for one in found:
        place = "/".join([".."] * one.levels) or "."
        if one.levels < 0:
            why = "no folder of the project has this module, and no package is meant: put it into the workdir"
            if not one.found:
                reading.drop(0, f"import {one.name}", why, to_do=True)
        elif one.installed:
            reading.brought.add(one.name)
            reading.setup += [line for line in [f"pip install -e {place}"] if line not in reading.setup]
        elif not one.found:
            line = f"export PYTHONPATH=$PWD{'' if place == '.' else f'/{place}'}:$PYTHONPATH"
            reading.activate += [line] if line not in reading.activate else []
    reading.workdir = reading.workdir or any(one.levels >= 0 for one in found)


def package_files_above(reading: Reading) -> list[tuple[int, str]]:
    """Package files above the submit folder that setup reads.

    Each is the number of folders, and the file.
    """
    lines = (line for line in reading.setup if re.match(r"(pip|uv|poetry|conda env)\b", line))
    return [(found[1].count(".."), found[2] or "") for line in lines if (found := _ABOVE.search(line))]


def _packages_of_programs(source: str, kind: str) -> str:
    """Packages for a script's programs, or "".

    A script that starts Python has packages that its programs do not name.
    """
    asked = needs.of(source)
    found = (source_of(name) for name in asked.programs)
    listed = [one.package for one in found if one is not None and one.kind == kind]
    own = re.search(r"(?m)^[^#\n]*\b(python|torchrun|accelerate|deepspeed)", source)
    return "" if own or (kind == "pip" and asked.unknown) else " ".join(dict.fromkeys(listed))


def list_packages(reading: Reading, source: str, folder: str) -> None:
    """Name the packages of the old cluster's Python environments.

    A package list of the submit folder names them, or the imports of its files; else a TODO.
    """
    for at, line in reversed(list(enumerate(reading.setup))):
        found = re.fullmatch(
            r"(?:.* \|\| )?(?:conda env create -n (\S+) -f|pip install -r) (environment\.yml|requirements\.txt)", line
        )
        name, there = found[1] if found else "", found and bool(folder) and (Path(folder) / found[2]).is_file()
        if not found or (name and there):
            continue
        if name:
            new = _of_environment(line, name, source, folder)
            entered = reading.setup[at + 1 : at + 2] == [f"conda activate {name}"]
            reading.setup[at : at + 1 + entered] = new or reading.setup[at : at + 1 + entered]
        else:
            framework = any(map(is_framework, reading.modules))
            new = setup_of_files(source, (), folder, framework) if folder else []
            new = [one for one in new if not one.startswith("#")]
            reading.setup[at : at + 1] = new or [line]
            if new[:1] and new[0].startswith("conda env create"):
                reading.setup[at + 1 : at + 1] = ["conda activate job"]
                reading.activate += [] if "conda activate job" in reading.activate else ["conda activate job"]
        if line in reading.setup[at : at + 1] and not there:
            how = f"conda env export --no-builds -n {name}" if name else "pip freeze in that environment"
            reading.setup.insert(at, f"# TODO: write {found[2]}: {how}, on the old cluster")


def _of_environment(line: str, name: str, source: str, folder: str) -> list[str]:
    """Setup lines for a named environment with its packages, or []."""

    def made(by: str, packages: list[str]) -> list[str]:
        created = line.replace(f"env create -n {name} -f environment.yml", f"create -y -n {name} {by}")
        return [created, f"conda activate {name}", *packages]

    other = environment_above(folder, name)
    if other:
        return [line.replace("environment.yml", quoted(other)), f"conda activate {name}"]
    if listed := project_packages(folder, source):
        return made(f"python={listed.python}", listed.lines)
    packages = setup_of_files(source, (), folder) if folder else []
    if packages and packages[0].startswith("pip install"):
        return made(f"python={USUAL}", packages)
    if found := r_environment(parse(source), folder):
        return made(f"-c conda-forge -c bioconda {found[0]}", found[1])
    if programs := _packages_of_programs(source, "conda"):
        return made(f"-c conda-forge -c bioconda {programs}", [])
    if programs := _packages_of_programs(source, "pip"):
        return made(f"python={USUAL}", [f"pip install {programs}"])
    return []
