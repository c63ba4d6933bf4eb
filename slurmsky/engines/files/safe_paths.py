"""Opens files below a folder without following links.

A job's node names the files that it sends. Each path is opened component by component from a folder that was resolved
when the job was prepared, so that neither ``..`` nor a later link can name a file outside of the folder. A file that is
not regular is refused: opening a FIFO would block the controller.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath

from ...agent.cloud.private import Private

#: errors of a path outside of its folder, or through a link
OUTSIDE_ERRORS = frozenset((errno.EXDEV, errno.ELOOP, errno.ENOTDIR))
_NULL = os.makedev(1, 3)  # /dev/null


def parts(path: str) -> tuple[str, ...]:
    """Components of a relative path. Raises OSError for one that is absolute, empty or above the folder."""
    found = PurePosixPath(path).parts
    if not found or path.startswith("/") or ".." in found or "\0" in path:
        raise OSError(errno.EXDEV, "leads out of its folder", path)
    return found


@contextmanager
def folder_of(
    root: str, path: str, make: bool = False, private: Private | None = None, modes: Sequence[int] = ()
) -> Iterator[tuple[int, str]]:
    """Open the folder of ``path``; return its descriptor and the base name.

    ``path`` is relative to ``root``. ``make``: create missing folders with these ``modes``, the outermost first;
    ``private``: files that are refused (EACCES). Raises OSError.
    """
    *folders, name = whole = parts(path)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    folder = os.open(root, flags)
    try:
        for depth, part in enumerate(folders):
            if private is not None and private.is_private(os.fstat(folder), whole[depth:]):
                raise _private(path)
            made = False
            if make:
                try:
                    os.mkdir(part, 0o700 if modes else 0o777, dir_fd=folder)
                    made = True
                except FileExistsError:
                    pass  # a path of any type: it is opened as a folder, or refused
            inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder)
            if made and depth < len(modes):
                os.chmod(f"/proc/self/fd/{inner}", modes[depth] & 0o777 | 0o700)  # files are still to be created in it
            os.close(folder)
            folder = inner
            if private is not None and private.contains_inode(os.fstat(folder)):
                raise _private(path)
        if private is not None and private.is_private(os.fstat(folder), (name,)):
            raise _private(path)
        yield folder, name
    finally:
        os.close(folder)


def _private(path: str) -> OSError:
    return PermissionError(errno.EACCES, "it is a private file of the user", path)


def open_to_write(root: str, path: str, umask: int, flags: int = 0, private: Private | None = None) -> int:
    """Open the file ``path`` below ``root`` for writing. A new file's mode follows from ``umask``. Raises OSError."""
    wanted = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags
    with folder_of(root, path, private=private) as (folder, name):
        for _ in range(2):
            try:
                descriptor = os.open(name, wanted, dir_fd=folder)
                break
            except FileNotFoundError:
                try:
                    descriptor = os.open(name, wanted | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
                except FileExistsError:
                    continue  # another process has created it
                os.fchmod(descriptor, 0o666 & ~umask)
                break
        else:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    metadata = os.fstat(descriptor)
    if not (stat.S_ISREG(metadata.st_mode) or (stat.S_ISCHR(metadata.st_mode) and metadata.st_rdev == _NULL)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor
