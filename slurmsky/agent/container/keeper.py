"""The keeper of a container: a helper process that finds the image, starts the container and cleans up."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
from typing import Any, Callable, Mapping, NoReturn

from ...protocol import wire
from . import namespaces, nvidia_driver
from .rootfs import ImageError, ImageStore, remove_tree

_PR_SET_PDEATHSIG = 1


def _send(sock: socket.socket, message: dict[str, Any]) -> None:
    sock.sendall(wire.encode(wire.JSON, json.dumps(message).encode()))


def keep(sock: socket.socket, asked: dict[str, Any], store: str, env: Mapping[str, str]) -> None:
    """Create the container of ``asked`` (see ``task_container.request``), and remove it when the agent closes.

    Messages to the agent: ``say`` (a line for the user), ``failed`` (lines with the reason; the keeper ends), or
    ``holder`` (the pid whose namespaces tasks join) with the image's environment, entry point and folder.
    """
    images = ImageStore(store, env, asked["cwd"], lambda text: _send(sock, {"say": text}))
    box, holder = "", 0
    try:
        try:
            if asked["name"]:
                image = images.container(asked["name"], asked["flag"], asked["image"])
            else:
                image = images.image(asked["image"])
        except ImageError as error:
            what = "pyxis: failed to import docker image"
            _send(sock, {"failed": [what, *("pyxis:     %s" % line for line in error.args)]})
            return
        driver = nvidia_driver.files()
        if driver:
            nvidia_driver.lead_to(image.environment)
        os.makedirs(os.path.join(store, "running"), mode=0o700, exist_ok=True)
        box = tempfile.mkdtemp(dir=os.path.join(store, "running"))
        read, write = os.pipe2(os.O_CLOEXEC)
        holder = os.fork()
        if not holder:
            os.close(read)
            _hold(write, lambda: namespaces.make(asked, image, box, env, driver))
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        if said != b"ready":
            lines = said.decode(errors="replace").splitlines() or ["the container's process was killed"]
            _send(sock, {"failed": ["pyxis: couldn't start container", *("pyxis:     %s" % line for line in lines)]})
            return
        _send(
            sock,
            {
                "holder": holder,
                "environment": image.environment,
                "entrypoint": image.entrypoint,
                "directory": asked["directory"] or image.directory or "/",
            },
        )
        while sock.recv(4096):
            pass  # the agent sends nothing; it closes the socket at the container's end
    except ConnectionError:
        pass  # the agent has died
    finally:
        if holder:
            os.kill(holder, signal.SIGKILL)
            os.waitpid(holder, 0)
        if box:
            remove_tree(box)


def _hold(write: int, make: Callable[[], None]) -> NoReturn:
    """Turn this process's namespaces into the container, and keep them alive until killed."""
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
