"""slurmsky.toml -> Site: the cluster, which engine runs what, and what the site maps to what."""

from .load import default_site, load
from .record import (
    GpuNames,
    MachineFacts,
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
    "MachineFacts",
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
