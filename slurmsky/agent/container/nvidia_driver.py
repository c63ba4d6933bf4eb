"""NVIDIA's driver in a container, as its own runtime hook has it: what of the node must be seen there, and where."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

_LIBRARIES = re.compile(r"^\s*lib(?:cuda|nvidia-|nvcuvid|nvoptix)\S*\.so\S* .*=> (/\S+)$", re.MULTILINE)
_PROGRAMS = ("nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server")
_FOLDER = "/run/slurmsky-nvidia"


def files() -> list[tuple[str, str]]:
    """The driver's libraries and programs, which no image has: they must be those of the node's kernel.

    (path here, path in the container).
    """
    if not os.path.exists("/dev/nvidiactl"):
        return []
    ldconfig = shutil.which("ldconfig", path="/usr/sbin:/sbin:/usr/bin:/bin")
    listed = subprocess.run([ldconfig, "-p"], stdout=subprocess.PIPE, text=True).stdout if ldconfig else ""
    found = [
        (os.path.realpath(path), "%s/lib/%s" % (_FOLDER, os.path.basename(path))) for path in _LIBRARIES.findall(listed)
    ]
    for name in _PROGRAMS:
        program = shutil.which(name, path="/usr/bin:/usr/local/bin:/usr/local/nvidia/bin")
        if program:
            found.append((os.path.realpath(program), "%s/bin/%s" % (_FOLDER, name)))
    return list({target: (source, target) for source, target in found}.values())


def lead_to(environment: dict[str, str]) -> None:
    """Have the image's variables lead to what ``files`` names."""
    for variable, folder, usual in (
        ("LD_LIBRARY_PATH", "lib", ""),
        ("PATH", "bin", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ):
        before = environment.get(variable, usual)
        ours = "%s/%s" % (_FOLDER, folder)
        environment[variable] = "%s:%s" % (before, ours) if before else ours
