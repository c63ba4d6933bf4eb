"""Options of a script as its export reads them."""

from __future__ import annotations

import re
from contextlib import suppress

from ...language import arrayspec
from ...language.syntax_errors import LanguageError
from ...model.spec import JobSpec
from ...options.getopt import split
from ...options.table import load
from ...site.modules import find
from ...site.record import Site
from ..script import needs
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..sky_task.geometry import Geometry, geometry
from ..sky_task.task import SkyTask
from ..sky_task.translation_notes import Refused
from .omitted_options import by_contents
from .variable_conversion import DirectiveValues

DEFAULT_GPU = "H100"
#: versions of CUDA below these do not support newer GPUs. Source: NVIDIA's release notes of CUDA
_GPUS_BEFORE = (((11, 0), "V100"), ((11, 8), "A100"))
_GPU_OPTIONS = frozenset(("gres", "gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket"))


def gpu_for(source: str, site: Site) -> str:
    """GPU for a script without one: the newest for its CUDA."""
    names = needs.of(source).modules
    images = by_contents([module for name in names if (module := find(site, name))])
    named = (
        re.search(r"(?i)cuda(?:toolkit)?[/:-]?(\d{1,2})\.?(\d{0,2})", text)
        for text in (*(one.image for one in images), *names)
    )
    version = next(((int(found[1]), int(found[2] or 0)) for found in named if found), (99, 0))
    return next((gpu for known, gpu in _GPUS_BEFORE if version < known), DEFAULT_GPU)


def with_gpus_of_steps(spec: JobSpec, script: Script) -> JobSpec:
    """Options; GPUs of the largest step if only steps have any."""
    largest, scope = spec, Scope.of(script)
    for command in script.commands if not geometry(spec).gpus else ():
        if command.name == "srun":
            found = split(load("srun"), [scope.expand(word) for word in command.words[1:]]).found
            given = {one.name.replace("-", "_"): text for one, text in found if text and "gpu" in f"{one.name}{text}"}
            asked = {name: given[name] for name in given.keys() & _GPU_OPTIONS if "$" not in given[name]}
            tasks = next((text for one, text in found if one.name == "ntasks" and text and text.isdecimal()), "")
            counts = {"ntasks": int(tasks[:6])} if tasks and asked and spec.ntasks_per_node is None else {}
            with suppress(Refused):  # Slurm refuses such a step
                largest = max(largest, spec.evolve(**asked, **counts), key=lambda one: geometry(one).gpus)
    return largest


def without_image_file(spec: JobSpec) -> tuple[JobSpec, str]:
    """Options without an image file of the old cluster, and that file."""
    file = dict(spec.site_options).get("container-image", "")
    if not file.startswith(("/", ".", "~")) and not file.endswith((".sqsh", ".squashfs")):
        return spec, ""
    return spec.evolve(site_options=tuple(pair for pair in spec.site_options if pair[0] != "container-image")), file


def exported_variables(export: str | None) -> dict[str, str]:
    """Variables that ``--export=ALL,NAME=VALUE`` sets."""
    return dict(re.findall(r"(?:^|,)([A-Za-z_]\w*)=([^,]*)", export or ""))


def directive_values(
    spec: JobSpec, task: SkyTask, size: Geometry, partition: str, file: str, source: str
) -> DirectiveValues:
    """Values that the directives give to the script's variables."""
    indices: tuple[int, ...] = ()
    if spec.array:
        try:
            found = arrayspec.parse(spec.array, 1 << 20)
            indices = tuple(index for part in found.ranges for index in part) if found else ()
        except LanguageError:
            indices = ()
    if len(indices) == 1 and "SLURM_ARRAY" not in source:
        indices = ()
    return DirectiveValues(
        spec=spec,
        name=spec.job_name or file,
        nodes=size.nodes,
        ntasks=size.ntasks,
        tasks_per_node=size.tasks_per_node,
        gpus=size.gpus,
        partition=partition,
        array=indices,
    )
