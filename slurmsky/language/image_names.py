"""Image names and mount lists of pyxis.

pyxis splits both at single characters (strsep), so there is no grammar: the text between the characters is arbitrary.

Source: NVIDIA/pyxis args.c, NVIDIA/enroot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .syntax_errors import LanguageError

_SCHEMES = ("docker://", "dockerd://", "podman://", "docker:")
#: Sources of a mount other than a path: an empty tmpfs, and the removal of another mount.
TMPFS, UMOUNT = "tmpfs", "umount"


class ContainerError(LanguageError):
    """Error with pyxis' lines for a text that it refuses."""

    language = "container"

    def __init__(self, *lines: str) -> None:
        super().__init__(lines[0])
        self.lines = lines


@dataclass(frozen=True)
class Mount:
    """One entry of --container-mounts. ``flags`` are as written, with "+" between them."""

    source: str
    target: str
    flags: tuple[str, ...] = ()


def is_path(text: str) -> bool:
    """Return whether an image is a file or folder of the node."""
    return text.startswith(("/", "."))


def reference(text: str) -> str:
    """Name of an image in docker's form.

    Enroot separates the registry with ``#``, and may name a user of the registry; here the container tool handles
    logins.

    >>> reference("nvcr.io#nvidia/pytorch:24.01-py3")
    'nvcr.io/nvidia/pytorch:24.01-py3'
    >>> reference("docker://me@registry.example:5000#team/image")
    'registry.example:5000/team/image'
    """
    for scheme in _SCHEMES:
        text = text.removeprefix(scheme)
    place, sign, rest = text.partition("#")
    return f"{place.rpartition('@')[2]}/{rest}" if sign else text


def qualified(name: str) -> str:
    """Docker name with its registry, by default Docker Hub.

    >>> qualified("ubuntu:24.04"), qualified("team/image"), qualified("localhost/tiny")
    ('docker.io/library/ubuntu:24.04', 'docker.io/team/image', 'localhost/tiny')
    """
    first, slash, _ = name.partition("/")
    if slash and (re.search(r"[.:]", first) or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def mounts(text: str) -> tuple[Mount, ...]:
    """Parse ``SRC:DST[:FLAGS][,SRC:DST...]``.

    A lone SRC is mounted at its own path. Raises ContainerError with pyxis' lines.

    >>> mounts("/data:/in:ro+nosuid,/scratch")[0]
    Mount(source='/data', target='/in', flags=('ro', 'nosuid'))
    """
    return tuple(_mount(entry) for entry in text.split(","))


def _mount(entry: str) -> Mount:
    source, colon, rest = entry.partition(":")
    target, _, flags = rest.partition(":")
    if not source or (colon and not target):
        raise ContainerError(f"--container-mounts: invalid format: {entry}")
    target = target or source
    failed = f"could not add mount entry: {source}:{target}"
    if source not in (TMPFS, UMOUNT) and not is_path(source):
        raise ContainerError('mount source must be a relative path, an absolute path, "tmpfs" or "umount"', failed)
    if not is_path(target):
        raise ContainerError("mount target must be a relative path or an absolute path", failed)
    return Mount(source, target, tuple(flag for flag in flags.split("+") if flag))


def name(text: str) -> tuple[str, str]:
    """Parse ``NAME[:FLAG]`` of --container-name to (name, flag). Raises ContainerError."""
    word, _, flag = text.partition(":")
    if not word:
        raise ContainerError("--container-name: empty name")
    if flag not in ("", "auto", "create", "exec", "no_exec"):
        raise ContainerError('--container-name: flag must be "auto", "create", "exec" or "no_exec"')
    # The name becomes a folder's name, so it must not contain a path.
    if "/" in word or word in (".", "..") or "\0" in word:
        raise ContainerError(f"--container-name: invalid name: {word}")
    return word, flag or "auto"


def variables(text: str) -> tuple[str, ...]:
    """Parse ``NAME[,NAME...]`` of --container-env. Raises ContainerError."""
    names = tuple(text.split(","))
    if not all(names):
        raise ContainerError(f"--container-env: invalid format: {text}")
    return names
