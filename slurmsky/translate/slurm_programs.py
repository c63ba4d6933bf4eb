"""Programs that use Slurm without a command of Slurm's in the script: workflow engines and launchers.

Source: Snakemake's profiles and executor plugins, Nextflow's executors, Toil's batch systems, MMEngine's launchers.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import pairwise

from .launched import launched
from .shellcommands import Command

_OPTION = re.compile(r"(?i)-{0,2}[\w./-]*(profile|executor|batch-?system|cluster|submit-cmd|launcher|drmaa)")
_SLURM = re.compile(r"(?i)(.*[/,_.-])?(slurm|sbatch)([/,_. -].*)?")
#: what an engine's configuration says where it submits
_CONFIGURED = re.compile(r"(?mi)^(?!\s*[#/]).*\b(executor\s*[:=]\s*[\"']?slurm|sbatch\b|slurm\s*:\s*true)")
_ENGINES = ("snakemake", "nextflow")


def slurm_use(command: Command, folder: str) -> str:
    """The reason why a program needs Slurm; "" where it does not. ``folder``: the submit folder, where it is known."""
    found = launched(command)
    texts = [word.text or "" for word in found.arguments]
    pairs = [text.partition("=")[::2] for text in texts]
    pairs += [(option, text) for option, text in pairwise(texts) if not text.startswith("-")]
    for option, text in pairs:
        if _OPTION.fullmatch(option) and _SLURM.fullmatch(text):
            return f"{option} {text}: {found.name} submits jobs or reads Slurm's variables"
    if found.name not in _ENGINES:
        return ""
    if found.name == "snakemake" and "--slurm" in texts:
        return "snakemake submits jobs"
    named = [text for option, text in pairs if option.lstrip("-").endswith("profile") and text]
    files = [f"{text}/config.yaml" for text in named] if found.name == "snakemake" else ["nextflow.config"]
    for file in files:
        with suppress(OSError), open(os.path.join(folder, file), encoding="utf-8", errors="replace") as stream:
            if folder and _CONFIGURED.search(stream.read(1 << 16)):
                return f"{found.name} submits jobs, by {file}"
    return ""
