"""Reads slurmsky.toml into a Site: the cluster, its engines, and the maps of names."""

from .load import default_site, load
from .record import (
    GpuNames,
    MachineHardware,
    ModuleConfig,
    PartitionSky,
    PathMap,
    Site,
    SiteError,
    SiteOption,
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
    "SiteOption",
    "SkyConfig",
    "default_site",
    "load",
]
