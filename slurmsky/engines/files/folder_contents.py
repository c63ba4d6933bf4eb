"""Walks, measures and archives submit folders. Private files and ignored paths are omitted."""

from __future__ import annotations

import fnmatch
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from ...agent.cloud import private, submit_folder
from ...model.allocation import Launch
from ..base import EngineError

IGNORE_FILES = (".skyignore", ".slurmskyignore")
MAX_FILES = 200_000


def home_of(launch: Launch) -> Path:
    """The home folder of the job's user on this machine."""
    return Path(launch.environment.get("HOME") or os.path.expanduser("~"))


def may_be_sent(folder: Path, limit: int, home: Path, leave_out: Path, submit_dir: Path) -> bool:
    """True if a folder above the submit folder may be sent. It must be small enough, not private, and not shared."""
    guard = private.Private(private.homes(str(home)), [str(leave_out)])
    shared = folder.stat().st_mode & stat.S_ISVTX
    if (
        shared
        or guard.private_parent(str(folder))
        or any(private.holds_home(str(folder), one) for one in private.homes(str(home)))
    ):
        return False
    total = 0
    for count, (_name, metadata) in enumerate(walk(folder, guard, submit_dir)):
        total += metadata.st_size if stat.S_ISREG(metadata.st_mode) else 0
        if total > limit or count >= MAX_FILES:
            return False
    return True


def archive(
    folder: Path, target: Path, limit: int, home: Path, leave_out: Path, submit_dir: Path | None = None
) -> dict[str, tuple[int, int]]:
    """Archive a folder; return path -> (size, mtime in ns) of its files.

    The archive excludes paths in the ignore files of the folder and of the submit folder, the user's private files, and
    the folder ``leave_out``. Raises EngineError for a folder that is too large, or is itself private.
    """
    guard = private.Private(private.homes(str(home)), [str(leave_out)])
    kept_in = guard.private_parent(str(folder))
    if kept_in:
        raise EngineError(f"the submit folder {folder} contains credentials ({kept_in}) and is not copied")
    manifest: dict[str, tuple[int, int]] = {}
    total = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        os.chmod(target, 0o600)
        for name, metadata in walk(folder, guard, submit_dir):
            if stat.S_ISREG(metadata.st_mode):
                manifest[name] = (metadata.st_size, metadata.st_mtime_ns)
                total += metadata.st_size
            if total > limit or len(manifest) > MAX_FILES:
                raise EngineError(
                    f"the submit folder {folder} holds more than {limit >> 20} MiB or {MAX_FILES} files: "
                    f"list files that jobs do not need in {folder / IGNORE_FILES[0]}, or map it in [paths]"
                )
            try:
                tar.add(folder / name, name, recursive=False)
            except (OSError, ValueError):
                continue  # the file was removed, or its owner may not read it
    return manifest


def walk(folder: Path, guard: private.Private, submit_dir: Path | None = None) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and metadata of each entry to send, folders before their entries."""
    patterns = [
        (base, line.strip().rstrip("/"))
        for base in dict.fromkeys((folder, submit_dir or folder))
        for name in IGNORE_FILES
        if (base / name).is_file()
        for line in (base / name).read_text(errors="replace").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]

    def ignored(path: Path) -> bool:
        return any(
            fnmatch.fnmatch(str(path.relative_to(base)), pattern.lstrip("/"))
            or ("/" not in pattern and fnmatch.fnmatch(path.name, pattern))
            for base, pattern in patterns
            if path.is_relative_to(base)
        )

    below = [""]
    while below:
        base = below.pop()
        try:
            inside = os.stat(folder / base)
        except OSError:
            continue  # the folder was removed
        folders = []
        for entry in sorted(submit_folder.entries_of(os.path.join(folder, base)), key=lambda entry: entry.name):
            if patterns and ignored(folder / base / entry.name):
                continue
            metadata = _stat_of(entry, inside, guard)
            if metadata is not None:
                yield base + entry.name, metadata
                if stat.S_ISDIR(metadata.st_mode):
                    folders.append(f"{base}{entry.name}/")
        below += reversed(folders)


def _stat_of(entry: os.DirEntry[str], inside: os.stat_result, guard: private.Private) -> os.stat_result | None:
    """Metadata of an entry of ``inside``; None for what is not sent: private files, sockets and pipes."""
    try:
        metadata = entry.stat(follow_symlinks=False)
    except OSError:
        return None  # the file was removed
    link = stat.S_ISLNK(metadata.st_mode)
    try:
        if guard.is_private(inside, (entry.name,)) or guard.contains_inode(entry.stat() if link else metadata):
            return None
    except OSError:
        return metadata  # a dangling link
    return metadata if link or stat.S_ISREG(metadata.st_mode) or stat.S_ISDIR(metadata.st_mode) else None
