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
    setup = _Setup(unchanged)
    for line in dict.fromkeys(lines):
        setup.add(line)
    setup.resolve()
    return setup.sorted()


class _Setup:
    """Setup by installer. Lines of no installer keep their order."""

    def __init__(self, unchanged: bool) -> None:
        self._unchanged = unchanged
        self._system: dict[str, None] = {}
        self._folders: dict[str, None] = {}
        self._conda: dict[str, str] = {}  # name -> the longest specification
        self._channels: dict[str, None] = {}
        self._others: list[str] = []

    def add(self, given: str) -> None:
        """Add a line to its installer's."""
        guard = _GUARD.fullmatch(given)
        line = guard["command"] or guard["plain"] if guard else given
        if not self._unchanged:
            line = line.replace("conda install -y -p ~/.conda/envs/job", "conda install -y")
        apt, packages, made = _APT.search(line), _CONDA.fullmatch(line), _FOLDERS.search(line)
        if apt and _OWN_APT.fullmatch(line):
            self._system.update(dict.fromkeys(apt[1].split()))
        elif packages:
            self._channels.update(dict.fromkeys(packages[2].split(" -c ")[1:]))
            for spec in packages[3].split():
                name = _NAME.match(spec.strip("'"))
                key = name[0] if name else spec
                self._conda[key] = max(self._conda.get(key, ""), spec, key=len)
        elif made and line.startswith(_SUDO):
            self._folders.update(dict.fromkeys(made["folders"].split()))
        else:
            self._others.append(self._readable(line))

    def _readable(self, line: str) -> str:
        """A line without its checks of the node's state."""
        if line.startswith(_SUDO):
            line = _VENV.sub(_venv, line)
            absent = _ABSENT.fullmatch(line.removeprefix(_SUDO))
            line = (absent["command"] if absent else line.removeprefix(_SUDO)).replace("$s ", "sudo ")
        line = re.sub(r"^pip install '([\w.-]+)'$", r"pip install \1", line)
        job = "conda create -y -p ~/.conda/envs/job"
        return line if self._unchanged else line.replace(job, "conda create -y -n job")

    def resolve(self) -> None:
        """Remove packages that another one contains. One MPI remains: mpirun and libraries of two would mix."""
        known = set(self._conda.values())
        own_mpi = any("mpi_openmpi" in spec for spec in known) or known & _WITH_MPI
        if "mpich" in self._system:
            self._system = {name: None for name in self._system if "openmpi" not in name}
        if own_mpi or "pip install impi-rt" in self._others:
            self._system.pop("openmpi-bin", None)
        if known & _WITH_JAVA:
            self._system.pop("default-jdk", None)
        self._others = [line for line in self._others if line.removeprefix("pip install ") not in known]

    def sorted(self) -> list[str]:
        """Return the lines. Packages of pip and conda follow the last line that enters an environment."""
        others = self._others
        entering = [at for at, line in enumerate(others) if re.match(r"conda (create|env|activate)", line)]
        above = others[: entering[-1] + 1] if entering else []
        packages = [line for line in above if re.match(r"(pip|python3? -m pip) install", line)]
        head = [f"sudo apt-get update -q && sudo apt-get install -y {' '.join(self._system)}"] if self._system else []
        if self._folders:
            listed = " ".join(self._folders)
            head.append(f"sudo mkdir -p {listed} && sudo chmod 1777 {listed}")
        base = "" if entering and not self._unchanged else " -n base"  # an active environment hides base
        channels = "".join(f" -c {channel}" for channel in self._channels)
        conda = [f"conda install -y{base}{channels} {' '.join(self._conda.values())}"] if self._conda else []
        environments = [line for line in above if line not in packages]
        return [*head, *environments, *conda, *packages, *others[len(above) :]]


def link_to_workdir(former: str) -> str:
    """Setup line that links an old path to the workdir."""
    path = former if re.fullmatch(r"[\w./~$+@-]+", former) else quoted(former)
    above = path.rpartition("/")[0]
    made = f"mkdir -p {above} && ln -sfn ~/sky_workdir {path}" if above != "~" else f"ln -sfn ~/sky_workdir {path}"
    return made if path.startswith("~") else f"sudo {made.replace('&& ln', '&& sudo ln')}"
