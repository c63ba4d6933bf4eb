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

from ...agent.cloud import private, submit_folder
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

    Shared by the nodes and jobs that receive the folder then. ``total`` is the sum of the entries' hashes; the listing
    after a change has the digest at the cost of the change.
    """

    def __init__(self, entries: dict[str, FolderEntry], total: int) -> None:
        self.entries = entries
        self._total = total

    @property
    def digest(self) -> str:
        """One digest for all entries."""
        return f"{self._total % (1 << 256):064x}"

    @cached_property
    def files(self) -> dict[str, tuple[int, int]]:
        """Size and mtime of each file."""
        return {path: (entry.size, entry.mtime_ns) for path, entry in self.entries.items() if entry.kind == "f"}

    def followed_by(self, entries: dict[str, FolderEntry]) -> Listing:
        """Return the listing of the folder's later entries. Unchanged ones are the same objects in both."""
        total, earlier = self._total, self.entries
        for name, entry in entries.items():
            before = earlier.get(name)
            if entry is not before:
                total += _hash(name, entry) - (_hash(name, before) if before else 0)
        total -= sum(_hash(name, earlier[name]) for name in earlier.keys() - entries.keys())
        return Listing(entries, total)

    def without(self, names: Iterable[str]) -> Listing:
        """Return the listing without these entries."""
        left_out = self.entries.keys() & set(names)
        if not left_out:
            return self
        entries = self.entries.copy()
        total = self._total - sum(_hash(name, entries.pop(name)) for name in left_out)
        return Listing(entries, total)


EMPTY = Listing({}, 0)


def _hash(name: str, entry: FolderEntry) -> int:
    text = json.dumps([name, *entry])
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


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
        self._latest: dict[tuple[str, str], Listing] = {}
        self._stored: dict[str, tuple[_Digests, int]] = {}  # with the time of storing, in ns
        self._lock = threading.Lock()
        self._shared = SharedCalls(self._list)

    async def current(self, folder: str, submit_dir: str, folders: Sequence[str]) -> tuple[Listing, list[str]]:
        """Return a folder's listing, and each folder of ``folders`` that exists.

        Shared by simultaneous callers. ``submit_dir``: see ``listing``. Raises EngineError.
        """
        listing, present = await self._shared.call((folder, submit_dir), folders)
        return listing, [path for path in folders if path in present]

    async def _list(self, key: tuple[str, str], paths: Sequence[Sequence[str]]) -> tuple[Listing, set[str]]:
        def work() -> tuple[Listing, set[str]]:
            present = {path for path in set().union(*paths) if os.path.isdir(path)}
            return self.listing(*key), present

        return await asyncio.to_thread(work)  # a hung mount blocks only this folder

    def listing(self, folder: str, submit_dir: str = "") -> Listing:
        """Return a folder's listing.

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
        latest = self._latest.get((folder, submit_dir), EMPTY)
        for name, metadata in walk(Path(folder), guard, Path(submit_dir or folder)):
            if stat.S_ISREG(metadata.st_mode):
                row = _row(folder, name, metadata, known.get(name))
                if row is None:
                    continue
                digests[name] = row
                total += metadata.st_size
            else:
                row = None
            entry = _entry(folder, name, metadata, row)
            before = latest.entries.get(name)
            found[name] = before if entry == before and before is not None else entry
            if total > self._limit or len(found) > MAX_FILES:
                raise EngineError(
                    f"the submit folder {folder} holds more than {self._limit >> 20} MiB or {MAX_FILES} files: "
                    f"list files that jobs do not need in {folder}/.skyignore, or mount it on the nodes"
                )
        self._keep(folder, digests)
        listing = self._latest[folder, submit_dir] = latest.followed_by(found)
        return listing

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
        with self._lock:
            self._known[folder] = digests
            stored, when = self._stored.get(folder, (None, 0))
            if when > young:
                return
            rows = {name: row for name, row in digests.items() if row[1] < young}
            if rows == stored:
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


def _row(folder: str, name: str, metadata: os.stat_result, known: list[Any] | None) -> list[Any] | None:
    """Size, mtime, inode and digest of a file; None: unreadable. The file was removed, or its owner may not read it."""
    key = [metadata.st_size, metadata.st_mtime_ns, metadata.st_ino]
    if known is not None and known[:3] == key and len(known) == 4:
        return known
    digest = submit_folder.digest(os.path.join(folder, name))
    return None if digest is None else [*key, digest]


def _entry(folder: str, name: str, metadata: os.stat_result, row: list[Any] | None) -> FolderEntry:
    """The entry of a file with this row, of a folder, or of a link."""
    mode = stat.S_IMODE(metadata.st_mode)
    if row is not None:
        return FolderEntry("f", mode, row[0], row[1], row[3])
    if stat.S_ISDIR(metadata.st_mode):
        return FolderEntry("d", mode)
    return FolderEntry("l", 0o777, content=os.readlink(os.path.join(folder, name)))
