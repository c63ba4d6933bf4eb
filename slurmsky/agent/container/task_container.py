"""pyxis' containers: runs a step's tasks or a batch script in the root folder of an image.

As with enroot there is no container daemon and no runtime: a mount namespace (for users other than root also a user
namespace) is created once per step and node, and each task joins it just before exec. A task therefore stays a child of
the agent: CPUs, GPUs, signals, exit codes, descriptors (PMI), network and process ids are the node's. This module is
the agent's part: it requests a container from the keeper, and makes tasks join the container.

    agent ── keeper (finds the image, cleans up) ── holder (its namespaces are the container)
      └── task: forked by the agent, joins the holder's namespaces, executes
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Optional

from ...language import image_names as language
from ..process import startup_files
from ..process.helper_process import Helper
from .keeper import keep
from .namespaces import NamespaceError, join
from .rootfs import Image

if TYPE_CHECKING:
    from ...model.allocation import Launch
    from ..net.event_loop import Loop


def request(options: Iterable[tuple[str, str]], cwd: str, image_of_nodes: str = "") -> Optional[dict[str, Any]]:
    """Parse pyxis' options into a request for a container, JSON-ready; None: no container.

    ``image_of_nodes``: the image that the nodes run (SkyPilot's image_id). For this image no container is created, and
    the options apply to the node as far as possible.
    """
    said = dict(options)
    image, name = said.get("container-image"), said.get("container-name")
    if not image and not name:
        return None
    mounts = language.mounts(said["container-mounts"]) if said.get("container-mounts") else ()
    own, flag = language.name(name) if name else ("", "")
    return {
        "image": image,
        "inside": bool(image_of_nodes) and (not image or _same(image, image_of_nodes)),
        "name": own,
        "flag": flag,
        "mounts": [[_absolute(cwd, mount.source), _absolute(cwd, mount.target), list(mount.flags)] for mount in mounts],
        "directory": said.get("container-workdir") or "",
        "keep": list(language.variables(said["container-env"])) if said.get("container-env") else [],
        "home": said.get("container-mount-home") == "yes",
        "root": said.get("container-remap-root") == "yes",
        "entrypoint": said.get("container-entrypoint") == "yes",
        "readonly": said.get("container-writable") == "no",
        "cwd": cwd,
    }


def of_batch(launch: Launch) -> Optional[dict[str, Any]]:
    """The request for the container of a batch script; None: no container."""
    if not launch.spec.site_options or launch.script is None:
        return None
    asked = request(launch.spec.site_options, launch.work_dir, launch.image)
    if asked is not None and not asked["inside"]:
        # Mount the folder of the spooled script, which is executed in place.
        folder = os.path.dirname(launch.script)
        asked["mounts"].append([folder, folder, ["ro"]])
    return asked


def _same(one: str, other: str) -> bool:
    return language.qualified(language.reference(one)) == language.qualified(language.reference(other))


def _absolute(cwd: str, path: str) -> str:
    return path if path in (language.TMPFS, language.UMOUNT) else os.path.normpath(os.path.join(cwd, path))


class Container:
    """The agent's side: one container of a step, or of a batch script, on this node."""

    def __init__(self, loop: Loop, asked: dict[str, Any], store: str, say: Callable[[str], None]) -> None:
        self._loop = loop
        self._asked = asked
        self._store = store
        self._say = say
        self._keeper: Optional[Helper] = None
        self._ready: Callable[[], None] = lambda: None
        self._failed: Callable[[tuple[str, ...]], None] = lambda lines: None
        self._holder = 0
        self._image = Image("")
        self._directory = ""

    def prepare(
        self,
        environment: Mapping[str, str],
        ready: Callable[[], None],
        failed: Callable[[tuple[str, ...]], None],
    ) -> None:
        """Create the container; calls ready() when tasks can join it, or failed(lines)."""
        if self._asked["inside"]:
            self._directory = self._asked["directory"]
            problems = _inside(self._asked["mounts"])
            if problems:
                failed(tuple(problems))
            else:
                ready()
            return
        self._ready, self._failed = ready, failed
        self._keeper = Helper(
            self._loop,
            lambda sock: keep(sock, self._asked, self._store, environment),
            self._on_message,
            lambda: self._fail(("pyxis: the container's keeper has ended",)),
        )

    def _on_message(self, message: dict[str, Any]) -> None:
        if "say" in message:
            self._say(message["say"])
        elif "failed" in message:
            self._fail(tuple(message["failed"]))
        else:
            self._holder = message["holder"]
            self._image = Image("", message["environment"], "", message["entrypoint"])
            self._directory = message["directory"]
            self._failed = lambda lines: None
            self._ready()

    def _fail(self, lines: tuple[str, ...]) -> None:
        failed, self._failed = self._failed, lambda lines: None
        failed(lines)

    def argv(self, words: list[str]) -> list[str]:
        """The command to execute, prefixed by the image's entry point where the options request it."""
        return [*self._image.entrypoint, *words] if self._asked["entrypoint"] else words

    def enter(self, environment: dict[str, str]) -> None:
        """Join the container in a new process just before exec, and add the image's variables to ``environment``.

        Raises OSError or ContainerError. The process must have one thread, and must not import modules afterwards.
        """
        if self._holder:
            join(self._holder)
        startup_files.remove_bash_env(environment)  # the launchers are outside of the container
        for name, value in self._image.environment.items():
            if name not in self._asked["keep"]:
                environment[name] = value
        if self._directory:
            try:
                os.chdir(self._directory)
            except OSError as error:
                raise NamespaceError("couldn't chdir to %s: %s" % (self._directory, error.strerror)) from None
            environment["PWD"] = self._directory

    def close(self) -> None:
        """Remove the container after the end of its processes."""
        self._failed = lambda lines: None
        if self._keeper is not None:
            self._keeper.close()  # the keeper ends the container, and removes its files unless the container is named
            self._keeper = None


def _inside(mounts: list[list[Any]]) -> list[str]:
    """Emulate mounts by links on a node that runs the image; returns the mounts that are impossible."""
    problems = []
    for source, target, _flags in mounts:
        if source in (target, language.TMPFS, language.UMOUNT) or os.path.realpath(target) == os.path.realpath(source):
            continue
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.isdir(target) and not os.path.islink(target) and not os.listdir(target):
                os.rmdir(target)
            os.symlink(source, target)
        except OSError as error:
            problems.append("pyxis: cannot have %s at %s on this node: %s" % (source, target, error.strerror))
    return problems
