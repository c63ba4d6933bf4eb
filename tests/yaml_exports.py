"""Scripts exported as YAML: a body with directives, for a site with one partition."""

from __future__ import annotations

from typing import Any

from moving_script import moving

from slurmsky.site import load
from slurmsky.translate.export.yaml_export import ExportedYaml, SubmittedScript, export_yaml

SITE = load('[gpus]\ndefault = "H100"\n[[partition]]\nname = "main"\ndefault = true', "site")
NONE = load("", "none")
TWO = "-N2 --ntasks-per-node=1"


def export(text: str, *words: str, name: str = "job.sh", site: Any = SITE) -> ExportedYaml:
    found: ExportedYaml = moving.exported(text.encode(), site, name, *words)
    return found


def script(body: str, directives: str = "") -> str:
    lines = "".join(f"#SBATCH {line}\n" for line in directives.split(";") if line)
    return f"#!/bin/bash\n{lines}\n{body}\n"


def export_body(body: str, directives: str = "", shell: str = "/bin/bash", folder: str = "") -> ExportedYaml:
    """A script of this body. ``directives``: separated by semicolons; ``folder``: its submit folder."""
    lines = "".join(f"#SBATCH {line}\n" for line in directives.split(";") if line)
    text = f"#!{shell}\n{lines}\n{body}\n"
    if not folder:
        found: ExportedYaml = moving.exported(text.encode(), SITE, "job.sh")
        return found
    specs: Any = moving.request(text.encode(), "job.sh").components
    return export_yaml(SubmittedScript(text, [specs[0].evolve(chdir=folder)], folder=folder), SITE, "")
