"""Copies of submit folders on a warm node, and their received entries.

One copy may contain another, because the folder above a submit folder is sent if a script names files in it. A change
by one transfer is recorded in all copies that have the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import Container, Iterator, Optional

from ...protocol.file_messages import FolderEntry
from ..job import output_files
from . import submit_folder


class FolderCopy:
    """Copy of a folder of the controller's machine. ``entries``: the received entries, by path in the folder."""

    def __init__(self, index: str, folder: str, fallback: str) -> None:
        self._index = index
        self.folder = folder
        self.at = folder
        self.entries: dict[str, FolderEntry] = {}
        self.digest = ""
        self.known: submit_folder.Scan = {}  # sizes and times that were reported
        try:
            with open(index) as file:
                data = json.load(file)
            self.at, self.digest = data["at"], data["digest"]
            self.entries = {path: FolderEntry(*entry) for path, entry in data["entries"].items()}
            self.known = {path: (int(size), int(mtime)) for path, (size, mtime) in data["known"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            if not submit_folder.make_folder(folder):
                os.makedirs(fallback, exist_ok=True)
                self.at = fallback

    def path(self, relative: str) -> str:
        """Path of an entry on this node. Raises ValueError. An entry outside of the folder is an error."""
        path = os.path.normpath(os.path.join(self.at, relative))
        if not path.startswith(self.at.rstrip("/") + "/"):
            raise ValueError("%s lies outside of %s" % (relative, self.at))
        return path

    def save(self) -> None:
        """Store the list on disk for a restart of the agent."""
        data = {name: getattr(self, name) for name in ("folder", "at", "entries", "digest", "known")}
        with open(self._index + ".part", "w") as file:
            file.write(json.dumps(data))  # faster than dump
        os.replace(self._index + ".part", self._index)

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
        self.known[relative] = (metadata.st_size, metadata.st_mtime_ns)
        content = sent[1] if sent[0] == metadata.st_size else ""
        noted = FolderEntry("f", stat.S_IMODE(metadata.st_mode), metadata.st_size, metadata.st_mtime_ns, content)
        self.entries[relative] = noted
        return noted

    def has_unchanged(self, relative: str, entry: FolderEntry) -> bool:
        """True if the entry's file is present and unchanged."""
        mine = self.entries.get(relative)
        return mine is not None and mine.content == entry.content and unchanged(self.path(relative), mine)

    def lacks_folder(self) -> bool:
        """True if a job has removed a folder of the controller's list. The next list creates it again."""
        return any(entry.kind == "d" and not os.path.isdir(self.path(name)) for name, entry in self.entries.items())


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
                        self.copy(json.load(file)["folder"])
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
            one.known.pop(name, None)
            del one.entries[name]
            if entry is not None:
                one.entries[name], one.known[name] = entry, (entry.size, entry.mtime_ns)
            one.digest = ""
            self._unsaved.add(one)

    def save(self, copy: FolderCopy) -> None:
        """Store the lists of a copy and of those changed with it."""
        self._unsaved.add(copy)
        while self._unsaved:
            self._unsaved.pop().save()

    def with_content(self, digests: Container[str]) -> dict[str, tuple[str, FolderEntry]]:
        """Return path and entry of a file with each of these contents that a copy has."""
        found: dict[str, tuple[str, FolderEntry]] = {}
        for copy in self._copies.values():
            for relative, entry in copy.entries.items():
                if entry.kind == "f" and entry.content in digests and entry.content not in found:
                    path = copy.path(relative)
                    if unchanged(path, entry):
                        found[entry.content] = path, entry
        return found
