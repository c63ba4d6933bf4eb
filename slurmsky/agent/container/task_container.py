"""Containers of pyxis: tasks and batch scripts in an image.

As with enroot there is no container daemon and no runtime: a mount namespace (for users other than root also a user
namespace) is created once per step and node, and each task joins it just before exec. A task therefore stays a child of
the agent: CPUs, GPUs, signals, exit codes, descriptors (PMI), network and process ids are the node's. This module is
the agent's part: it requests a container from the keeper, and makes tasks join the container.

    agent ── keeper (finds the image, cleans up) ── holder (its namespaces are the container)
      └── task: forked by the agent, joins the holder's namespaces, executes
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, Iterable, Mapping, Optional

from ...language import image_names as language
from ...protocol.step_plan import ContainerRequest, Mount
from ..process import startup_files
from ..process.helper_process import Helper
from .keeper import ContainerFailed, ContainerReady, KeeperMessage, UserText, serve_container
from .namespaces import NamespaceError, join
from .rootfs import Image

if TYPE_CHECKING:
    from ...model.allocation import Launch
    from ..net.event_loop import Loop


def request(options: Iterable[tuple[str, str]], cwd: str, image_of_nodes: str = "") -> Optional[ContainerRequest]:
    """Parse pyxis' options into a container request, or None.

    ``image_of_nodes``: the image that the nodes run (SkyPilot's image_id). For this image no container is created, and
    the options apply to the node as far as possible.
    """
    given = dict(options)
    image, name = given.get("container-image"), given.get("container-name")
    if not image and not name:
        return None
    mounts = language.mounts(given["container-mounts"]) if given.get("container-mounts") else ()
    own, flag = language.name(name) if name else ("", "")
    return ContainerRequest(
        image=image,
        on_node_image=bool(image_of_nodes) and (not image or _same(image, image_of_nodes)),
        name=own,
        flag=flag,
        mounts=tuple((_absolute(cwd, mount.source), _absolute(cwd, mount.target), mount.flags) for mount in mounts),
        directory=given.get("container-workdir") or "",
        keep=language.variables(given["container-env"]) if given.get("container-env") else (),
        home=given.get("container-mount-home") == "yes",
        root=given.get("container-remap-root") == "yes",
        entrypoint=given.get("container-entrypoint") == "yes",
        readonly=given.get("container-writable") == "no",
        cwd=cwd,
    )


def batch_request(launch: Launch) -> Optional[ContainerRequest]:
    """Return the request for a batch script's container, or None."""
    if launch.script is None:
        return None
    wanted = request(launch.spec.site_options, launch.work_dir, launch.image)
    if wanted is None or wanted.on_node_image:
        return wanted
    # Mount the folder of the spooled script, which is executed in place.
    folder = os.path.dirname(launch.script)
    return wanted.evolve(mounts=(*wanted.mounts, (folder, folder, ("ro",))))


def _same(one: str, other: str) -> bool:
    return language.qualified(language.reference(one)) == language.qualified(language.reference(other))


def _absolute(cwd: str, path: str) -> str:
    return path if path in (language.TMPFS, language.UMOUNT) else os.path.normpath(os.path.join(cwd, path))


class Container:
    """The agent's side of a container on this node. It belongs to a step or a batch script."""

    def __init__(self, loop: Loop, wanted: ContainerRequest, store: str, say: Callable[[str], None]) -> None:
        self._loop = loop
        self._request = wanted
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
        """Create the container; call ready() or failed(lines). Tasks can join the container after ready()."""
        if self._request.on_node_image:
            self._directory = self._request.directory
            problems = _link_mounts(self._request.mounts)
            if problems:
                failed(tuple(problems))
            else:
                ready()
            return
        self._ready, self._failed = ready, failed
        self._keeper = Helper(
            self._loop,
            lambda sock: serve_container(sock, self._request, self._store, environment),
            KeeperMessage,
            self._on_message,
            lambda: self._fail(("pyxis: the container's keeper has ended",)),
        )

    def _on_message(self, message: KeeperMessage) -> None:
        if isinstance(message, UserText):
            self._say(message.text)
        elif isinstance(message, ContainerFailed):
            self._fail(message.lines)
        elif isinstance(message, ContainerReady):
            self._holder = message.holder
            self._image = Image("", message.environment, "", list(message.entrypoint))
            self._directory = message.directory
            self._failed = lambda lines: None
            self._ready()

    def _fail(self, lines: tuple[str, ...]) -> None:
        failed, self._failed = self._failed, lambda lines: None
        failed(lines)

    def argv(self, words: list[str]) -> list[str]:
        """Prefix a command by the image's entry point, if requested."""
        return [*self._image.entrypoint, *words] if self._request.entrypoint else words

    def enter(self, environment: dict[str, str]) -> None:
        """Join the container in a new process just before exec.

        Adds the image's variables to ``environment``. Raises OSError or ContainerError. The process must have one
        thread, and must not import modules afterwards.
        """
        if self._holder:
            join(self._holder)
        startup_files.remove_bash_env(environment)  # the launchers are outside of the container
        for name, value in self._image.environment.items():
            if name not in self._request.keep:
                environment[name] = value
        if self._directory:
            try:
                os.chdir(self._directory)
            except OSError as error:
                raise NamespaceError("couldn't chdir to %s: %s" % (self._directory, error.strerror)) from None
            environment["PWD"] = self._directory

    def close(self) -> None:
        """Remove the container after its processes have ended."""
        self._failed = lambda lines: None
        if self._keeper is not None:
            self._keeper.close()  # the keeper ends the container, and removes its files unless the container is named
            self._keeper = None


def _link_mounts(mounts: Iterable[Mount]) -> list[str]:
    """Emulate mounts by links on a node with the image. Return the impossible mounts."""
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
