"""Comments in ``run`` about remaining traces of the old cluster. They name SkyPilot's way."""

from __future__ import annotations

import re
from collections.abc import Container

from ..script.outside_paths import RUN, places
from ..script.programs import find
from ..shell.launched_program import in_containers, launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope

_HIDDEN = re.compile(r"\.(sh|bash|slurm|sbatch)$")
_FILE = re.compile(r"\.(sif|simg|img)$")
#: cuda11.3.0-cudnn8-devel-ubuntu20.04.sif
_CUDA_FILE = re.compile(
    r"/cuda[-_]?(\d+\.\d+\.\d+-(?:cudnn\d*-)?(?:devel|runtime|base)-ubuntu\d\d\.\d\d)\.(?:sif|simg)$"
)
_REGISTRY = re.compile(r"docker://([\w./:@-]+)")
#: a program by its path, and not a script
_BUILT = re.compile(r"[/~](?!.*\.(py|sh|bash|R|r|pl|jl|jar|rb|lua|sif|simg)$)(?!usr/|s?bin/|opt/conda)[^$]*$")
#: HOST:PATH of scp and rsync, and a host of ssh
_HOST = re.compile(r"(?:[\w.$-]+@)?([A-Za-z][\w.-]*)(:(?!//).*)?")
_PROFILES = re.compile(r"^--?(workflow-)?(profile|executor|cluster|cluster-generic-submit-cmd)(=|$)")


def _published(file: str) -> str:
    """Image of NVIDIA's registry for an image file's name, or ""."""
    found = _CUDA_FILE.search(file)
    return f"nvidia/cuda:{found[1]}" if found else ""


def hints(script: Script, unchanged: Container[str] = ()) -> list[str]:
    """Comments for ``run`` on workflow managers and other shell scripts. Scripts in ``unchanged`` need no comment."""
    found: list[str] = []
    hidden: list[str] = []
    scope = Scope.of(script)
    contained = in_containers(script.commands, scope.containers)
    for command in script.commands:
        if any(start < command.start < end for start, end in contained):
            continue
        program = launched(command)
        texts = [word.text_or_source for word in program.words]
        if program.name in ("scp", "rsync", "ssh", "sftp"):
            remote = (match for text in texts[1:] if (match := _HOST.fullmatch(text.strip('"'))))
            hosts = [match[1] for match in remote if match[2] or "@" in match[0]]
            found += [f"TODO: {host} is a host of the old cluster: copy from and to a bucket instead" for host in hosts]
        files = [text for text in texts[:2] if _HIDDEN.search(text) and not re.search(r"activate|conda|/etc/", text)]
        shell = program.name in ("bash", "sh", "source", ".") or (
            texts and "/" in texts[0] and _HIDDEN.search(texts[0])
        )
        files = [file for file in files if find(file.rpartition("/")[2]) is None]  # a package's program
        if files and shell and not program.inside:
            hidden += {files[-1].rpartition("/")[2]} - set(hidden)
        file = scope.expand(program.image) if program.image else ""
        if program.inside in ("singularity", "apptainer") and _FILE.search(file):
            named = set(_REGISTRY.findall(script.source))
            image = named.pop() if len(named) == 1 else _published(file) or "NAME"
            found.append(f"if a registry has {file.rpartition('/')[2]}, it can be image_id: docker:{image}")
        submits = re.search(r"[ ,=](?i:slurm)\b|--cluster", " ".join(texts))  # omitted
        if program.name in ("snakemake", "nextflow") and not submits and any(_PROFILES.match(text) for text in texts):
            local = "--executor local --cores N" if program.name == "snakemake" else "-profile standard"
            found.append(f"if that profile submits to Slurm: {local}, with cpus and memory for the whole workflow")
    built = [
        place.text.rpartition("/")[2]
        for place in places(script, scope)
        if place.role == RUN and _BUILT.match(place.text)
    ]
    if built:
        listed = ", ".join(dict.fromkeys(built[:4]))
        found.append(f"{listed}: built on the old cluster, for its libraries: build it again in setup")
    hidden = [name for name in hidden if name not in unchanged]
    if hidden:
        more = f" and {len(hidden) - 4} more" if len(hidden) > 4 else ""
        found.insert(0, f"translate what is Slurm's and the old cluster's in {', '.join(hidden[:4])}{more}, too")
    return list(dict.fromkeys(found))
