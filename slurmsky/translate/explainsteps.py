"""Findings of explain for srun: the effect of each step's options. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..language import image_names
from ..options.getopt import split
from ..options.table import Option, load
from .explainview import View
from .finding import CHANGED, DECISION, KEPT, MISSING, NOTHING, REFUSED, Finding
from .idiom import one_line
from .mountpoints import is_mounted, mount_of
from .site_suggestions import toml


def steps(view: View) -> Iterator[Finding]:
    """A finding for each option of the script's steps, without repetition."""
    seen: set[str] = set()
    table = load("srun")
    for command in view.script.commands:
        if command.name != "srun":
            continue
        for option, text in split(table, [view.scope.expand(word) for word in command.words[1:]]).found:
            if option.name not in seen:
                seen.add(option.name)
                shown = f"srun --{option.name}" + ("" if text is None else f"={one_line(text, 60)}")
                yield Finding(command.line, "step", shown, *_step(view, option, text or ""))


def _step(view: View, option: Option, text: str) -> tuple[str, str] | tuple[str, str, str]:
    name = option.name
    if option.policy == "refused":
        return REFUSED, option.why
    reason = view.sentence("step", name)
    if name == "mpi" and text.startswith("pmix"):
        return KEPT, _pmix(view)
    if name == "container-image":
        return _image(view, text, reason)
    if option.policy in ("recorded", "none"):
        return NOTHING, reason or option.why
    return KEPT, reason or ("done by slurmsky's srun on the nodes" if view.sky else "as in Slurm")


def _pmix(view: View) -> str:
    """The source of the PMIx library for --mpi=pmix."""
    if not view.sky:
        return (
            "the PMIx library beside mpirun or of the system; without one the tasks get PMI-2 and srun says so "
            "(apt-get install libpmix2, or conda install -c conda-forge openpmix)"
        )
    image = str(view.fields.get("image_id", ""))
    if "nvcr.io/" in image:
        return f"{image.removeprefix('docker:')} brings a PMIx library with its MPI"
    return "setup installs libpmix2 where the node has no PMIx library"


def _image(view: View, text: str, reason: str) -> tuple[str, str] | tuple[str, str, str]:
    """The image of a step: a name in a registry, a file, or a variable's value."""
    is_file = image_names.is_path(text) or text.endswith((".sqsh", ".squashfs")) or text.startswith("~")
    if not view.sky:
        if is_file and view.here is not None and "$" not in text and not view.here.path(text):
            return MISSING, "the file is not on this machine"
        return KEPT, reason
    if "image_id" in view.fields:
        return CHANGED, f"image_id: {view.fields['image_id']}"
    if is_file:
        if is_mounted(text, view.mounted):
            return KEPT, "a file on a mounted path; the node unpacks it"
        if not text.startswith(("/", "~", "$")) or text.startswith("./"):
            return CHANGED, "a file of the submit folder, which travels if it is small enough"
        top = mount_of(text)
        suggestion = f'[paths]\n"{toml(top)}" = "s3://BUCKET/{toml(top.strip("~/"))}"'
        return (
            DECISION,
            "a container in a file of the old cluster: say where it is now, or name a registry's",
            suggestion,
        )
    if "$" in text:
        return KEPT, "its name is known when the job runs; podman, docker or apptainer of the node fetch it"
    return KEPT, reason
