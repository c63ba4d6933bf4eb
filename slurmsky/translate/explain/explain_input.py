"""Input of explain: script, site, SkyPilot task, and machine queries."""

from __future__ import annotations

import csv
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from ...model.spec import JobSpec
from ...options.table import OptionTable
from ...site.record import Site
from ..script.needs import Needs
from ..script.project_folder import Project
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..sky_task.task import SkyTask
from ..sky_task.translation_notes import Note, Refused
from .finding import LocalLookup


@cache
def sentences() -> Mapping[tuple[str, str], tuple[str, str]]:
    """Effects on this machine and on SkyPilot, by (kind, name)."""
    data = pkgutil.get_data("slurmsky.translate.explain", "explain.csv")
    assert data is not None, "explain.csv is missing from the package"
    rows = csv.DictReader(data.decode("utf-8").splitlines())
    return {(row["kind"], row["name"]): (row["here"], row["sky"]) for row in rows}


@dataclass
class View:
    """One script to be explained."""

    site: Site
    table: OptionTable
    engine: str  # local | sky
    partition: str
    spec: JobSpec
    source: str
    script: Script
    scope: Scope
    wants: Needs
    project: Project | None = None
    lookup: LocalLookup | None = None
    task: SkyTask | None = None
    refused: Refused | None = None
    fields: Mapping[str, object] = field(default_factory=dict)  # fields of the SkyPilot task and its resources
    notes: Mapping[str, Note] = field(default_factory=dict)

    @property
    def sky(self) -> bool:
        return self.engine == "sky"

    @property
    def infra(self) -> tuple[str, ...]:
        return self.site.sky_partition(self.partition).infra

    @property
    def mounted(self) -> tuple[str, ...]:
        """Folders that the site file mounts on SkyPilot's nodes."""
        volumes = (path for path, _ in self.site.sky_partition(self.partition).volumes)
        return (*(path.path for path in self.site.paths), *volumes)

    def sentence(self, kind: str, name: str) -> str:
        row = sentences().get((kind, name))
        return "" if row is None else row[1 if self.sky else 0]
