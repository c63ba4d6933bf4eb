"""Determines a job's SkyPilot GPU. Sources are gres type, constraint, partition and script text."""

from __future__ import annotations

import re

from ...model.spec import JobSpec
from ...site.gpunames import known_gpu
from ...site.record import GpuNames

#: GPU for words of AMD that name no model
_AMD_USUAL = "MI300X"


def sky_name(names: GpuNames, word: str) -> str:
    """SkyPilot's name for a site's GPU word, or ""."""
    wanted = word.lower()
    return next((sky for name, sky in names.names if name.lower() == wanted), "") or known_gpu(word)


def features(constraint: str | None) -> list[str]:
    """Names in a constraint, in order and without counts."""
    return re.findall(r"[A-Za-z_0-9][\w.:=-]*", re.sub(r"\*\d+", "", constraint or ""))


def hinted(spec: JobSpec, partition: str, names: GpuNames, amd: str = "") -> tuple[str, str]:
    """GPU and its source for a job with untyped GPUs.

    ("", "") without a source. Sources from the most to the least explicit: constraint, partition, QOS, the script's
    text.
    """
    for option, words in (
        ("constraint", features(spec.constraint)),
        ("prefer", features(spec.prefer)),
        ("partition", [partition, *re.split(r"[,_-]", partition), *re.split(r"[,_-]", spec.partition or "")]),
        ("reservation", re.split(r"[,_-]", spec.reservation or "")),
        ("qos", re.split(r"[,_-]", spec.qos or "")),
    ):
        for word in words:
            found = sky_name(names, word)
            if found:
                return found, f"--{option}={word}"
    if amd:
        return known_gpu(amd) or _AMD_USUAL, f"the script names {amd}"
    return "", ""
