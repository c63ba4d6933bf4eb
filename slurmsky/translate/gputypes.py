"""Which SkyPilot GPU a job wants: from its gres type, constraint, partition and the script's own words. Pure."""

from __future__ import annotations

import re

from ..model.spec import JobSpec
from ..site.gpunames import known_gpu
from ..site.record import GpuNames

#: what an AMD script means by words that name no one model
_AMD_USUAL = "MI300X"


def sky_name(names: GpuNames, word: str) -> str:
    """SkyPilot's name for a word that a site uses for a GPU; "" where it is no GPU's name."""
    wanted = word.lower()
    return next((sky for name, sky in names.names if name.lower() == wanted), "") or known_gpu(word)


def features(constraint: str | None) -> list[str]:
    """The names in a constraint, counts left out; alternatives keep their order."""
    return re.findall(r"[A-Za-z_0-9][\w.:=-]*", re.sub(r"\*\d+", "", constraint or ""))


def hinted(spec: JobSpec, partition: str, names: GpuNames, amd: str = "") -> tuple[str, str]:
    """(GPU, where that was read) for a job that asks for GPUs without a type; ("", "") where nothing says.

    The order is from the most to the least explicit: constraint, partition, QOS, the script's text.
    """
    for option, words in (
        ("constraint", features(spec.constraint)),
        ("prefer", features(spec.prefer)),
        ("partition", [partition, *re.split(r"[,_-]", partition)]),
        ("reservation", re.split(r"[,_-]", spec.reservation or "")),
        ("qos", re.split(r"[,_-]", spec.qos or "")),
    ):
        for word in words:
            found = sky_name(names, word)
            if found:
                return found, f"--{option}={word}"
    if amd:
        return known_gpu(amd) or _AMD_USUAL, f"the script speaks of {amd}"
    return "", ""
