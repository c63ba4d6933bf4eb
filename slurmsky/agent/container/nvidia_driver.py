"""Files of NVIDIA's driver for containers, as in NVIDIA's runtime hook."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from ... import paths

_LIBRARIES = re.compile(r"^\s*lib(?:cuda|nvidia-|nvcuvid|nvoptix)\S*\.so\S* .*=> (/\S+)$", re.MULTILINE)
_PROGRAMS = ("nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server")
_FOLDER = paths.NVIDIA_DRIVER


def files() -> list[tuple[str, str]]:
    """Libraries and programs: (path on the node, path in the container).

    Images do not contain them, because they must match the node's kernel module.
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


def add_paths(environment: dict[str, str]) -> None:
    """Add the folders of ``files`` to PATH and LD_LIBRARY_PATH."""
    for variable, folder, usual in (
        ("LD_LIBRARY_PATH", "lib", ""),
        ("PATH", "bin", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ):
        before = environment.get(variable, usual)
        ours = "%s/%s" % (_FOLDER, folder)
        environment[variable] = "%s:%s" % (before, ours) if before else ours
