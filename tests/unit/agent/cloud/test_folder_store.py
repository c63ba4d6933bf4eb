"""Files that a warm node sends back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slurmsky.agent.cloud.folder_store import FolderStore
from slurmsky.protocol import wire
from slurmsky.protocol.file_messages import CompareListing, FileRequest, FolderEntry, SendChanges, UpdateListing


class Connection:
    """The node's end of a controller's connection."""

    def __init__(self) -> None:
        self.on_frame: Callable[[bytes, bytes], None]
        self.on_close: Callable[[], None]
        self.closed = self.full = False
        self.sent: list[str] = []
        self.reports: list[dict[str, Any]] = []

    def send(self, kind: bytes, data: bytes) -> None:
        self.sent.append(data.decode())

    def send_json(self, message: dict[str, Any]) -> None:
        self.sent.append(str(message.get("path", message["ev"])))
        self.reports.append(message)

    def request(self, request: FileRequest) -> dict[str, Any]:
        """The last report that answers a request."""
        self.on_frame(wire.JSON, json.dumps(request.encode()).encode())
        return self.reports[-1]

    def request_changes(self, folder: Path) -> list[str]:
        """What the node sends: a file's path and content, then "unchanged"."""
        self.sent.clear()
        self.request(SendChanges(path=str(folder), skip=(), over=()))
        return list(self.sent)


def test_files_are_sent_again_over_the_next_connection_until_a_further_request_confirms_them(tmp_path: Path) -> None:
    folder, home = tmp_path / "project", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    store = FolderStore(None, str(home))  # type: ignore[arg-type]

    def connection() -> Connection:
        made = Connection()
        store.serve(made)  # type: ignore[arg-type]
        return made

    (folder / "made").write_text("content")
    first, second = connection(), connection()
    assert first.request_changes(folder) == ["made", "content", "unchanged"]  # and the connection breaks
    assert second.request_changes(folder) == ["made", "content", "unchanged"]
    assert second.request_changes(folder) == ["unchanged"]
    assert connection().request_changes(folder) == ["unchanged"]
    (folder / "made").write_text("more content")
    assert connection().request_changes(folder) == ["made", "more content", "unchanged"]


def test_the_list_of_a_folder_is_sent_again_only_after_a_job_has_changed_the_folder(tmp_path: Path) -> None:
    folder, home, connection = tmp_path / "project", tmp_path / "home", Connection()
    folder.mkdir()
    home.mkdir()
    FolderStore(None, str(home)).serve(connection)  # type: ignore[arg-type]

    def same() -> bool:
        return bool(connection.request(CompareListing(path=str(folder), digest="d1", folders=()))["same"])

    def send_list() -> None:
        entries = {"sub": FolderEntry("d", 0o755)}
        connection.request(UpdateListing(path=str(folder), digest="d1", entries=entries, skip=()))

    assert not same()
    send_list()
    assert same() and connection.request_changes(folder) == ["unchanged"] and same()
    (folder / "sub").rmdir()
    assert connection.request_changes(folder) == ["unchanged"] and not same()
    send_list()
    assert (folder / "sub").is_dir() and same()
    (folder / "made").write_text("content")
    assert connection.request_changes(folder) == ["made", "content", "unchanged"] and not same()
