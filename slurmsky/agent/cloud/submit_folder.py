"""Creates and fills the submit folder on a cloud node, and finds files that the job changed."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

Scan = dict[str, tuple[int, int]]  # path in the folder -> size, mtime in ns


def make_folder(path: str) -> bool:
    """Create a folder that this account can write to, through sudo if sudo needs no password."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:
        owner = "%d:%d" % (os.geteuid(), os.getegid())
        for command in (["mkdir", "-p", path], ["chown", owner, path]):
            try:
                subprocess.run(
                    ["sudo", "-n", *command],
                    check=True,
                    timeout=20,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            except (OSError, subprocess.SubprocessError):
                return False
    return os.access(path, os.W_OK | os.X_OK)


def link(path: str, folder: str) -> None:
    """Create a link to the folder unless the path exists, through sudo if sudo needs no password."""
    if os.path.lexists(path) or not os.path.isabs(path):
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(folder, path)
    except OSError:
        for command in (["mkdir", "-p", os.path.dirname(path)], ["ln", "-s", folder, path]):
            try:
                subprocess.run(["sudo", "-n", *command], timeout=20, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # fmt: skip
            except (OSError, subprocess.SubprocessError):
                return


def identity(path: str) -> list[int]:
    """Inode numbers of a folder and of its parents; empty when the folder does not exist."""
    numbers = []
    try:
        while path != "/":
            numbers.append(os.stat(path).st_ino)
            path = os.path.dirname(path)
    except OSError:
        return []
    return numbers


def same_folder(path: str, there: Sequence[int]) -> bool:
    """True when the folder is the same as the submit host's: folder and parents have the same inode numbers."""
    return bool(there) and identity(path) == list(there)


def unpack(archive: str, folder: str) -> None:
    """Fill the folder from the shipped archive; existing files of the same names are replaced."""
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "fully_trusted_filter"):
            tar.extractall(folder, filter="fully_trusted")  # our own archive, of the user's own files
        else:
            tar.extractall(folder)


def scan(folder: str) -> Scan:
    """Regular files in a folder with size and time, links not followed."""
    found: Scan = {}
    for root, _folders, files in os.walk(folder):
        for name in files:
            path = os.path.join(root, name)
            try:
                metadata = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(metadata.st_mode):
                found[os.path.relpath(path, folder)] = (metadata.st_size, metadata.st_mtime_ns)
    return found


@dataclass(frozen=True)
class Changed:
    """A file that the job created or changed."""

    path: str  # in the folder
    size: int
    mode: int
    mtime_ns: int


def changes(before: Scan, folder: str, skip: frozenset[str]) -> list[Changed]:
    """Files that are new or changed, smallest first; ``skip``: paths that are sent in another way."""
    found = []
    for path, metadata in scan(folder).items():
        if path in skip or before.get(path) == metadata:
            continue
        try:
            now = os.lstat(os.path.join(folder, path))
        except OSError:
            continue
        found.append(Changed(path, now.st_size, stat.S_IMODE(now.st_mode), now.st_mtime_ns))
    return sorted(found, key=lambda file: (file.size, file.path))


def modes(folder: str, path: str) -> list[int]:
    """Modes of the folders between ``folder`` and a file in it, outermost first."""
    found = []
    for part in os.path.dirname(path).split("/") if "/" in path else ():
        folder = os.path.join(folder, part)
        try:
            found.append(stat.S_IMODE(os.lstat(folder).st_mode))
        except OSError:
            break
    return found


def pieces(path: str, size: int) -> Iterator[bytes]:
    """Read a file in pieces, at most ``size`` bytes in all."""
    with open(path, "rb") as file:
        left = size
        while left:
            piece = file.read(min(left, 1 << 16))
            if not piece:
                return
            left -= len(piece)
            yield piece


def digest(path: str) -> Optional[str]:
    """sha256 of a file; None when it cannot be read."""
    total = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                total.update(piece)
    except OSError:
        return None
    return total.hexdigest()
