"""Determines whether snakemake and nextflow submit their parts as jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .small_files import read_small

#: a command line with which snakemake submits its rules
_SUBMITTING = re.compile(r"\s--(cluster\b|slurm\b|executor[= ]slurm|(workflow-)?profile[= ]\S*(?i:slurm))")
#: settings of a profile that make Slurm the executor
_PROFILE_SUBMITS = re.compile(
    r"(?mi)^(?!\s*#).*\b(executor\s*:\s*[\"']?(cluster-generic|slurm)|sbatch\b|slurm\s*:\s*true)"
)
#: the part of nextflow.config that makes Slurm the executor
_NEXTFLOW_SUBMITS = re.compile(
    r"(?mi)^(?!\s*//)[^\n]*\bexecutor\s*=\s*[\"']slurm|\bexecutor(\.|\s*\{[^}]*?)\bname\s*=\s*[\"']slurm"
)


def profile_of(texts: Sequence[str], folder: str) -> tuple[str, str]:
    """Name and text of snakemake's profile, or ""."""
    profile = re.search(r"\s--(?:workflow-)?profile[= ](\S+)", " ".join(texts))
    file = f"{profile[1]}/config.yaml" if profile and folder else ""
    return file, (file and read_small(Path(folder) / file)) or ""


def submits(texts: Sequence[str], folder: str) -> bool:
    """Return whether a workflow manager's command line submits jobs."""
    if texts[:1] == ["nextflow"]:
        return bool(folder and _NEXTFLOW_SUBMITS.search(read_small(Path(folder) / "nextflow.config") or ""))
    return bool(_SUBMITTING.search(" ".join(texts)) or _PROFILE_SUBMITS.search(profile_of(texts, folder)[1]))
