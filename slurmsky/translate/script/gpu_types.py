"""Determines a job's SkyPilot GPU. Sources are gres type, constraint, partition and script text."""

from __future__ import annotations

import re

from ...model.spec import JobSpec
from ...site.gpunames import known_gpu
from ...site.record import GpuNames

#: GPU for words of AMD that name no model
_AMD_USUAL = "MI300X"

#: vCPUs and GiB of memory that clouds offer at most: with one GPU, with a whole node. Sources: SkyPilot's catalogs (v8)
#: of OCI and Nebius; the lists of instance types of AWS, Azure, GCP and Lambda.
_BESIDE = {
    "T4": (64, 256, 96, 624), "L4": (64, 256, 192, 768), "A10": (36, 440, 128, 1024), "A10G": (64, 256, 192, 768),
    "L40S": (64, 512, 224, 1536), "P100": (24, 112, 96, 624), "V100": (12, 112, 104, 768),
    "V100-32GB": (12, 96, 96, 768), "A100": (30, 220, 128, 2048), "A100-80GB": (30, 220, 256, 2048),
    "H100": (40, 320, 224, 2048), "H200": (24, 256, 224, 3072),
}  # fmt: skip


def most_beside(gpu: str, count: int) -> tuple[int, int] | None:
    """vCPUs and GiB of memory of the largest cloud node, or None.

    >>> most_beside("A100", 1), most_beside("A100", 8), most_beside("RTX4090", 1)
    ((30, 220), (128, 1760), None)
    """
    known = _BESIDE.get(gpu)
    return (min(known[0] * count, known[2]), min(known[1] * count, known[3])) if known else None


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
        ("qos", re.split(r"[,_-]", re.sub("-t[1-9]$", "", spec.qos or ""))),  # qos_gpu-t4: a limit of time
    ):
        for word in words:
            found = sky_name(names, word) or sky_name(names, re.sub(r"(?<=\d)(v\d|[a-z]+)$", "", word.lower()))
            if found:
                return found, f"--{option}={word}"
    if amd:
        return known_gpu(amd) or _AMD_USUAL, f"the script names {amd}"
    return "", ""
