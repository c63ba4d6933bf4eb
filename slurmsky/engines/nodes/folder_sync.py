"""Synchronises submit folders with nodes that do not share them.

Content is sent before the job, output files are tailed while the job runs, and changed files are received at its end.
The node's side is agent/cloud/folder_store.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from ...model.allocation import Launch
from ...protocol import wire
from ...protocol.file_messages import (
    ChangesSent,
    CompareListing,
    ContentMissing,
    FileChanged,
    FileReport,
    FileRequest,
    FinishTail,
    FolderEntry,
    FolderFilled,
    ListingCompared,
    OutputOpened,
    ReceiveContent,
    SendChanges,
    TailBegun,
    TailFile,
    TailFinished,
    TransferClosed,
    TransferProblem,
    UpdateListing,
)
from ...protocol.message_codec import BadMessage
from ...protocol.messages import FileBegun
from ..base import EngineError, background
from ..files import safe_paths
from ..files.output_sync import OutputSync
from .folder_listing import FolderListing, Listing
from .node_lines import ConnectionLost, Streams
from .shared_calls import SharedCalls

log = logging.getLogger("slurmsky.nodes")
R = TypeVar("R", bound=FileReport)

PIECE = 1 << 20
_KEY = "file"  # one file at a time
_CLOSED = "the connection to the node was closed"


@dataclass
class OutputTail:
    """An output file that grows on the node. ``base``: its local size when the job began."""

    path: str
    there: str
    append: bool
    umask: int
    base: int = 0
    received: int = 0
    start: int | None = None  # offset on the node at which the job's output begins
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at their offset in the local file."""
        self.received = offset + len(data)
        fd = self.open(0)
        try:
            while data:
                count = os.pwrite(fd, data, self.base + offset)
                data, offset = data[count:], offset + count
        finally:
            os.close(fd)

    def begin(self, start: int) -> None:
        """Prepare the local file for an opened file on the node.

        ``start``: the node's file has this size when it is opened. Raises OSError.
        """
        os.close(self.open(0 if start else os.O_TRUNC))
        self.base = os.stat(self.path).st_size if start else 0
        self.start = start

    def create(self) -> int:
        """Create or empty the local file; return its size. Raises OSError. The node has not opened the file yet."""
        os.close(self.open(0 if self.append else os.O_TRUNC))
        return os.stat(self.path).st_size if self.append else 0

    def open(self, flags: int) -> int:
        """Open the file; create it by the job's umask. Raises OSError."""
        folder, name = os.path.split(self.path)
        return safe_paths.open_to_write(os.path.realpath(folder), name, self.umask, flags)


class _Fill(NamedTuple):
    folders: Sequence[str]
    written: Callable[[], set[str]]


class _Changes(NamedTuple):
    skip: Callable[[], list[str]]
    over: list[str]
    target: OutputSync


class FolderSync:
    """Synchronises files of jobs on one node over one connection."""

    def __init__(
        self, streams: Streams, listing: FolderListing, on_opened: Callable[[FolderSync, OutputOpened], None]
    ) -> None:
        self._reader, self._writer = streams
        self._on_opened = on_opened  # receives the output files that steps open
        self._listing = listing
        self._frames = wire.FrameReader()
        self._lock = asyncio.Lock()  # one folder at a time
        self._reports: asyncio.Queue[FileReport] = asyncio.Queue()
        self._sent: dict[str, dict[str, FolderEntry]] = {}  # by folder: the listing that the node has
        self._tails: dict[int, OutputTail] = {}
        self._next = 0
        self._file: Any = None  # the file that receives content
        self._arrived = 0  # files received since the latest request
        self._over = False
        self._reading = background(self._read())
        self._fills = SharedCalls(self._fill)
        self._changes = SharedCalls(self._receive_changes)

    @property
    def alive(self) -> bool:
        """True if the connection is open."""
        return not self._over

    def close(self) -> None:
        """Close the connection; the next one receives the rest."""
        self._reading.cancel()
        self._writer.close()
        self._end()

    def _end(self) -> None:
        """Wake the coroutines that wait for the node's messages."""
        if self._over:
            return  # another connection may have its tails now
        self._over = True
        self._reports.put_nowait(TransferClosed())
        for tail in self._tails.values():
            tail.begun.set()
            tail.done.set()

    # --- the connection

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(1 << 18):
                for frame in self._frames.feed(data):
                    if frame.kind == wire.STDERR:
                        number, offset = struct.unpack(">QQ", frame.payload[:16])
                        tail = self._tails.get(number)
                        if tail is not None:
                            with contextlib.suppress(OSError):  # the folder was removed
                                tail.write(offset, frame.payload[16:])
                    elif frame.kind == wire.STDOUT and self._file is not None:
                        self._file.write(frame.payload)
                    elif frame.kind == wire.JSON:
                        self._received(FileReport.decode(json.loads(frame.payload)))
        except (OSError, wire.WireError, BadMessage) as error:
            log.info("files: %s", error)
        finally:
            self._end()

    def _received(self, report: FileReport) -> None:
        if isinstance(report, TailBegun):
            tail = self._tails.get(report.id)
            if tail is not None:
                tail.start = report.from_ if tail.start is None else tail.start
                tail.begun.set()
        elif isinstance(report, OutputOpened):
            self._on_opened(self, report)
        elif isinstance(report, TailFinished):
            finished = self._tails.pop(report.id, None)
            if finished is not None:
                finished.done.set()
        else:
            if isinstance(report, (FileChanged, ChangesSent)):
                self._end_file()
            if isinstance(report, FileChanged):
                self._begin_file(report)
            self._reports.put_nowait(report)

    def _send(self, request: FileRequest) -> None:
        self._write(_frame(request))

    def _write(self, data: bytes) -> None:
        if self._over:
            raise ConnectionLost(_CLOSED)
        self._writer.write(data)

    async def _expect(self, kind: type[R]) -> R:
        """Return the next report of this type. Raises ConnectionLost, EngineError if the node reports a problem."""
        while not isinstance(report := await self._reports.get(), kind):
            if isinstance(report, TransferClosed):
                self._reports.put_nowait(report)  # for the next caller that waits for the lock
                raise ConnectionLost(_CLOSED)
            if isinstance(report, TransferProblem):
                raise EngineError(f"files on the node: {report.text}")
        return report

    # --- sending

    async def fill(
        self, folder: str, submit_dir: str, folders: Sequence[str], written: Callable[[], set[str]]
    ) -> tuple[str, Listing]:
        """Copy a folder to the node; return its path there, and what was sent.

        Also create on the node each folder of ``folders`` that exists on this machine. Jobs that start at the same time
        share one copy. ``submit_dir``: the folder, or one in it. ``written``: files that jobs on nodes are
        writing; the node's versions stay unchanged. Raises EngineError.
        """
        return await self._fills.call((folder, submit_dir), _Fill(folders, written))

    async def _fill(self, key: tuple[str, str], fills: Sequence[_Fill]) -> tuple[str, Listing]:
        folder, submit_dir = key
        wanted = sorted({path for fill in fills for path in fill.folders})
        async with self._lock:
            listing, folders = await self._listing.current(folder, submit_dir, wanted)
            skip = _below(folder, fills[0].written())
            listing = listing.without(skip)
            self._send(CompareListing(path=folder, digest=listing.digest, folders=tuple(folders)))
            answer = await self._expect(ListingCompared)
            if not answer.same:
                await self._update(folder, listing, tuple(skip))
            return answer.at, listing

    async def _update(self, folder: str, listing: Listing, skip: tuple[str, ...]) -> None:
        """Send the differences from the listing that the node has, and missing content."""
        earlier, entries = self._sent.get(folder, {}), listing.entries
        changed = {name: entry for name, entry in entries.items() if earlier.get(name) != entry}
        removed = tuple(earlier.keys() - entries.keys())
        self._send(UpdateListing(path=folder, digest=listing.digest, entries=changed, removed=removed, skip=skip))
        missing = set((await self._expect(ContentMissing)).digests)
        if missing:
            files = {entry.content: name for name, entry in entries.items() if entry.content in missing}
            frames = _content_frames(folder, [(name, entries[name]) for name in files.values()])
            while data := await asyncio.to_thread(_next_frames, frames):  # a hung mount blocks only this folder
                self._write(data)
                await self._writer.drain()
        filled = await self._expect(FolderFilled)
        self._sent[folder] = listing.without(filled.lacks).entries

    # --- while the job runs

    async def follow(self, tail: OutputTail) -> int:
        """Tail an output file of a job, and return its number.

        A file that was tailed before continues at its offset. Raises ConnectionLost, OSError.
        """
        self._next += 1
        number = self._next
        self._tails[number] = tail
        tail.begun, tail.done = asyncio.Event(), asyncio.Event()
        start = None if tail.start is None else tail.start + tail.received
        if start is None:
            tail.base = await asyncio.to_thread(tail.create)
        else:
            tail.base, tail.received, tail.start = tail.base + tail.received, 0, start
        self._send(TailFile(id=number, path=tail.there, append=tail.append, from_=start))
        await tail.begun.wait()
        if not self.alive:
            raise ConnectionLost(_CLOSED)
        return number

    async def finish(self, number: int) -> None:
        """Wait until all output of a file has arrived. Raises ConnectionLost if a part is missing."""
        tail = self._tails.get(number)
        if tail is not None:
            self._send(FinishTail(id=number))
            await tail.done.wait()
        if not self.alive:
            raise ConnectionLost(_CLOSED)

    # --- receiving changes

    async def receive_changes(
        self, folder: str, skip: Callable[[], list[str]], over: list[str], target: OutputSync
    ) -> None:
        """Receive the files that jobs changed on the node.

        Jobs that end at the same time share one request. ``target`` stores each file; ``skip``: tailed files; ``over``:
        files whose content has arrived. Raises EngineError.
        """
        await self._changes.call(folder, _Changes(skip, over, target))

    async def _receive_changes(self, folder: str, ended: Sequence[_Changes]) -> None:
        over = tuple(path for changes in ended for path in changes.over)
        async with self._lock:
            # The newest job knows the files here as they were last sent.
            self._target = max((changes.target for changes in ended), key=lambda target: target.job_id)
            self._target.extra_paths.update(*(changes.target.extra_paths for changes in ended))
            for _ in range(2):  # the second request confirms the files of the first one
                self._arrived = 0
                self._send(SendChanges(path=folder, skip=tuple(ended[0].skip()), over=over))
                await self._expect(ChangesSent)
                if not self._arrived:
                    break

    def _begin_file(self, changed: FileChanged) -> None:
        self._arrived += 1
        _, mode, size, mtime_ns, digest = changed.entry
        begun = FileBegun(stream=0, path=changed.path, size=size, mode=mode, mtime=mtime_ns / 1e9, sha256=digest)
        self._target.begin_file(_KEY, begun)
        self._file = (self._target.folder / f"in-{_KEY}").open("wb")

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._target.end_file(_KEY)


def _frame(request: FileRequest) -> bytes:
    return wire.encode(wire.JSON, json.dumps(request.encode(), separators=(",", ":")).encode())


def _content_frames(folder: str, files: Iterable[tuple[str, FolderEntry]]) -> Iterator[bytes]:
    """Frames with the content of files. The node detects that a file has changed since its listing."""
    for name, entry in files:
        yield _frame(ReceiveContent(digest=entry.content, size=entry.size))
        left = entry.size
        with contextlib.suppress(OSError), open(os.path.join(folder, name), "rb") as file:
            while left and (piece := file.read(min(left, PIECE))):
                yield wire.encode(wire.STDOUT, piece)
                left -= len(piece)
        while left:  # the file shrank or was removed
            yield wire.encode(wire.STDOUT, bytes(min(left, PIECE)))
            left -= min(left, PIECE)


def _next_frames(frames: Iterator[bytes]) -> bytes:
    """The next frames, together about a PIECE; empty at the end."""
    taken, size = [], 0
    while size < PIECE and (frame := next(frames, b"")):
        taken.append(frame)
        size += len(frame)
    return b"".join(taken)


def outputs(launch: Launch, there: Launch) -> Iterator[OutputTail]:
    """Output files of a batch job that must be tailed."""
    if launch.script is None:
        return
    append = launch.spec.open_mode == "append"
    for path, remote in {launch.stdout: there.stdout, launch.stderr: there.stderr}.items():
        if path and path != "/dev/null":
            yield OutputTail(path, remote, append, launch.umask)


def _below(folder: str, paths: Iterable[str]) -> list[str]:
    """Paths relative to the folder, in order."""
    return sorted(os.path.relpath(path, folder) for path in paths)
