"""Lists submit folders with file digests. Digests of unchanged files are kept on disk for later controllers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...agent.cloud import private
from ...protocol.file_messages import FolderEntry
from ..base import EngineError
from ..files.folder_contents import MAX_FILES, walk
from .shared_calls import SharedCalls

#: by path below a folder: size, mtime, inode and digest
_Digests = dict[str, list[Any]]
#: number of folders with digests on disk
_FOLDERS = 64
#: a file changed more recently may change again without a new mtime; digests are stored at most as often
_YOUNG_NS = 2_000_000_000


class Listing:
    """The entries of a folder by path, at one moment.

    Shared by the nodes and jobs that receive the folder then.
    """

    def __init__(self, entries: dict[str, FolderEntry]) -> None:
        self.entries = entries

    @cached_property
    def digest(self) -> str:
        """One digest for all entries."""
        return digest_of(self.entries)

    @cached_property
    def files(self) -> dict[str, tuple[int, int]]:
        """Size and mtime of each file."""
        return {path: (entry.size, entry.mtime_ns) for path, entry in self.entries.items() if entry.kind == "f"}

    def without(self, names: Iterable[str]) -> Listing:
        """Return the listing without these entries."""
        left_out = self.entries.keys() & set(names)
        if not left_out:
            return self
        return Listing({name: entry for name, entry in self.entries.items() if name not in left_out})


class FolderListing:
    """Lists folders; computes digests only of changed files.

    Size, mtime and inode show a change. ``store`` keeps a file of digests for each folder. Methods may run in several
    threads.
    """

    def __init__(self, store: Path, home: Path, limit: int) -> None:
        self._store = store
        self._home = home
        self._limit = limit
        self._known: dict[str, _Digests] = {}
        self._stored: dict[str, tuple[_Digests, int]] = {}  # with the time of storing, in ns
        self._lock = threading.Lock()
        self._shared = SharedCalls(self._list)

    async def current(self, folder: str, submit_dir: str, folders: Sequence[str]) -> tuple[Listing, list[str]]:
        """Return a folder's listing, and each folder of ``folders`` that exists.

        Shared by simultaneous callers. ``submit_dir``: see ``entries``. Raises EngineError.
        """
        listing, present = await self._shared.call((folder, submit_dir), folders)
        return listing, [path for path in folders if path in present]

    async def _list(self, key: tuple[str, str], paths: Sequence[Sequence[str]]) -> tuple[Listing, set[str]]:
        def work() -> tuple[Listing, set[str]]:
            present = {path for path in set().union(*paths) if os.path.isdir(path)}
            return Listing(self.entries(*key)), present

        return await asyncio.to_thread(work)  # a hung mount blocks only this folder

    def entries(self, folder: str, submit_dir: str = "") -> dict[str, FolderEntry]:
        """Return the entries of a folder by path.

        ``submit_dir``: the folder, or one in it whose ignore files apply, too. Raises EngineError for a folder that is
        too large.
        """
        guard = private.Private(private.homes(), [str(self._home)])
        kept_in = guard.private_parent(folder)
        if kept_in:
            raise EngineError(f"the submit folder {folder} contains credentials ({kept_in}) and is not copied")
        found: dict[str, FolderEntry] = {}
        total = 0
        known, digests = self._digests(folder), _Digests()
        for name, metadata in walk(Path(folder), guard, Path(submit_dir or folder)):
            path, mode = os.path.join(folder, name), stat.S_IMODE(metadata.st_mode)
            if stat.S_ISDIR(metadata.st_mode):
                found[name] = FolderEntry("d", mode)
            elif stat.S_ISLNK(metadata.st_mode):
                found[name] = FolderEntry("l", 0o777, content=os.readlink(path))
            else:
                row = _row(path, metadata, known.get(name))
                if row is not None:
                    digests[name] = row
                    found[name] = FolderEntry("f", mode, metadata.st_size, metadata.st_mtime_ns, row[3])
                    total += metadata.st_size
            if total > self._limit or len(found) > MAX_FILES:
                raise EngineError(
                    f"the submit folder {folder} holds more than {self._limit >> 20} MiB or {MAX_FILES} files: "
                    f"list files that jobs do not need in {folder}/.skyignore, or mount it on the nodes"
                )
        self._keep(folder, digests)
        return found

    def _file(self, folder: str) -> Path:
        return self._store / (hashlib.sha256(os.fsencode(folder)).hexdigest()[:32] + ".json")

    def _digests(self, folder: str) -> _Digests:
        with self._lock:
            known = self._known.get(folder)
            if known is None:
                try:
                    known = {name: list(row) for name, row in json.loads(self._file(folder).read_text()).items()}
                except (OSError, ValueError, TypeError, AttributeError):
                    known = {}
                self._known[folder], self._stored[folder] = known, (known, 0)
            return known

    def _keep(self, folder: str, digests: _Digests) -> None:
        young = time.time_ns() - _YOUNG_NS
        rows = {name: row for name, row in digests.items() if row[1] < young}
        with self._lock:
            self._known[folder] = digests
            stored, when = self._stored.get(folder, (None, 0))
            if rows == stored or when > young:
                return
            self._stored[folder] = rows, young + _YOUNG_NS
            with contextlib.suppress(OSError):  # a full disk: a later controller computes them again
                self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
                path = self._file(folder)
                partial = path.with_suffix(".new")
                descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    file.write(json.dumps(rows))  # faster than dump
                new = not path.exists()
                partial.replace(path)
                if not new:
                    return
                by_age = sorted(self._store.glob("*.json"), key=lambda one: one.stat().st_mtime)
                for old in by_age[:-_FOLDERS]:
                    old.unlink()


def _row(path: str, metadata: os.stat_result, known: list[Any] | None) -> list[Any] | None:
    """Size, mtime, inode and digest of a file; None: unreadable. The file was removed, or its owner may not read it."""
    key = [metadata.st_size, metadata.st_mtime_ns, metadata.st_ino]
    if known is not None and known[:3] == key and len(known) == 4:
        return known
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError:
        return None
    return [*key, digest.hexdigest()]


def digest_of(entries: dict[str, FolderEntry]) -> str:
    """One digest for a whole listing."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
