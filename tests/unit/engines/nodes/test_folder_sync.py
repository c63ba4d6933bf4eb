"""Both ends of the connection that copies submit folders to a warm node."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurmsky.agent.cloud import submit_folder
from slurmsky.agent.cloud.folder_store import FolderStore
from slurmsky.engines.files.output_sync import OutputSync
from slurmsky.engines.nodes.folder_listing import FolderListing
from slurmsky.engines.nodes.folder_sync import FolderSync, OutputTail
from slurmsky.protocol import wire


class Wire:
    """A connection whose ends are in this process; records the controller's requests."""

    def __init__(self, node: FolderStore) -> None:
        self.reader = asyncio.StreamReader()
        self.requests: list[dict[str, Any]] = []
        self.closed = self.full = False
        self.on_frame: Callable[[bytes, bytes], None]
        self.on_close: Callable[[], None]
        self._frames = wire.FrameReader()
        node.serve(self)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            if frame.kind == wire.JSON:
                self.requests.append(json.loads(frame.payload))
            self.on_frame(frame.kind, frame.payload)

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        pass

    def send(self, kind: bytes, data: bytes) -> None:
        self.reader.feed_data(wire.encode(kind, data))

    def send_json(self, message: dict[str, Any]) -> None:
        self.send(wire.JSON, json.dumps(message).encode())

    def listed(self) -> list[tuple[set[str], set[str]]]:
        """Changed and removed names of each list sent since the last call, and the contents sent."""
        found = [(set(one["entries"]), set(one.get("removed", ()))) for one in self.requests if one["op"] == "entries"]
        self.requests.clear()
        return found


class Loop:
    """The node's event loop; no timer expires."""

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        pass


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderStore]:
    """A node that has its copies elsewhere."""
    monkeypatch.setattr(submit_folder, "make_folder", lambda path: False)
    home = tmp_path / "home"
    home.mkdir()
    yield FolderStore(Loop(), str(home))  # type: ignore[arg-type]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (folder / name).write_text(name)
    return folder


def play(node: FolderStore, tmp_path: Path, what: Callable[[Wire, FolderSync], Awaitable[None]]) -> None:
    async def run() -> None:
        line = Wire(node)
        listing = FolderListing(tmp_path / "digests", tmp_path / "state", 1 << 30)
        sync = FolderSync((line.reader, line), listing, lambda *_: None)  # type: ignore[arg-type]
        await what(line, sync)
        sync.close()

    asyncio.run(run())


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_connection_carries_a_folder_once_and_then_its_changes(tmp_path, node, project):
    async def what(line: Wire, sync: FolderSync) -> None:
        async def fill() -> Path:
            at, _ = await sync.fill(str(project), str(project), [], set)
            return Path(at)

        at = await fill()
        assert files(at) == files(project) and line.listed() == [({"a", "b", "sub", "sub/c"}, set())]
        await fill()
        assert line.listed() == []
        (project / "a").write_text("changed")
        (project / "new").write_text("new")
        (project / "b").unlink()
        await fill()
        assert files(at) == files(project) and line.listed() == [({"a", "new"}, {"b"})]

    play(node, tmp_path, what)


def test_files_that_change_places_keep_their_contents(tmp_path, node, project):
    async def what(line: Wire, sync: FolderSync) -> None:
        at, _ = await sync.fill(str(project), str(project), [], set)
        os.rename(project / "a", project / "x")
        os.rename(project / "b", project / "a")
        os.rename(project / "x", project / "b")
        await sync.fill(str(project), str(project), [], set)
        assert files(Path(at)) == files(project) == {"a": "b", "b": "a", "sub/c": "sub/c"}

    play(node, tmp_path, what)


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("y" * 9)])
def test_a_file_that_changes_while_it_is_sent_is_sent_with_the_next_list(tmp_path, node, project, change):
    async def what(line: Wire, sync: FolderSync) -> None:
        write = line.write

        def interfere(data: bytes) -> None:
            write(data)
            if any(request["op"] == "entries" for request in line.requests):
                line.write = write  # type: ignore[method-assign]
                change(project / "a")

        line.write = interfere  # type: ignore[method-assign]
        at, _ = await sync.fill(str(project), str(project), [], set)
        assert files(Path(at)).keys() == {"b", "sub/c"}
        (project / "a").write_text("third")
        line.requests.clear()
        await sync.fill(str(project), str(project), [], set)
        assert files(Path(at)) == files(project) and line.listed() == [({"a"}, set())]

    play(node, tmp_path, what)


def test_output_that_a_node_has_sent_does_not_return_to_it(tmp_path, node, project):
    async def what(line: Wire, sync: FolderSync) -> None:
        at, listing = await sync.fill(str(project), str(project), [], set)
        out, there = project / "out", Path(at, "out")
        number = await sync.follow(OutputTail(str(out), str(there), False, 0o22))
        there.write_text("hello\n")
        await sync.finish(number)
        target = OutputSync(tmp_path / "in", str(project), dict(listing.files), 1, 0o22, {})
        await sync.receive_changes(str(project), list, [str(there)], target)
        past = time.time() - 60
        os.utime(out, (past, past))  # another time than the node's
        line.requests.clear()
        await sync.fill(str(project), str(project), [], set)
        assert out.read_text() == "hello\n"
        assert [request["op"] for request in line.requests] == ["folder", "entries"]  # no content
        out.unlink()
        await sync.fill(str(project), str(project), [], set)
        assert not there.exists()

    play(node, tmp_path, what)
