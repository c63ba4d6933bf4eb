"""Reads slurmsky.toml into a Site: cluster, engines, and name maps."""

from .load import default_site, load
from .record import (
    GpuNames,
    MachineHardware,
    ModuleConfig,
    PartitionSky,
    PathMap,
    Site,
    SiteError,
    SkyConfig,
)

__all__ = [
    "GpuNames",
    "MachineHardware",
    "ModuleConfig",
    "PartitionSky",
    "PathMap",
    "Site",
    "SiteError",
    "SkyConfig",
    "default_site",
    "load",
]
