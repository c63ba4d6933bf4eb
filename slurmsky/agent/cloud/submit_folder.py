"""Submit folder on a cloud node: creation, content, changed files."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

Scan = dict[str, tuple[int, int]]  # path in the folder -> size, mtime in ns


def make_folder(path: str) -> bool:
    """Create a writable folder, if needed through sudo. sudo must need no password."""
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
    """Create a link to the folder unless the path exists. If needed through sudo without a password."""
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
    """Inode numbers of a folder and its parents; empty if the folder does not exist."""
    numbers = []
    try:
        while path != "/":
            numbers.append(os.stat(path).st_ino)
            path = os.path.dirname(path)
    except OSError:
        return []
    return numbers


def same_folder(path: str, there: Sequence[int]) -> bool:
    """True if the folder is the submit host's, by inode numbers. Its parents must have the same inode numbers, too."""
    return bool(there) and identity(path) == list(there)


def unpack(archive: str, folder: str) -> None:
    """Unpack the shipped archive, or copy the folder of this name; replace existing files."""
    if os.path.isdir(archive):
        shutil.copytree(archive, folder, symlinks=True, dirs_exist_ok=True)
        return
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "fully_trusted_filter"):
            tar.extractall(folder, filter="fully_trusted")  # our own archive, of the user's own files
        else:
            tar.extractall(folder)


def scan(folder: str) -> Scan:
    """Regular files in a folder with size and time. Links are not followed."""
    found: Scan = {}
    below = [""]
    while below:
        base = below.pop()
        for entry in entries_of(os.path.join(folder, base)):
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(base + entry.name + "/")
                elif entry.is_file(follow_symlinks=False):
                    metadata = entry.stat(follow_symlinks=False)
                    found[base + entry.name] = (metadata.st_size, metadata.st_mtime_ns)
            except OSError:
                continue  # removed meanwhile
    return found


def entries_of(folder: str) -> list[os.DirEntry[str]]:
    """Entries of a folder; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


@dataclass(frozen=True)
class Changed:
    """A file that the job created or changed."""

    path: str  # in the folder
    size: int
    mode: int
    mtime_ns: int


def changes(before: Scan, folder: str, skip: frozenset[str]) -> list[Changed]:
    """Files that are new or changed, smallest first. ``skip``: paths that are sent in another way."""
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
    """Modes of the folders above a file in ``folder``, outermost first."""
    found = []
    for part in os.path.dirname(path).split("/") if "/" in path else ():
        folder = os.path.join(folder, part)
        try:
            found.append(stat.S_IMODE(os.lstat(folder).st_mode))
        except OSError:
            break
    return found


def pieces(path: str, size: int) -> Iterator[bytes]:
    """Read at most ``size`` bytes of a file, in pieces."""
    with open(path, "rb") as file:
        left = size
        while left:
            piece = file.read(min(left, 1 << 16))
            if not piece:
                return
            left -= len(piece)
            yield piece


def digest(path: str) -> Optional[str]:
    """sha256 of a file; None if it cannot be read."""
    total = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                total.update(piece)
    except OSError:
        return None
    return total.hexdigest()
