"""Writes the files in a job's log to the submit host.

A node names the file of each stream. Only two sorts of files are written: those that the job's specification names
(``outputs``: name -> path resolved when the job was prepared), and files in the submit folder. All others are refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...agent.cloud import private
from ...agent.cloud.private import Private
from ...protocol.log_frames import Output
from ...protocol.messages import FileBegun, FileKept, StreamOpened
from . import safe_paths

Manifest = dict[str, tuple[int, int]]


class OutputRefused(Exception):
    """A path is not a file of the job; the text is the path."""


@dataclass
class Stream:
    """An output file of the job. ``base``: its local size before the job began, for a file that is appended to."""

    path: str
    base: int = 0
    same: bool = False  # nothing to write: the node writes the same file, or the file is refused
    root: str = ""  # folder below which the file is opened ...
    name: str = ""  # ... and the file's name below it


@dataclass
class Incoming:
    """A file in transfer."""

    event: FileBegun
    partial: Path
    received: int = 0


class OutputSync:
    """Writes the files of one job. ``state``: the part of the job's record that is kept over a restart (JSON)."""

    def __init__(
        self,
        folder: Path,
        submit_dir: str,
        manifest: Manifest,
        job_id: int,
        umask: int,
        state: dict[str, Any],
        outputs: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.submit_dir = submit_dir
        self.manifest = manifest
        self.job_id = job_id
        self.umask = umask
        self.outputs = outputs or {}
        self.extra_paths: set[str] = set()  # further paths that only slurmsky changes on this machine
        self.streams: dict[str, Stream] = {key: Stream(**value) for key, value in state.get("streams", {}).items()}
        self.returned: dict[str, str] = dict(state.get("returned", {}))  # path -> sha256
        self.messages: list[str] = list(state.get("messages", []))
        self._incoming: dict[str, Incoming | None] = {}  # None: received in an earlier replay

    def state(self) -> dict[str, Any]:
        """JSON-ready state for ``__init__``."""
        return {
            "streams": {key: stream.__dict__ for key, stream in self.streams.items()},
            "returned": self.returned,
            "messages": self.messages,
        }

    # --- output streams

    def open_stream(self, key: str, event: StreamOpened) -> None:
        """Open the file of a new stream; ignore a known one. A replay repeats streams."""
        if key in self.streams:
            return
        path = event.path
        stream = self.streams[key] = Stream(path, same=event.same)
        if stream.same:
            return
        try:
            stream.root, stream.name = self._place(path)
            if not stream.name:
                stream.same = True
                return
            descriptor = self._open(stream, 0 if event.append else os.O_TRUNC)
        except OutputRefused:
            stream.same = True
            self.add_message(f"{path} is no file of this job and was not written")
        except OSError as error:
            self._stop_writing(stream, error)
        else:
            stream.base = os.fstat(descriptor).st_size if event.append else 0
            os.close(descriptor)

    def _place(self, path: str) -> tuple[str, str]:
        """Resolve a node's path to a folder and a name below it. Name "": write nothing. Raises OutputRefused."""
        target = self.outputs.get(path)
        if target is None:
            found = (matched(path, *pair) for pair in self.outputs.items() if "%N" in pair[0])
            target = next((path for path in found if path), None)
        if target is not None:
            return "/", target.lstrip("/")
        inside = path.removeprefix(self.submit_dir.rstrip("/") + "/")
        if not path.startswith("/") or inside == path or ".." in inside.split("/"):
            raise OutputRefused(path)
        return self.submit_dir, inside

    @cached_property
    def _private(self) -> Private:
        return Private(private.homes())

    def output(self, key: str, item: Output) -> bool:
        """Write bytes of a stream; False for an unknown stream."""
        if key in self._incoming:
            incoming = self._incoming[key]
            if incoming is not None and incoming.received + len(item.data) <= incoming.event.size:
                with incoming.partial.open("ab") as file:
                    file.write(item.data)
                incoming.received += len(item.data)
            return True
        stream = self.streams.get(key)
        if stream is None:
            return False
        if not stream.same:
            try:
                with self._opened(stream) as descriptor:
                    data, offset = item.data, stream.base + item.offset
                    while data:
                        count = os.pwrite(descriptor, data, offset)
                        data, offset = data[count:], offset + count
            except OSError as error:
                self._stop_writing(stream, error)
        return True

    def append(self, text: str) -> None:
        """Append a line by slurmsky to the job's first output file."""
        for stream in self.streams.values():
            if stream.path != "/dev/null" and stream.name:
                try:
                    with self._opened(stream, os.O_APPEND) as descriptor:
                        os.write(descriptor, text.encode())
                except OSError:
                    continue  # earlier writes to this file failed, too
                return

    def _stop_writing(self, stream: Stream, error: OSError) -> None:
        stream.same = True
        self.add_message(f"{stream.path} could not be written: {error.strerror or error}")

    def _open(self, stream: Stream, flags: int = 0) -> int:
        guard = None if stream.root == "/" else self._private  # the user's own -o may name any file
        return safe_paths.open_to_write(stream.root, stream.name, self.umask, flags, guard)

    @contextmanager
    def _opened(self, stream: Stream, flags: int = 0) -> Iterator[int]:
        descriptor = self._open(stream, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    # --- files

    def begin_file(self, key: str, event: FileBegun) -> None:
        """Start receiving a changed file."""
        if self.returned.get(os.path.normpath(event.path)) == event.sha256:
            self._incoming[key] = None
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self.folder / f"in-{key}"
        partial.write_bytes(b"")
        self._incoming[key] = Incoming(event, partial)

    def end_file(self, key: str) -> None:
        """Move a complete file into place, unless the user changed it."""
        incoming = self._incoming.pop(key, None)
        if incoming is None:
            return
        event, partial = incoming.event, incoming.partial
        path = os.path.normpath(event.path)
        digest = _digest(os.open(partial, os.O_RDONLY | os.O_CLOEXEC))
        if digest != event.sha256:
            self.add_message(f"{event.path} was returned incompletely")
        else:
            try:
                self._install(path, partial, digest, event)
            except OSError as error:
                out = error.errno in safe_paths.OUTSIDE_ERRORS
                why = "it is outside of the submit folder" if out else error.strerror or str(error)
                self.add_message(f"{path} was not brought back: {why}")
        partial.unlink(missing_ok=True)

    def _install(self, path: str, partial: Path, digest: str, event: FileBegun) -> None:
        """Move a received file into place. Raises OSError."""
        os.chmod(partial, event.mode & 0o777)
        os.utime(partial, (event.mtime, event.mtime))
        modes = event.folders
        with safe_paths.folder_of(self.submit_dir, path, True, self._private, modes) as (folder, name):
            if self._changed_here(path, folder, name, digest):
                kept = f"{name}.slurm-{self.job_id}"
                self.add_message(f"{path} was changed here while the job ran; the job's is {kept}")
                name = kept
            try:
                os.replace(partial, name, dst_dir_fd=folder)
            except OSError:  # another file system
                beside = f".{name}.{os.urandom(4).hex()}"
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
                try:
                    with partial.open("rb") as source, os.fdopen(descriptor, "wb") as target:
                        shutil.copyfileobj(source, target)
                        os.fchmod(target.fileno(), event.mode & 0o777)
                    os.utime(beside, (event.mtime, event.mtime), dir_fd=folder)
                    os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    os.unlink(beside, dir_fd=folder)
                    raise
            metadata = os.stat(name, dir_fd=folder, follow_symlinks=False)
        self.manifest[path] = (metadata.st_size, metadata.st_mtime_ns)
        self.returned[path] = digest

    def _changed_here(self, path: str, folder: int, name: str, digest: str) -> bool:
        try:
            metadata = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if self.manifest.get(path) == (metadata.st_size, metadata.st_mtime_ns):
            return False
        target = os.path.join(self.submit_dir, path)
        if target in self.extra_paths or any(stream.path == target for stream in self.streams.values()):
            return False  # the change is ours: a step's output was written there
        if not stat.S_ISREG(metadata.st_mode):
            return True
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return _digest(os.open(name, flags, dir_fd=folder)) != digest

    def record_large_file(self, event: FileKept) -> None:
        """Record a file that was too large to be sent."""
        place = f"it is at {event.at}" if event.at else "[sky] bucket of the site file would keep it"
        self.add_message(f"{event.path} ({event.size} bytes) was not brought back: more than [sky] return_mib; {place}")

    def add_message(self, text: str) -> None:
        """Add a line to the end of the job's output."""
        if text not in self.messages:
            self.messages.append(text)


def resolved(path: str) -> str:
    """Resolve an output file's path, with the user's present links.

    Later links are refused. "": the path means the writing process's own streams, which are not written here.
    """
    if path == "/dev/null":
        return path
    real = os.path.realpath(path)
    return "" if any(name.startswith(("/dev/", "/proc/", "/sys/")) for name in (path, real)) else real


def matched(path: str, named: str, target: str) -> str:
    """Return ``target`` if ``path`` matches ``named``, else "".

    ``named``: a file name with ``%N`` for a node's name.
    """
    first, *rest = (re.escape(part) for part in named.split("%N"))
    found = re.fullmatch(first + "(?P<node>[A-Za-z0-9][A-Za-z0-9._-]{0,254})" + "(?P=node)".join(rest), path)
    return target.replace("%N", found["node"]) if found else ""


def _digest(descriptor: int) -> str:
    """sha256 of an open file; closes the descriptor."""
    total = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()
