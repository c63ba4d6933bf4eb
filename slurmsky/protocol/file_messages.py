"""Messages about copies of submit folders on a warm node.

Between controller and node. Content of files is sent in frames of bytes (``agent/cloud/folder_store.py``).
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Tuple

from .message_codec import Message, register_type


class FolderEntry(NamedTuple):
    """A file ("f"), folder ("d") or link ("l") below a folder. ``content``: the file's sha256, or the link's target."""

    kind: str
    mode: int
    size: int = 0
    mtime_ns: int = 0
    content: str = ""


register_type("FolderEntry", lambda value: FolderEntry(*value), list)


class FileRequest(Message, family="op"):
    """Base of the controller's requests to a node."""


class CompareListing(FileRequest, kind="folder"):
    """Compare with the node's listing; answered by ListingCompared.

    ``digest``: the digest of the listing; ``folders``: further folders to create.
    """

    path: str
    digest: str
    folders: Tuple[str, ...] = ()


class UpdateListing(FileRequest, kind="entries"):
    """Change a folder's listing, which is empty when the connection opens.

    ``entries``: new and changed entries; ``removed``: names of removed entries; ``digest``: the digest of the whole
    listing; ``skip``: files that running jobs write, which stay unchanged.
    """

    path: str
    digest: str
    entries: Dict[str, FolderEntry]
    removed: Tuple[str, ...] = ()
    skip: Tuple[str, ...] = ()


class ReceiveContent(FileRequest, kind="content"):
    """Store the content that follows for all entries with this digest. ``size``: number of bytes."""

    digest: str
    size: int


class TailFile(FileRequest, kind="tail"):
    """Send a file as it grows. ``from_``: the first byte to send; None: the end with ``append``, else a new file."""

    id: int
    path: str
    append: bool = False
    from_: Optional[int] = None


class FinishTail(FileRequest, kind="finish"):
    """Send the rest of a file, then stop tailing it."""

    id: int


class SendChanges(FileRequest, kind="changes"):
    """Send the files that jobs changed. ``skip``: tailed files; ``over``: files whose whole content was sent."""

    path: str
    skip: Tuple[str, ...]
    over: Tuple[str, ...] = ()


class FileReport(Message, family="ev"):
    """Base of a node's reports about its copies."""


class ListingCompared(FileReport, kind="folder"):
    """Result of CompareListing: equality, and the copy's path."""

    same: bool
    at: str


class ContentMissing(FileReport, kind="missing"):
    """Digests of content that no copy on the node has."""

    digests: Tuple[str, ...]


class FolderFilled(FileReport, kind="filled"):
    """The copy equals its listing. ``lacks``: files that changed while they were sent, which the listing omits."""

    at: str = ""
    lacks: Tuple[str, ...] = ()


class TailBegun(FileReport, kind="tailing"):
    """A file is tailed from this byte on."""

    id: int
    from_: int


class TailFinished(FileReport, kind="finished"):
    """All of a file has been sent."""

    id: int


class OutputOpened(FileReport, kind="opened"):
    """A step has opened an output file in a copy.

    ``path``: its path below ``folder``; ``there``: its path on the node.
    """

    folder: str
    path: str
    there: str
    from_: int


class FileChanged(FileReport, kind="file"):
    """A file that a job created or changed; its content follows."""

    path: str
    entry: FolderEntry


class ChangesSent(FileReport, kind="unchanged"):
    """All changed files have been sent."""


class TransferProblem(FileReport, kind="problem"):
    """A request failed. ``about``: its kind."""

    about: str
    text: str


class TransferClosed(FileReport, kind="closed"):
    """The connection has closed. The controller's end sends it to its waiting coroutines."""
