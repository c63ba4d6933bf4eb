"""Records of runs whose files are on nodes, for a later controller.

A run has one small file. Runs that began with the same listing of their folder share the file with its entries, or with
its differences from an earlier listing: elements of an array find the folder with the output of those before them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Key = tuple[int, int]  # job and run
Given = Mapping[str, tuple[int, int]]  # size and mtime of each file

#: a listing is stored as differences if they are less than this part of its entries
_FEW = 4


class RunRecords:
    """Files of records in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listing: dict[Key, str] = {}  # of each recorded run
        self._users: Counter[str] = Counter()  # runs and later listings, by listing
        self._whole: tuple[str, Given] = "", {}  # the latest listing that was stored with all entries
        self._based: dict[str, str] = {}  # by listing stored as differences: the whole one

    def _run_file(self, key: Key) -> Path:
        return self._folder / f"{key[0]}-{key[1]}.json"

    def _listing_file(self, listing: str) -> Path:
        return self._folder / f"{listing}.listing"

    def save(self, key: Key, record: Mapping[str, Any], listing: str, given: Given) -> None:
        """Store a run's record. ``listing``: the digest under which ``given`` is stored. Raises OSError."""
        if not self._users[listing]:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._save_listing(listing, given)
        self._hold(key, listing)
        _write(self._run_file(key), {**record, "listing": listing})

    def _save_listing(self, listing: str, given: Given) -> None:
        """Store a listing's entries, or its few differences from the latest one."""
        base, earlier = self._whole
        changed = {path: entry for path, entry in given.items() if earlier.get(path) != entry}
        removed = list(earlier.keys() - given.keys())
        if self._users[base] and _FEW * (len(changed) + len(removed)) < len(given):
            self._base(listing, base)
            _write(self._listing_file(listing), {"": base, "changed": changed, "removed": removed})
        else:
            self._whole = listing, given
            _write(self._listing_file(listing), given)

    def _base(self, listing: str, base: str) -> None:
        self._based[listing] = base
        self._users[base] += 1

    def _hold(self, key: Key, listing: str) -> None:
        earlier = self._listing.get(key)
        self._listing[key] = listing
        self._users[listing] += 1
        if earlier is not None:
            self._release(earlier)

    def _release(self, listing: str) -> None:
        self._users[listing] -= 1
        if not self._users[listing]:
            del self._users[listing]
            self._listing_file(listing).unlink(missing_ok=True)
            base = self._based.pop(listing, None)
            if base is not None:
                self._release(base)

    def remove(self, key: Key) -> None:
        """Remove a run's record, if there is one."""
        self._run_file(key).unlink(missing_ok=True)
        listing = self._listing.pop(key, None)
        if listing is not None:
            self._release(listing)

    def load(self, keys: Iterable[Key]) -> dict[Key, tuple[dict[str, Any], Given]]:
        """Return the records of these runs from an earlier controller, with their ``given``."""
        found: dict[Key, tuple[dict[str, Any], Given]] = {}
        listings: dict[str, Given] = {}
        for key in keys:
            try:
                record = json.loads(self._run_file(key).read_text())
                listing = record.get("listing", "")
                if listing and listing not in listings:
                    listings[listing] = self._load_listing(listing)
                # A record of an earlier version contains the entries.
                found[key] = record, listings[listing] if listing else _given(record["given"])
            except (OSError, ValueError, KeyError):
                continue
            if listing:
                self._hold(key, listing)
        return found

    def _load_listing(self, listing: str) -> Given:
        """Return a stored listing. Raises OSError, ValueError, KeyError."""
        data = json.loads(self._listing_file(listing).read_text())
        base = data.pop("", None)  # no entry has an empty path
        if base is None:
            return _given(data)
        given = {**self._load_listing(base), **_given(data["changed"])}
        for path in data["removed"]:
            given.pop(path, None)
        if listing not in self._based:
            self._base(listing, base)
        return given


def _given(data: dict[str, list[int]]) -> Given:
    return {path: (int(size), int(mtime)) for path, (size, mtime) in data.items()}


def _write(path: Path, data: Any) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(data))  # faster than dump
