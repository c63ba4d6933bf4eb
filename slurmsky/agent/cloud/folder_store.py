"""Synchronises copies of submit folders on a warm node.

A copy is filled by content, tailed while jobs write, and scanned when jobs end. One connection of the controller (role
"files") carries all transfers. Messages (``protocol/file_messages.py``) are J frames; O frames carry content. For each
folder the node stores the list of entries that it has received. The controller sends the list's digest, if that differs
the changes since the list that it sent before over this connection, and only the content that no copy on the node has.
Files that jobs changed on the node are not overwritten until the controller's own copy changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from typing import Any, Callable, Optional

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
    TransferProblem,
    UpdateListing,
)
from ..job import output_files
from ..net.channel import Channel
from ..net.event_loop import Loop
from . import submit_folder
from .folder_copies import FolderCopies, FolderCopy, unchanged

POLL_S = 0.05
PIECE = 1 << 17


class FolderStore:
    """Copies of this node, and the connections that fill them."""

    def __init__(self, loop: Loop, home: str) -> None:
        self._loop = loop
        self._copies = FolderCopies(home)

    def serve(self, channel: Channel) -> None:
        """Serve a connection of the controller."""
        _Session(self._copies, self._loop, channel)


class _Session:
    def __init__(self, store: FolderCopies, loop: Loop, channel: Channel) -> None:
        self._store, self._loop, self._channel = store, loop, channel
        self._incoming: Optional[tuple[Any, Any, list[str]]] = None  # file, digest so far, target paths
        self._wanted: dict[str, list[str]] = {}  # content to receive: digest -> entries
        self._list: dict[str, FolderEntry] = {}
        self._lists: dict[str, dict[str, FolderEntry]] = {}  # the controller's lists, by folder
        self._lacks: list[str] = []  # files that changed while they were sent
        self._copy: Optional[FolderCopy] = None
        self._digest = ""
        self._tails: dict[int, _Tail] = {}
        self._tailed: dict[str, _Tail] = {}  # finished ones, by path
        self._noted = os.path.getsize(store.note) if os.path.exists(store.note) else 0
        self._requested = False
        self._sent: list[tuple[FolderCopy, str, FolderEntry]] = []  # files that may not have arrived
        channel.on_frame = self._frame
        channel.on_close = self._tails.clear

    def _frame(self, kind: bytes, payload: bytes) -> None:
        if kind == wire.STDOUT:
            self._take(payload)
            return
        request = FileRequest.decode(json.loads(payload))
        try:
            _OPERATIONS[type(request)](self, request)
        except (OSError, ValueError) as error:
            self._report(TransferProblem(about=request.kind, text=str(error)))

    def _report(self, report: FileReport) -> None:
        self._channel.send_json(report.encode())

    # --- filling a copy
    def _compare(self, request: CompareListing) -> None:
        """Report if a folder's list equals the controller's, by digest."""
        output_files.record_in(self._store.note)  # files of steps are tailed from their opening
        copy = self._store.copy(request.path)
        for extra in request.folders:
            submit_folder.make_folder(extra)
        self._report(ListingCompared(same=bool(copy.digest) and copy.digest == request.digest, at=copy.at))

    def _update(self, request: UpdateListing) -> None:
        """Store the changed list of a folder; request missing content."""
        copy = self._copy = self._store.copy(request.path)
        self._list = {**self._lists.get(request.path, {}), **request.entries}
        for relative in request.removed:
            self._list.pop(relative, None)
        # Other entries equal the list that was applied last over this connection.
        self._changed = copy.differs.union(request.entries, request.removed)
        self._digest, self._wanted, self._lacks = request.digest, {}, []
        self._skip = frozenset(request.skip)  # files that running jobs write
        lacking: dict[str, list[str]] = {}
        for relative in self._changed & self._list.keys():
            entry = self._list[relative]
            if entry.kind == "f" and not self._unchanged_there(copy, relative, entry):
                lacking.setdefault(entry.content, []).append(relative)
        if lacking:  # until all content has arrived, the copy equals no list
            copy.digest = ""
            copy.save()
        sources = self._store.with_content(lacking) if lacking else {}
        for content, names in lacking.items():
            for relative in names:
                path, known = sources.get(content, ("", None))
                if known is not None and unchanged(path, known):  # the file may have been replaced just now
                    self._place(path, relative, self._list[relative])
                else:
                    self._wanted.setdefault(content, []).append(relative)
        self._report(ContentMissing(digests=tuple(self._wanted)))
        if not self._wanted:
            self._apply()

    def _unchanged_there(self, copy: FolderCopy, relative: str, entry: FolderEntry) -> bool:
        """True if a copy on this node has the controller's present file."""
        known = copy.entries.get(relative)
        if known is None:
            for other, name in self._store.others(copy, relative):
                known = other.entries[name]
                if known.content == entry.content and name in other.known:
                    copy.set_entry(relative, known)
                    copy.known[relative] = other.known[name]
                break
        return known is not None and known.content == entry.content

    def _content(self, request: ReceiveContent) -> None:
        """Start receiving the content of one digest. O frames follow, with a given total of bytes."""
        assert self._copy is not None
        path = os.path.join(self._store.home, ".incoming")
        self._incoming = (open(path, "wb"), hashlib.sha256(), [request.digest])  # noqa: SIM115
        self._left = request.size
        if not self._left:
            self._take(b"")

    def _take(self, data: bytes) -> None:
        if self._incoming is None:
            return
        file, digest, (name,) = self._incoming
        file.write(data)
        digest.update(data)
        self._left -= len(data)
        if self._left > 0:
            return
        file.close()
        self._incoming = None
        targets = self._wanted.pop(name, [])
        # A file that changed while it was sent is skipped: the next job's list contains it again.
        if digest.hexdigest() == name and targets:
            for relative in targets[1:]:
                self._place(file.name, relative, self._list[relative])
            self._place(file.name, targets[0], self._list[targets[0]], move=True)
        else:
            for relative in targets:
                del self._list[relative]
            self._lacks += targets
            self._digest = ""
            os.unlink(file.name)
        if not self._wanted:
            self._apply()

    def _place(self, source: str, relative: str, entry: FolderEntry, move: bool = False) -> None:
        assert self._copy is not None
        path = self._copy.path(relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial = os.path.join(os.path.dirname(path), ".slurmsky-%d.part" % os.getpid())
        if move:
            shutil.move(source, partial)  # works across file systems, too
        else:
            shutil.copyfile(source, partial)
        os.chmod(partial, entry.mode)
        os.utime(partial, ns=(entry.mtime_ns, entry.mtime_ns))
        os.replace(partial, path)
        self._copy.set_known(relative, entry)
        self._store.share(self._copy, relative, entry)

    def _apply(self) -> None:
        """Create folders and links, set modes, remove deleted entries. Called after all content has arrived."""
        copy = self._copy
        assert copy is not None
        for relative in sorted(self._changed.union(copy.differs, copy.lacking_folders())):
            entry, earlier = self._list.get(relative), copy.entries.get(relative)
            if entry is not None:
                self._apply_entry(copy, relative, entry, earlier)
            elif earlier is not None and relative not in self._skip and earlier.kind != "d":
                path = copy.path(relative)
                if os.path.islink(path) if earlier.kind == "l" else unchanged(path, earlier):
                    os.unlink(path)
                    self._store.share(copy, relative, None)
            copy.set_entry(relative, entry)
        self._lists[copy.folder] = self._list
        copy.digest = self._digest
        copy.differs.clear()
        self._store.save(copy)
        self._report(FolderFilled(at=copy.at, lacks=tuple(self._lacks)))

    def _apply_entry(self, copy: FolderCopy, relative: str, entry: FolderEntry, earlier: Optional[FolderEntry]) -> None:
        path = copy.path(relative)
        if entry.kind == "d":
            os.makedirs(path, exist_ok=True)
            os.chmod(path, entry.mode | 0o700)
        elif entry.kind == "l" and earlier != entry:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.lexists(path) and not os.path.isdir(path):
                os.unlink(path)
            if not os.path.lexists(path):
                os.symlink(entry.content, path)
        elif entry.kind == "f" and earlier not in (None, entry) and copy.has_unchanged(relative, entry):
            os.chmod(path, entry.mode)
            os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
            copy.set_known(relative, entry)
            self._store.share(copy, relative, entry)

    # --- tailing files
    def _tail(self, request: TailFile) -> None:
        """Send a file as it grows. Without a start offset the file is truncated first, unless it is appended to."""
        path, start = request.path, request.from_
        if start is None:
            start = 0
            try:
                if request.append:
                    start = os.stat(path).st_size
                else:
                    os.truncate(path, 0)
            except OSError:
                pass  # absent, or not a regular file; the agent reports an error
        self._tails[request.id] = _Tail(request.id, path, start)
        self._report(TailBegun(id=request.id, from_=start))
        self._poll_soon()

    def _finish(self, request: FinishTail) -> None:
        """Send the rest of a file after the job's end; stop the tail."""
        tail = self._tails.pop(request.id, None)
        if tail is not None:
            tail.send(self._channel, final=True)
            self._tailed[tail.path] = tail
        self._report(TailFinished(id=request.id))

    def _poll_soon(self) -> None:
        if not self._requested and self._tails and not self._channel.closed:
            self._requested = True
            self._loop.after(POLL_S, self._poll)

    def _poll(self) -> None:
        self._requested = False
        if not self._channel.full:
            self._opened()
            for tail in self._tails.values():
                tail.send(self._channel)
        self._poll_soon()

    def _opened(self) -> None:
        """Report output files opened since the last call, with their sizes."""
        try:
            with open(self._store.note, "rb") as file:
                file.seek(self._noted)
                data = file.read()
        except OSError:
            return
        end = data.rfind(b"\n") + 1
        self._noted += end
        for path, size in map(json.loads, data[:end].splitlines()):
            copy = self._store.copy_with(path)
            if copy is not None:
                relative = os.path.relpath(path, copy.at)
                self._report(OutputOpened(folder=copy.folder, path=relative, there=path, from_=size))

    # --- files that jobs changed
    def _changes(self, request: SendChanges) -> None:
        """Send each file that changed since it was received or sent.

        A further request on this connection confirms that the files of the previous one have arrived. If the connection
        breaks before, they are sent again over the next one.
        """
        for copy, path, entry in self._sent:
            copy.set_known(path, entry)
            copy.set_entry(path, entry)
            self._store.share(copy, path, entry)
        copy, differs = self._store.copy(request.path), bool(self._sent)
        self._sent.clear()
        for path in request.over:
            tail = self._tailed.pop(path, None)
            noted = copy.note_sent(path, tail.content() if tail is not None else (0, ""))
            if noted is not None:
                differs = True
                self._store.share(copy, os.path.relpath(path, copy.at), noted)
        skip = frozenset(os.path.relpath(path, copy.at) for path in request.skip)
        for change in submit_folder.changes(copy.known, copy.at, skip):
            path = os.path.join(copy.at, change.path)
            digest = submit_folder.digest(path)
            if digest is None:
                continue
            entry = FolderEntry("f", change.mode, change.size, change.mtime_ns, digest)
            self._report(FileChanged(path=change.path, entry=entry))
            sent = 0
            for piece in submit_folder.pieces(path, change.size):
                self._channel.send(wire.STDOUT, piece)
                sent += len(piece)
            if sent < change.size:  # the file shrank meanwhile: its digest differs, and it is sent again
                self._channel.send(wire.STDOUT, bytes(change.size - sent))
            self._sent.append((copy, change.path, entry))
        if differs or self._sent or any(copy.lacking_folders()):  # else the copy still equals the controller's list
            copy.digest = ""
            self._store.save(copy)
        self._report(ChangesSent())


class _Tail:
    """A growing file that is sent in frames. A frame has number and offset as eight bytes each, then content."""

    def __init__(self, number: int, path: str, start: int) -> None:
        self.number, self.path, self.start = number, path, start
        self.position = start
        self._sent = hashlib.sha256()

    def content(self) -> tuple[int, str]:
        """Size and digest of a file; digest "" if it is incomplete."""
        return self.position, "" if self.start else self._sent.hexdigest()

    def send(self, channel: Channel, final: bool = False) -> None:
        """Send new content until the buffer is full; ``final``: all."""
        try:
            with open(self.path, "rb") as file:
                if os.fstat(file.fileno()).st_size < self.position:
                    self.position = self.start  # truncated by the job: send it from its beginning
                    self._sent = hashlib.sha256()
                file.seek(self.position)
                while final or not channel.full:
                    data = file.read(PIECE)
                    if not data:
                        break
                    head = struct.pack(">QQ", self.number, self.position - self.start)
                    channel.send(wire.STDERR, head + data)
                    self._sent.update(data)
                    self.position += len(data)
        except OSError:
            return  # not created yet, or removed by the job


_OPERATIONS: dict[type[FileRequest], Callable[[_Session, Any], None]] = {
    CompareListing: _Session._compare,
    UpdateListing: _Session._update,
    ReceiveContent: _Session._content,
    TailFile: _Session._tail,
    FinishTail: _Session._finish,
    SendChanges: _Session._changes,
}
