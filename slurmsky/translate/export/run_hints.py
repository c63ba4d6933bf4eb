"""Comments for ``run``: what a translated script still expects of the old cluster, and the SkyPilot way. Pure."""

from __future__ import annotations

import re

from ..shell.launched_program import launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope

_HIDDEN = re.compile(r"\.(sh|bash|slurm|sbatch)$")
_FILE = re.compile(r"\.(sif|simg|img)$")
_REGISTRY = re.compile(r"docker://([\w./:@-]+)")
_PROFILES = re.compile(r"^--?(workflow-)?(profile|executor|cluster|cluster-generic-submit-cmd)(=|$)")


def hints(script: Script) -> list[str]:
    """Comments for ``run``: workflow managers that submit jobs, other shell scripts, packages of R."""
    found: list[str] = []
    hidden: list[str] = []
    scope = Scope.of(script)
    for command in script.commands:
        program = launched(command)
        texts = [word.shown for word in program.words]
        files = [text for text in texts[:2] if _HIDDEN.search(text) and not re.search(r"activate|conda|/etc/", text)]
        shell = program.name in ("bash", "sh", "source", ".") or (texts and _HIDDEN.search(texts[0]))
        if files and shell and not program.inside:
            hidden += {files[-1].rpartition("/")[2]} - set(hidden)
        file = scope.expand(program.image) if program.image else ""
        if program.inside in ("singularity", "apptainer") and _FILE.search(file):
            named = set(_REGISTRY.findall(script.source))
            image = named.pop() if len(named) == 1 else "NAME"
            found.append(f"if a registry has {file.rpartition('/')[2]}, it can be image_id: docker:{image}")
        if program.name in ("snakemake", "nextflow") and any(_PROFILES.match(text) for text in texts):
            local = "--executor local --cores N" if program.name == "snakemake" else "-profile standard"
            found.append(f"if that profile submits to Slurm: {local}, with cpus and memory for the whole workflow")
    if hidden:
        more = f" and {len(hidden) - 4} more" if len(hidden) > 4 else ""
        found.insert(0, f"translate what is Slurm's and the old cluster's in {', '.join(hidden[:4])}{more}, too")
    return list(dict.fromkeys(found))
