"""Setup as a person writes it: one line for each installer, environments first, no checks for what is missing. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from . import programs

_APT = re.compile(r"apt-get install -y ([^;&|)]+)\)?$")
_CONDA = re.compile(r"conda install -y( -n base)?((?: -c \S+)+) ([^;&|)-][^;&|)]*)\)?$")
_GUARD = re.compile(r"command -v \S+ >/dev/null \|\| (?:\((?P<command>.*)\)|(?P<plain>conda install .*))$")
_SUDO = "s=$(command -v sudo || true); "
_FOLDERS = re.compile(r"for d in (?P<folders>[^;]*); do .* chmod 1777 .*; done$")
_ABSENT = re.compile(r"\[ -e (?P<file>\S+) \] \|\| \{ (?P<command>.*); \}$")
#: lines of an installer that other lines do not depend on
_OWN_APT = re.compile(rf"(?:{re.escape(programs.APT.split('{}')[0])}|sudo apt-get update -q && sudo ).*")


def tidied(lines: Iterable[str]) -> list[str]:
    """Lines without repetition: system packages in one line, then environments, then their packages."""
    system: dict[str, None] = {}
    folders: dict[str, None] = {}
    conda: dict[tuple[str, str], dict[str, None]] = {}
    kept: list[str] = []
    for given in dict.fromkeys(lines):
        guard = _GUARD.fullmatch(given)
        line = guard["command"] or guard["plain"] if guard else given
        apt, packages, made = _APT.search(line), _CONDA.fullmatch(line), _FOLDERS.search(line)
        if apt and _OWN_APT.fullmatch(line):
            system.update(dict.fromkeys(apt[1].split()))
        elif packages:
            conda.setdefault((packages[1] or "", packages[2]), {}).update(dict.fromkeys(packages[3].split()))
        elif made and line.startswith(_SUDO):
            folders.update(dict.fromkeys(made["folders"].split()))
        else:
            if line.startswith(_SUDO):
                absent = _ABSENT.fullmatch(line.removeprefix(_SUDO))
                line = (absent["command"] if absent else line.removeprefix(_SUDO)).replace("$s ", "sudo ")
            kept.append(re.sub(r"^pip install '([\w.-]+)'$", r"pip install \1", line))
    kept = [line.replace("conda create -y -p ~/.conda/envs/job", "conda create -y -n job") for line in kept]
    known = {package for names in conda.values() for package in names}
    kept = [line for line in kept if line.removeprefix("pip install ") not in known]
    entered = max((at for at, line in enumerate(kept) if re.match(r"conda (create|env|activate)", line)), default=-1)
    last = [line for line in kept[: entered + 1] if re.match(r"(pip|python3? -m pip) install", line)]
    first = [line for line in kept[: entered + 1] if line not in last]
    head = [f"sudo apt-get update -q && sudo apt-get install -y {' '.join(system)}"] if system else []
    if folders:
        listed = " ".join(folders)
        head.append(f"sudo mkdir -p {listed} && sudo chmod 1777 {listed}")
    more = [
        f"conda install -y{'' if entered >= 0 else base}{channels} {' '.join(names)}"  # an environment hides base
        for (base, channels), names in conda.items()
    ]
    return [*head, *first, *more, *last, *kept[entered + 1 :]]
