"""The program of this machine's agents: an immutable copy of the files that they need.

An agent imports most modules, tables and grammars at their first use. Its jobs may run for days, and an update of
slurmsky replaces the package's files meanwhile: modules of two versions would then meet in one process. The copies are
in the user's cache, so that controllers of several state folders share them.
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
from pathlib import Path

from ... import paths
from .. import agent_files

log = logging.getLogger("slurmsky.controller")

#: how long a copy is kept after the last start of an agent from it
KEPT_S = 3600.0

_copies: dict[Path, Path] = {}  # this process's copies, by the cache's folder
_copying = threading.Lock()  # agents of several nodes start at once


def modules(cache: Path | None) -> str:
    """PYTHONPATH of an agent: the copy below ``cache``, or the package itself where there is or can be none."""
    if cache is not None:
        with _copying:
            try:
                copy = _copies.get(cache)
                if copy is None or not copy.is_dir():
                    copy = _copies[cache] = current(cache)
                return str(copy)
            except OSError as error:
                log.warning("agents run from the package itself: %s: %s", error.filename, error.strerror)
    return os.pathsep.join(entry for entry in sys.path if entry and not entry.endswith(".zip"))


def current(cache: Path) -> Path:
    """The folder of the copy below ``cache``; made unless it exists. Raises OSError."""
    files = list(agent_files.entries())
    digest = _digest(files)
    folder = cache / "agents"
    target = folder / digest
    try:
        os.utime(target)
        return target
    except FileNotFoundError:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{digest}.", dir=folder))
    try:
        _copy(files, str(partial))
        if _digest(files) != digest:
            raise OSError(errno.EBUSY, "the package was updated while it was copied", str(partial))
        partial.rename(target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not isinstance(error, OSError) or not target.is_dir():  # else another controller was faster
            raise
    _remove_old(folder)
    return target


def _digest(files: list[tuple[str, Path]]) -> str:
    """A name for these files: their times and sizes, by which Python, too, detects modules that have changed."""
    found = hashlib.sha256()
    for name, path in files:
        facts = path.stat()
        found.update(f"{path}\0{name}\0{facts.st_mtime_ns}\0{facts.st_size}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()[:16]


def _copy(files: list[tuple[str, Path]], folder: str) -> None:
    """Copy the files with their times, and the compiled modules, which are valid for these times."""
    for name, path in files:
        target = Path(folder, name)
        if not target.parent.exists():
            target.parent.mkdir(parents=True)
            (target.parent / "__pycache__").mkdir()
        shutil.copyfile(path, target)
        facts = path.stat()
        os.utime(target, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
        compiled = Path(importlib.util.cache_from_source(str(path)))
        if name.endswith(".py") and compiled.exists():
            shutil.copyfile(compiled, target.parent / "__pycache__" / compiled.name)


def _remove_old(folder: Path) -> None:
    """Remove the copies from which no agent has started for KEPT_S, and from which none runs."""
    for copy in folder.iterdir():
        try:
            if copy.stat().st_mtime < time.time() - KEPT_S and not _in_use(copy):
                shutil.rmtree(copy, ignore_errors=True)
        except OSError:
            continue  # another controller has removed it


def _in_use(copy: Path) -> bool:
    """Whether an agent runs from this copy: it holds a shared lock (``agent/__main__.py``). Raises OSError."""
    descriptor = os.open(copy, os.O_RDONLY | os.O_DIRECTORY | paths.OPEN_FLAGS)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
