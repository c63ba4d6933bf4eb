"""Image and setup commands that prepare a job's nodes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from ...site.modules import find
from ...site.record import Site
from ..script import outside_paths, programs
from ..script.declared_packages import USUAL, PythonPackages
from ..script.mount_points import is_mounted, on_every_node
from ..script.needs import Needs
from ..shell.word_sets import words
from .translation_notes import Note

COMPILERS = words(
    """
    nvcc make cmake gcc g++ gfortran nsys ncu mpicc mpicxx mpif90 hipcc cc CC ninja nvprof
    """
)


#: name endings of programs that a user writes or builds, and no package provides
_OWN_ENDINGS = (".sh", ".pl", ".x", ".exe")
#: the library for srun --mpi=pmix: of the system, beside an mpirun (NVIDIA's images), or of the distribution
PMIX = (
    "ldconfig -p | grep -q libpmix.so.2 || "
    '[ -e "$(dirname "$(readlink -f "$(command -v mpirun)")")/../lib/libpmix.so.2" ] || '
    f"({programs.APT.format('libpmix2')})"
)


def preparation(site: Site, wants: Needs, image: str = "") -> tuple[str, list[str], list[Note]]:
    """Return image, setup lines and notes. ``image``: the partition's image, if set."""
    setup: list[str] = []
    notes: list[Note] = []
    chosen = ""
    for name in wants.modules:
        module = find(site, name)
        if module is None or (module.source == "shipped" and not site.shipped_modules):
            notes.append(Note("module load", "recorded", f"the site file maps no module {name}"))
            continue
        if module.image and _contains(module.image, chosen):
            chosen = module.image
            notes.append(Note("module load", "kept", f"{name} is image {module.image}"))
        if module.setup:
            setup.append(module.setup)
    own = dict(site.programs)
    for name, command in own.items():
        if name in wants.programs or not site.cluster.open:
            setup.append(f"command -v {shlex.quote(name)} >/dev/null || ({command})")
    given = {program for name in wants.modules if (module := find(site, name)) for program in module.gives}
    if site.shipped_modules:
        missing = tuple(name for name in wants.programs if name not in own and name not in given)
        setup += programs.setup_lines(missing)
        for name in missing:
            source = programs.find(name)
            if source is not None and source.kind == "image" and not image and _replaces(source.package, chosen):
                chosen = source.package
    setup += [line for name in wants.environments for line in environment_setup(site, name, wants)]
    if site.shipped_modules and wants.environments:
        setup += programs_beside_environments(wants)
    if site.shipped_modules and not wants.environments:
        setup += _packages_of_node(wants)
    if site.shipped_modules:
        setup += [install.text for install in wants.languages]
        setup += folders_setup(site, wants)
        if wants.pmix:
            setup.append(PMIX)
    if chosen and COMPILERS & set(wants.programs):
        chosen = chosen.replace("-runtime-", "-devel-")
    return chosen, _into_environment(one_environment(setup)), notes


def _into_environment(lines: list[str]) -> list[str]:
    """Install pip's packages into the environment of Python's modules.

    ``module load`` puts its Python first in PATH, and this Python has no package of another one.
    """
    made = next((found for line in lines if (found := re.match(r"conda create -y -p (\S+)", line))), None)
    if made is None:
        return lines
    creates = re.compile(rf"conda (?:create|install) -y -p {re.escape(made[1])} ")
    first = [line for line in lines if creates.match(line)]
    rest = (line for line in lines if line not in first)
    own = rf"\g<1>{made[1]}/bin/pip install "
    return first + [re.sub(r"(^|\(|&& |\|\| )pip install ", own, line) for line in rest]


def one_environment(lines: Iterable[str]) -> list[str]:
    """Make several modules share one environment. A second ``conda create`` would replace it."""
    made: set[str] = set()
    kept: list[str] = []
    for line in dict.fromkeys(lines):
        found = re.fullmatch(r"conda create -y -p (?P<folder>\S+)(?P<channels>(?: -c \S+)*)(?P<packages> .*)", line)
        if found and found["folder"] in made:
            packages = re.sub(r" python\S*", "", found["packages"])
            line = f"conda install -y -p {found['folder']}{found['channels']}{packages}" if packages else ""
        elif found:
            made.add(found["folder"])
        kept += [line] if line else []
    return kept


def _contains(image: str, than: str) -> bool:
    """Return whether an image contains another one. A framework's image has CUDA, but not vice versa."""
    return not than or ("nvidia/cuda" in than and "nvidia/cuda" not in image)


def _replaces(image: str, chosen: str) -> bool:
    """Return whether a program's image replaces the chosen one, of which it has the CUDA."""
    return not chosen or ("cuda" in image and _contains(image, chosen))


def environment_packages(site: Site, name: str, wants: Needs) -> PythonPackages | None:
    """Packages of an environment; None if unknown. The site file or the script's files name them."""
    spelt = (name, name.removeprefix("./"), name.rstrip("/").rpartition("/")[2])
    named = next((text for known, text in site.environments if any(fnmatchcase(one, known) for one in spelt)), None)
    if named is not None:
        listed = named.split()
        pythons = [word for word in listed if _PYTHON.fullmatch(word)]
        rest = tuple(word for word in listed if word not in pythons)
        return PythonPackages(rest, python=pythons[0].lstrip("python=") if pythons else "")
    unknown = any(not program.endswith(_OWN_ENDINGS) for program in wants.unknown)
    if not site.shipped_modules or unknown or "$" in name or (wants.own_code and wants.python.unknown):
        return None
    known = [programs.find(program) for program in wants.programs]
    of_programs = (source.package for source in known if source is not None and source.kind == "pip")
    return wants.python._replace(pip=tuple(dict.fromkeys((*of_programs, *wants.python.pip))))


_PYTHON = re.compile(r"python(==?[\d.]*)?")
_CONDA_FORGE = "-c conda-forge -c bioconda"


def environment_setup(site: Site, name: str, wants: Needs) -> Iterator[str]:
    """Commands that create a Python environment with its packages."""
    packages = environment_packages(site, name, wants)
    if packages is None:
        return
    if "/" not in name:
        word = shlex.quote(name)
        channels = [_CONDA_FORGE] if packages.conda else []
        python = f"python={packages.python or _python_of_modules(site, wants) or USUAL}"
        made = " ".join(["conda create -y -n", word, *channels, python, "pip", *map(shlex.quote, packages.conda)])
        yield f"conda env list | grep -q {shlex.quote(f'^{name} ')} || {made}"
        if packages.pip:
            yield _pip(f"conda run -n {word} pip", packages.pip)
        return
    folder = f"~/{shlex.quote(name[2:])}" if name.startswith("~/") else shlex.quote(name)
    if not name.startswith(("/", "~/")):
        return  # in the submit folder, whose path is not known here
    parent = folder.rpartition("/")[0]
    made = f"mkdir -p {parent} 2>/dev/null || {{ $s mkdir -p {parent}; $s chown $(id -u) {parent}; }}; "
    made += f"[ -w {parent} ] || {{ $s mkdir -p {folder}; $s chown $(id -u) {folder}; }}; "
    old = packages.python and int(packages.python[2:]) < int(USUAL[2:])
    python = f"~/.conda/envs/python{packages.python}/bin/python" if old else "python3"
    if old:
        made += f"conda create -y -p ~/.conda/envs/python{packages.python} python={packages.python} && "
    made += f"{python} -m venv {folder}"
    # conda activate FOLDER and conda run -p FOLDER enter a folder with conda's record only
    made += f" && mkdir -p {folder}/conda-meta && touch {folder}/conda-meta/history"
    yield f"s=$(command -v sudo || true); [ -e {folder}/bin/activate ] || ({made})"
    if packages.by_pip:
        yield _pip(f"{folder}/bin/pip", packages.by_pip)


def _packages_of_node(wants: Needs) -> Iterator[str]:
    """Commands that install packages into the node's own Python."""
    if wants.python.conda:
        yield f"conda install -y -n base {_CONDA_FORGE} {_listed(wants.python.conda)}"
    if wants.python.pip:
        yield _pip("pip", wants.python.unpinned)


def _python_of_modules(site: Site, wants: Needs) -> str:
    """Version of Python that the script's modules name, or ""."""
    modules = (module for name in wants.modules if (module := find(site, name)))
    versions = (re.search(r" python=(3[\d.]*)", module.setup) for module in modules)
    return next((found[1] for found in versions if found), "")


def _pip(program: str, requirements: Iterable[str]) -> str:
    """Command that installs packages.

    If the versions that a project names have no wheels for the Python of the nodes, other versions are installed.
    """
    names = tuple(requirements)
    bare = tuple(re.split(r"[=<>!~]", name)[0] for name in names)
    line = f"{program} install {_listed(names)}"
    pinned = any(re.search("==|~=|<", name) for name in names)
    return line if not pinned else f"{line} || {program} install {_listed(bare)}"


def _listed(names: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, names))


def programs_beside_environments(wants: Needs) -> Iterator[str]:
    """Links to the programs of conda's base environment."""
    found = ((name, programs.find(name)) for name in wants.programs)
    listed = " ".join(shlex.quote(name) for name, source in found if source is not None and source.kind == "conda")
    if listed:
        yield (
            f"s=$(command -v sudo || true); b=$(conda info --base)/bin; for p in {listed}; do "
            'if [ -x "$b/$p" ]; then $s ln -sf "$b/$p" /usr/local/bin/; fi; done'
        )


def folders_setup(site: Site, wants: Needs) -> Iterator[str]:
    """Commands that create output folders and start files' stubs. The start files exist on the old cluster."""
    mounted = [path.path for path in site.paths]
    made = (*wants.folders, *(folder for _, folder in wants.stores))
    folders = [folder for folder in dict.fromkeys(made) if not is_mounted(folder, mounted)]
    if folders:
        listed = " ".join(shlex.quote(folder) for folder in folders)
        yield (
            f's=$(command -v sudo || true); for d in {listed}; do [ -w "$d" ] || '
            '{ $s mkdir -p "$d" && $s chmod 1777 "$d"; }; done'
        )
    for file, role in wants.starts:
        if is_mounted(file, mounted) or (
            file.startswith("~") and role not in (outside_paths.PROGRAM, outside_paths.SOFTWARE)
        ):
            continue
        name, home = _word(file), _word(file.rpartition("/")[0])
        if role == outside_paths.PROGRAM:
            command = f"$s ln -s {programs.location(file.rpartition('/')[2])} {name}"
        elif role in (outside_paths.MODULES, outside_paths.SOFTWARE) and not on_every_node(file.rpartition("/")[0]):
            command = f"$s touch {name}"
        elif role == outside_paths.CONDA and file.endswith("conda.sh"):
            command = f'$s ln -sf "$(conda info --base)/etc/profile.d/conda.sh" {name}'
        elif role == outside_paths.SHELL:
            command = f"touch ~/.bashrc; $s ln -sf ~/.bashrc {name}"
        elif role == outside_paths.CUDA:
            command = f"$s ln -sfn /usr/local/cuda {name}"
        else:
            continue
        yield f"s=$(command -v sudo || true); [ -e {name} ] || {{ $s mkdir -p {home} && {command}; }}"


def _word(path: str) -> str:
    """Path as a shell word, with a leading ~ expanded."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)
