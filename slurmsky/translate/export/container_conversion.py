"""Starts programs of a registry's image in the task's image, without a container program."""

from __future__ import annotations

import re

from ..script.conversion_tables import ANYWHERE, COPIERS, INSTALLERS, LAUNCHERS
from ..shell.launched_program import Launched, launched
from ..shell.shell_elements import Command
from .workflow_conversion import Workflows

_NAME = r"([\w./:@-]+)"  # of an image in a registry
#: programs that may run in any image, beside the containers' ones
_PREPARES = ANYWHERE | COPIERS | LAUNCHERS | INSTALLERS.keys() | {"srun"}
#: sites' commands that start a program in a module's container
_WRAPPERS = frozenset(("singularity_wrapper", "apptainer_wrapper"))
_RUNTIMES = frozenset(("singularity", "apptainer", "shifter", "docker", "nvidia-docker", "podman"))


class Containers(Workflows):
    """Rules for commands in containers."""

    def _choose_image(self) -> None:
        """Choose the only image, if every program runs in it."""
        found = [launched(command, self.scope.containers) for command in self.script.commands]
        inside = [one for one in found if one.inside in _RUNTIMES]
        outside = [one for one in found if one.words and not one.inside]
        images = {self._registry_image(one) if len(one.words) > 1 or one.inside == "shifter" else "" for one in inside}
        plain = all(one.name in _PREPARES or one.name in self.scope.functions for one in outside)
        moved = any(len({*self.scope.expand(word).split(":")[:2]}) > 1 for one in inside for word in one.mounts)
        if len(images) == 1 and plain and not moved and self.directives.nodes == 1:
            self.image = images.pop()
        if self.image:
            self.found.images.append(self.image)

    def _registry_image(self, found: Launched) -> str:
        """Name of a container's image in a registry, or ""."""
        if found.inside == "shifter":
            return self.directives.image
        own = found.inside in ("singularity", "apptainer")
        if not found.image or found.verb != ("exec" if own else "run"):
            return ""
        named = re.fullmatch(f"{'docker://' if own else ''}{_NAME}", self.scope.expand(found.image))
        return named[1] if named else ""

    def _leave_container(self, command: Command) -> None:
        """Remove the container program before its program."""
        found = launched(command, self.scope.containers)
        names = [(word.text or "").rpartition("/")[2] for word in command.words]
        wrapper = next((name for name in names if name in _WRAPPERS), "")
        if wrapper and not any(module.image for module in self.found.modules):
            self.found.drop(command.line, wrapper, "its module names the image: write it as image_id", to_do=True)
        if wrapper or (self.image and found.inside in _RUNTIMES):
            words = found.words if wrapper or found.inside == "shifter" else found.words[1:]
            start = command.words[names.index(wrapper or found.inside)].start
            self.found.edit(start, words[0].start, "")
            self.removed.append((start, words[0].start))
