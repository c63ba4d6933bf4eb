"""Tidies setup lines: one line per installer, environments first."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..script import programs
from ..shell.word_sets import words
from .conversion import quoted

_APT = re.compile(r"apt-get install -y ([^;&|)]+)\)?$")
_CONDA = re.compile(r"conda install -y( -n base)?((?: -c \S+)+) ([^;&|)-][^;&|)]*)\)?$")
_NAME = re.compile(r"[\w.-]+")
#: packages of conda that contain an Open MPI, and those that contain Java
_WITH_MPI = words("lammps qe cp2k")
_WITH_JAVA = words("trimmomatic picard gatk4 fastqc nextflow snpeff varscan pilon beast")
_GUARD = re.compile(r"command -v \S+ >/dev/null \|\| (?:\((?P<command>.*)\)|(?P<plain>conda install .*))$")
_SUDO = "s=$(command -v sudo || true); "
_FOLDERS = re.compile(r"for d in (?P<folders>[^;]*); do .* chmod 1777 .*; done$")
_ABSENT = re.compile(r"\[ -e (?P<file>\S+) \] \|\| \{ (?P<command>.*); \}$")
_VENV = re.compile(r"\[ -e (?P<folder>\S+)/bin/activate \] \|\| \(.*\)$")
#: lines of an installer that other lines do not depend on
_OWN_APT = re.compile(rf"(?:{re.escape(programs.APT.split('{}')[0])}|sudo apt-get update -q && sudo ).*")


def _venv(found: re.Match[str]) -> str:
    """A virtual environment that ``conda activate`` enters, too."""
    folder = found["folder"]
    own = "" if folder.startswith("~") else f"sudo mkdir -p {folder} && sudo chown $(id -u) {folder} && "
    return f"{own}python3 -m venv {folder} && mkdir {folder}/conda-meta && touch {folder}/conda-meta/history"


def sorted_unique(lines: Iterable[str], unchanged: bool = False) -> list[str]:
    """Remove repetitions and sort the lines.

    System packages are in one line, then environments, then their packages. ``unchanged``: the script is, too, so that
    environments keep their folders.
    """
    system: dict[str, None] = {}
    folders: dict[str, None] = {}
    conda: dict[str, str] = {}
    channels: dict[str, None] = {}
    kept: list[str] = []
    for given in dict.fromkeys(lines):
        guard = _GUARD.fullmatch(given)
        line = guard["command"] or guard["plain"] if guard else given
        if not unchanged:
            line = line.replace("conda install -y -p ~/.conda/envs/job", "conda install -y")
        apt, packages, made = _APT.search(line), _CONDA.fullmatch(line), _FOLDERS.search(line)
        if apt and _OWN_APT.fullmatch(line):
            system.update(dict.fromkeys(apt[1].split()))
        elif packages:
            channels.update(dict.fromkeys(packages[2].split(" -c ")[1:]))
            for spec in packages[3].split():
                name = _NAME.match(spec.strip("'"))
                conda[name[0] if name else spec] = max(conda.get(name[0] if name else spec, ""), spec, key=len)
        elif made and line.startswith(_SUDO):
            folders.update(dict.fromkeys(made["folders"].split()))
        else:
            if line.startswith(_SUDO):
                line = _VENV.sub(_venv, line)
                absent = _ABSENT.fullmatch(line.removeprefix(_SUDO))
                line = (absent["command"] if absent else line.removeprefix(_SUDO)).replace("$s ", "sudo ")
            kept.append(re.sub(r"^pip install '([\w.-]+)'$", r"pip install \1", line))
    if not unchanged:
        kept = [line.replace("conda create -y -p ~/.conda/envs/job", "conda create -y -n job") for line in kept]
    known = set(conda.values())
    if "mpich" in system:  # one MPI: mpirun and libraries of two would mix
        system = {name: None for name in system if "openmpi" not in name}
    if any("mpi_openmpi" in spec for spec in known) or known & _WITH_MPI or "pip install impi-rt" in kept:
        system.pop("openmpi-bin", None)
    if known & _WITH_JAVA:
        system.pop("default-jdk", None)
    kept = [line for line in kept if line.removeprefix("pip install ") not in known]
    entered = max((at for at, line in enumerate(kept) if re.match(r"conda (create|env|activate)", line)), default=-1)
    last = [line for line in kept[: entered + 1] if re.match(r"(pip|python3? -m pip) install", line)]
    first = [line for line in kept[: entered + 1] if line not in last]
    head = [f"sudo apt-get update -q && sudo apt-get install -y {' '.join(system)}"] if system else []
    if folders:
        listed = " ".join(folders)
        head.append(f"sudo mkdir -p {listed} && sudo chmod 1777 {listed}")
    base = "" if entered >= 0 and not unchanged else " -n base"  # an active environment hides base
    listed = "".join(f" -c {channel}" for channel in channels)
    more = [f"conda install -y{base}{listed} {' '.join(conda.values())}"] if conda else []
    return [*head, *first, *more, *last, *kept[entered + 1 :]]


def link_to_workdir(former: str) -> str:
    """Setup line that links an old path to the workdir."""
    path = former if re.fullmatch(r"[\w./~$+@-]+", former) else quoted(former)
    above = path.rpartition("/")[0]
    made = f"mkdir -p {above} && ln -sfn ~/sky_workdir {path}" if above != "~" else f"ln -sfn ~/sky_workdir {path}"
    return made if path.startswith("~") else f"sudo {made.replace('&& ln', '&& sudo ln')}"
