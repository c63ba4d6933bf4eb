"""Program of this machine's agents: an immutable copy of its files.

An agent imports most modules, tables and grammars at their first use. Its jobs may run for days, and an update of
slurmsky replaces the package's files meanwhile, so one process would load modules of two versions. The copies are in
the user's cache, so that controllers of several state folders share them; agents run from hard links in the state
folder, because a cache may be removed at any time.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ... import paths
from .. import agent_files

log = logging.getLogger("slurmsky.controller")

#: seconds for which a copy is kept after the last start of an agent from it
PROGRAM_KEPT_S = 3600.0

_copies: dict[Path, Path] = {}  # this process's copies, by the state folder
_copying = threading.Lock()  # agents of several nodes start at once


def modules(cache: Path | None, home: Path) -> str:
    """PYTHONPATH of an agent: the copy below ``home``. The package itself if no copy can be created."""
    if cache is not None:
        with _copying:
            try:
                copy = _copies.get(home)
                if copy is None or not copy.is_dir():
                    copy = _copies[home] = linked(current(cache), home)
                return str(copy)
            except OSError as error:
                log.warning("agents run from the package itself: %s", error)
    return os.pathsep.join(entry for entry in sys.path if entry and not entry.endswith(".zip"))


def current(cache: Path) -> Path:
    """Return the folder of the copy below ``cache``, created if missing. Raises OSError."""
    files = list(agent_files.entries())
    digest = _digest(files)
    target = cache / "agents" / digest
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.check_state(str(target.parent), what="folder of agents' programs")  # other users could put programs there
    if target.is_dir():
        os.utime(target)
        return target

    def fill(partial: Path) -> None:
        _copy(files, str(partial))
        if _digest(files) != digest:
            raise OSError(errno.EBUSY, "the package was updated while it was copied", str(partial))

    _make(target, fill)
    return target


def linked(copy: Path, home: Path) -> Path:
    """Return the folder below ``home`` with links to a copy. The copy itself if links are impossible."""
    target = home / "agents" / copy.name
    try:
        if target.is_dir():
            os.utime(target)
        else:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            _make(target, lambda partial: _link(str(copy), str(partial)))
    except OSError as error:
        log.info("agents run from %s: %s: %s", copy, error.filename, error.strerror)  # another file system, a full disk
        return copy
    return target


def _link(copy: str, folder: str) -> None:
    """Create hard links. Raises OSError. Compiled modules stay in the cache, because they can be recreated."""
    for place, folders, files in os.walk(copy):
        there = folder + place[len(copy) :]
        if "__pycache__" in folders:
            folders.remove("__pycache__")
            os.symlink(os.path.join(place, "__pycache__"), os.path.join(there, "__pycache__"))
        for name in folders:
            os.mkdir(os.path.join(there, name))
        for name in files:
            os.link(os.path.join(place, name), os.path.join(there, name))


def _make(target: Path, fill: Callable[[Path], object]) -> None:
    """Create the folder atomically, and remove old copies next to it. Raises OSError."""
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        fill(partial)
        partial.rename(target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not isinstance(error, OSError) or not target.is_dir():  # else another controller was faster
            raise
    _remove_old(target.parent)


def _digest(files: list[tuple[str, Path]]) -> str:
    """Name these files by their times and sizes. Python detects changed modules by the same values."""
    found = hashlib.sha256()
    for name, path in files:
        metadata = path.stat()
        found.update(f"{path}\0{name}\0{metadata.st_mtime_ns}\0{metadata.st_size}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()[:16]


def _copy(files: list[tuple[str, Path]], folder: str) -> None:
    """Copy the files with their times, and the compiled modules. These are valid for the times."""
    for name, path in files:
        target = Path(folder, name)
        if not target.parent.exists():
            target.parent.mkdir(parents=True)
            (target.parent / "__pycache__").mkdir()
        shutil.copyfile(path, target)
        metadata = path.stat()
        os.utime(target, ns=(metadata.st_mtime_ns, metadata.st_mtime_ns))
        compiled = Path(importlib.util.cache_from_source(str(path)))
        if name.endswith(".py") and compiled.exists():
            shutil.copyfile(compiled, target.parent / "__pycache__" / compiled.name)


def _remove_old(folder: Path) -> None:
    """Remove copies that no agent uses or has started from for PROGRAM_KEPT_S."""
    for copy in folder.iterdir():
        try:
            if copy.stat().st_mtime < time.time() - PROGRAM_KEPT_S and not _in_use(copy):
                shutil.rmtree(copy, ignore_errors=True)
        except OSError:
            continue  # another controller has removed it


def _in_use(copy: Path) -> bool:
    """True if an agent runs from this copy. Raises OSError. The agent holds a shared lock (``agent/__main__.py``)."""
    descriptor = os.open(copy, os.O_RDONLY | os.O_DIRECTORY | paths.OPEN_FLAGS)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
