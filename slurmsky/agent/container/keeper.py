"""Keeper of a container: helper process for image, start and cleanup."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from typing import Callable, Dict, Mapping, NoReturn, Tuple

from ...protocol.message_codec import Message
from ...protocol.step_plan import ContainerRequest
from ..process.helper_process import send_to_agent
from . import namespaces, nvidia_driver
from .rootfs import ImageError, ImageStore, remove_tree

_PR_SET_PDEATHSIG = 1


class KeeperMessage(Message, family="keeper"):
    """Base of a keeper's messages to the agent."""


class UserText(KeeperMessage, kind="say"):
    """A line for the user."""

    text: str


class ContainerFailed(KeeperMessage, kind="failed"):
    """The container could not be created, for the reason in ``lines``. The keeper ends."""

    lines: Tuple[str, ...]


class ContainerReady(KeeperMessage, kind="ready"):
    """Tasks can join the namespaces of the process ``holder``. The other fields describe the image."""

    holder: int
    environment: Dict[str, str]
    entrypoint: Tuple[str, ...]
    directory: str


def serve_container(sock: socket.socket, request: ContainerRequest, store: str, env: Mapping[str, str]) -> None:
    """Create the container; remove it when the agent closes the socket."""
    images = ImageStore(store, env, request.cwd, lambda text: send_to_agent(sock, UserText(text=text)))
    box, holder = "", 0
    try:
        try:
            if request.name:
                image = images.container(request.name, request.flag, request.image)
            else:
                image = images.image(request.image or "")
        except ImageError as error:
            what = "pyxis: failed to import docker image"
            send_to_agent(sock, ContainerFailed(lines=(what, *("pyxis:     %s" % line for line in error.args))))
            return
        driver = nvidia_driver.files()
        if driver:
            nvidia_driver.add_paths(image.environment)
        os.makedirs(os.path.join(store, "running"), mode=0o700, exist_ok=True)
        box = tempfile.mkdtemp(dir=os.path.join(store, "running"))
        read, write = os.pipe2(os.O_CLOEXEC)
        holder = os.fork()
        if not holder:
            os.close(read)
            _run_holder(write, lambda: namespaces.make(request, image, box, env, driver))
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            answer = pipe.read()
        if answer != b"ready":
            lines = answer.decode(errors="replace").splitlines() or ["the container's process was killed"]
            what = "pyxis: couldn't start container"
            send_to_agent(sock, ContainerFailed(lines=(what, *("pyxis:     %s" % line for line in lines))))
            return
        send_to_agent(
            sock,
            ContainerReady(
                holder=holder,
                environment=image.environment,
                entrypoint=tuple(image.entrypoint),
                directory=request.directory or image.directory or "/",
            ),
        )
        while sock.recv(4096):
            pass  # the agent sends nothing, and closes the socket at the container's end
    except ConnectionError:
        pass  # the agent has died
    finally:
        if holder:
            os.kill(holder, signal.SIGKILL)
            os.waitpid(holder, 0)
        if box:
            remove_tree(box)


def _run_holder(write: int, make: Callable[[], None]) -> NoReturn:
    """Turn this process's namespaces into the container, until killed."""
    try:
        namespaces.libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        make()
        os.write(write, b"ready")
        os.close(write)
        while True:
            signal.pause()
    except (OSError, namespaces.NamespaceError) as error:
        os.write(write, str(error).encode(errors="replace"))
    finally:
        os._exit(1)
