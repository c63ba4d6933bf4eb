"""Copies of submit folders on a warm node, and their received entries.

One copy may contain another, because the folder above a submit folder is sent if a script names files in it. A change
by one transfer is recorded in all copies that have the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import Any, Container, Iterator, Optional

from ...protocol.file_messages import FolderEntry
from ..job import output_files
from . import submit_folder


class FolderCopy:
    """Copy of a folder of the controller's machine.

    ``entries``: the received entries, by path in the folder; ``known``: sizes and times that were reported. They are
    changed by ``set_entry`` and ``set_known``. The index on disk has a line with all of them, then a line with each
    change, so that a change costs nothing for the other files of the folder.
    """

    def __init__(self, index: str, folder: str, fallback: str) -> None:
        self._index = index
        self.folder = folder
        self.at = ""
        self.entries: dict[str, FolderEntry] = {}
        self.digest = ""
        self.known: submit_folder.Scan = {}
        self.differs: set[str] = set()  # paths whose entry has changed since the list was applied
        self._unsaved: set[str] = set()
        self._stored_digest = ""
        self._appended = -1  # changed paths in the index after its first line; -1: the next save writes a new index
        self._load()
        if not self.at:
            self.at = folder if submit_folder.make_folder(folder) else fallback
            os.makedirs(self.at, exist_ok=True)

    def _load(self) -> None:
        """Read the index. Lines after a damaged one are lost; the controller then sends its list again."""
        try:
            with open(self._index) as file:
                for line in file:
                    self._read(json.loads(line))
                    if not line.endswith("\n"):
                        self._appended = -1
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.digest, self._appended = "", -1

    def _read(self, line: dict[str, Any]) -> None:
        if "at" in line:
            self.at, self._appended = line["at"], 0
        else:
            self._appended += len(line["entries"])
        for path, entry in line["entries"].items():
            _put(self.entries, path, entry and FolderEntry(*entry))
        for path, pair in line["known"].items():
            _put(self.known, path, pair and (int(pair[0]), int(pair[1])))
        self.digest = self._stored_digest = line["digest"]

    def set_entry(self, relative: str, entry: Optional[FolderEntry]) -> None:
        """Change an entry. None: there is none."""
        if self.entries.get(relative) != entry:
            _put(self.entries, relative, entry)
            self.differs.add(relative)
            self._unsaved.add(relative)

    def set_known(self, relative: str, entry: Optional[FolderEntry]) -> None:
        """Change the size and time that were reported to those of an entry. None: none were."""
        _put(self.known, relative, entry and (entry.size, entry.mtime_ns))
        self._unsaved.add(relative)

    def path(self, relative: str) -> str:
        """Path of an entry on this node. Raises ValueError. An entry outside of the folder is an error."""
        path = os.path.normpath(os.path.join(self.at, relative))
        if not path.startswith(self.at.rstrip("/") + "/"):
            raise ValueError("%s is outside of %s" % (relative, self.at))
        return path

    def save(self) -> None:
        """Store changes on disk for a restart of the agent. A longer index than the folder's list is written again."""
        if self._appended >= 0 and not self._unsaved and self.digest == self._stored_digest:
            return
        appended, self._appended = self._appended, -1  # a failure, as on a full disk, leaves a damaged index
        if 0 <= appended <= len(self.entries):
            changed = sorted(self._unsaved)
            line = {
                "digest": self.digest,
                "entries": {path: self.entries.get(path) for path in changed},
                "known": {path: self.known.get(path) for path in changed},
            }
            with open(self._index, "a") as file:
                file.write(json.dumps(line) + "\n")
            self._appended = appended + len(changed)
        else:
            whole = {name: getattr(self, name) for name in ("folder", "at", "entries", "digest", "known")}
            with open(self._index + ".part", "w") as file:
                file.write(json.dumps(whole) + "\n")  # faster than dump
            os.replace(self._index + ".part", self._index)
            self._appended = 0
        self._unsaved.clear()
        self._stored_digest = self.digest

    def note_sent(self, path: str, sent: tuple[int, str]) -> Optional[FolderEntry]:
        """Record that the controller has a tailed file. ``sent``: its size and digest; "": unknown.

        The controller then removes the file here with its own copy, and does not send it back. Return the file's entry;
        None for a path that is not a file of the folder.
        """
        relative = os.path.relpath(path, self.at)
        try:
            metadata = os.lstat(path)
        except OSError:
            return None
        if relative.startswith("..") or not stat.S_ISREG(metadata.st_mode):
            return None
        content = sent[1] if sent[0] == metadata.st_size else ""
        noted = FolderEntry("f", stat.S_IMODE(metadata.st_mode), metadata.st_size, metadata.st_mtime_ns, content)
        self.set_known(relative, noted)
        self.set_entry(relative, noted)
        return noted

    def has_unchanged(self, relative: str, entry: FolderEntry) -> bool:
        """True if the entry's file is present and unchanged."""
        mine = self.entries.get(relative)
        return mine is not None and mine.content == entry.content and unchanged(self.path(relative), mine)

    def lacking_folders(self) -> Iterator[str]:
        """Yield the folders of the list that a job has removed. The next list creates them again."""
        for name, entry in self.entries.items():
            if entry.kind == "d" and not os.path.isdir(self.path(name)):
                yield name


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def unchanged(path: str, entry: FolderEntry) -> bool:
    try:
        metadata = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(metadata.st_mode) and (metadata.st_size, metadata.st_mtime_ns) == (entry.size, entry.mtime_ns)


class FolderCopies:
    """All copies on this node, with their received entries."""

    def __init__(self, home: str) -> None:
        self.home = os.path.join(home, "folders")
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        self._copies: dict[str, FolderCopy] = {}
        self._unsaved: set[FolderCopy] = set()  # copies whose entries a transfer of another copy has changed
        for name in os.listdir(self.home):
            if name.endswith(".json"):
                try:
                    with open(os.path.join(self.home, name)) as file:
                        self.copy(json.loads(file.readline())["folder"])
                except (OSError, ValueError, KeyError, TypeError):
                    continue  # read again when a job names its folder
        #: the file in which this agent records the output files that it opens
        self.note = os.path.join(home, output_files.NOTE)

    def copy_with(self, path: str) -> Optional[FolderCopy]:
        """Return the innermost copy that contains a path, or None."""
        found = [copy for copy in self._copies.values() if path.startswith(copy.at.rstrip("/") + "/")]
        return max(found, key=lambda copy: len(copy.at), default=None)

    def copy(self, folder: str) -> FolderCopy:
        """Return the copy of a folder, empty at first."""
        known = self._copies.get(folder)
        if known is None:
            name = hashlib.sha256(folder.encode("utf-8", "surrogateescape")).hexdigest()[:32]
            base = os.path.join(self.home, name)
            known = self._copies[folder] = FolderCopy(base + ".json", folder, base)
        return known

    def others(self, copy: FolderCopy, relative: str) -> Iterator[tuple[FolderCopy, str]]:
        """Yield the other copies with an entry, and its path in each. Copies may contain each other."""
        path = copy.path(relative)
        for one in self._copies.values():
            if one is not copy and path.startswith(one.at.rstrip("/") + "/"):
                name = os.path.relpath(path, one.at)
                if name in one.entries:
                    yield one, name

    def share(self, copy: FolderCopy, relative: str, entry: Optional[FolderEntry]) -> None:
        """Record a changed entry in the other copies. ``entry`` None: the entry was removed."""
        for one, name in self.others(copy, relative):
            one.set_known(name, entry)
            one.set_entry(name, entry)
            one.digest = ""
            self._unsaved.add(one)

    def save(self, copy: FolderCopy) -> None:
        """Store the lists of a copy and of those changed with it."""
        self._unsaved.add(copy)
        while self._unsaved:
            self._unsaved.pop().save()

    def with_content(self, digests: Container[str]) -> dict[str, tuple[str, FolderEntry]]:
        """Return path and entry of a file for each of these contents."""
        found: dict[str, tuple[str, FolderEntry]] = {}
        for copy in self._copies.values():
            for relative, entry in copy.entries.items():
                if entry.kind == "f" and entry.content in digests and entry.content not in found:
                    path = copy.path(relative)
                    if unchanged(path, entry):
                        found[entry.content] = path, entry
        return found
