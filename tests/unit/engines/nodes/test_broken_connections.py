"""Copies of files over connections to warm nodes that break at any moment.

No caller waits for ever, and no job is lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
from node_connections import Line, launch, remote_job
from polling import PATIENCE_S

from slurmsky.engines.nodes import remote_files
from slurmsky.engines.nodes.folder_listing import FolderListing
from slurmsky.engines.nodes.folder_sync import FolderSync
from slurmsky.engines.nodes.node_lines import ConnectionLost
from slurmsky.engines.nodes.remote_files import RemoteFiles
from slurmsky.protocol import wire


class EmptyFolder(FolderListing):
    def __init__(self) -> None:
        super().__init__(Path("digests"), Path("home"), 0)

    def entries(self, folder: str, submit_dir: str = "") -> dict:
        return {}


async def begun_fills(sync, line, count):
    """Start ``count`` copies of a folder; return them after the first request."""
    fills = [asyncio.ensure_future(sync.fill("/project", "/project", [], set)) for _ in range(count)]
    while not line.sent:
        await asyncio.sleep(0.001)
    return fills


def test_all_callers_that_wait_for_a_node_learn_that_its_connection_broke():
    async def what() -> None:
        line = Line()
        sync = FolderSync((line.reader, line), EmptyFolder(), lambda *_: None)  # type: ignore[arg-type]
        fills = await begun_fills(sync, line, 3)
        line.reader.feed_eof()
        results = await asyncio.wait_for(asyncio.gather(*fills, return_exceptions=True), PATIENCE_S)
        assert [type(result) for result in results] == [ConnectionLost] * 3 and not sync.alive

    asyncio.run(what())


def test_jobs_that_start_at_the_same_time_share_one_copy_of_their_folder():
    async def what() -> None:
        line = Line()
        sync = FolderSync((line.reader, line), EmptyFolder(), lambda *_: None)  # type: ignore[arg-type]
        fills = await begun_fills(sync, line, 50)
        fills += [asyncio.ensure_future(sync.fill("/project", "/project", [], set)) for _ in range(50)]
        line.answer(ev="folder", same=True, at="/there")
        while len(line.sent) < 2:
            await asyncio.sleep(0.001)
        assert [fill.done() for fill in fills] == [True] * 50 + [False] * 50
        line.answer(ev="folder", same=True, at="/there")
        places = await asyncio.wait_for(asyncio.gather(*fills), PATIENCE_S)
        assert [at for at, _ in places] == ["/there"] * 100 and len(line.sent) == 2

    asyncio.run(what())


def test_a_job_may_end_while_a_restored_connection_follows_its_output(tmp_path):
    async def what() -> None:
        line = Line()

        async def connect(node: str) -> tuple:
            return line.reader, line

        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs" / "1-0.json").write_text(json.dumps(remote_job(tmp_path)))
        files = RemoteFiles(tmp_path / "jobs", tmp_path, 1 << 20, connect)  # type: ignore[arg-type]
        files.load([(1, 0)])
        both = [
            asyncio.ensure_future(files.resume("n1")),
            asyncio.ensure_future(files.receive_changes(1, 0, lambda node: True)),
        ]
        answered = 0
        for _ in range(1000):
            await asyncio.sleep(0.001)
            for message in line.sent[answered:]:
                kind = {"tail": "tailing", "finish": "finished", "changes": "unchanged"}[message["op"]]
                line.answer(ev=kind, **{"id": message.get("id", 0), "from": 0})
            answered = len(line.sent)
            if all(task.done() for task in both):
                break
        assert [task.done() for task in both] == [True, True], line.sent
        assert [message["op"] for message in line.sent] == ["tail", "finish", "changes"]

    asyncio.run(what())


def test_files_that_two_nodes_send_at_the_same_time_arrive_whole(tmp_path):
    async def what() -> None:
        lines = {"n1": Line(), "n2": Line()}

        async def connect(node: str) -> tuple:
            return lines[node].reader, lines[node]

        (tmp_path / "jobs").mkdir()
        for number, node in enumerate(lines, 1):
            (tmp_path / node).mkdir()
            record = remote_job(tmp_path) | {"shipped_folder": str(tmp_path / node), "nodes": [node], "tails": []}
            (tmp_path / "jobs" / f"{number}-0.json").write_text(json.dumps(record))
        files = RemoteFiles(tmp_path / "jobs", tmp_path, 1 << 20, connect)  # type: ignore[arg-type]
        files.load([(1, 0), (2, 0)])
        ending = [asyncio.ensure_future(files.receive_changes(number, 0, lambda node: True)) for number in (1, 2)]
        while not all(line.sent for line in lines.values()):
            await asyncio.sleep(0)
        digest = hashlib.sha256(b"abcd").hexdigest()
        for part in (b"ab", b"cd"):
            for line in lines.values():
                if part == b"ab":
                    line.answer(ev="file", path="made", entry=["f", 0o644, 4, 10**18, digest])
                line.reader.feed_data(wire.encode(wire.STDOUT, part))
                await asyncio.sleep(0.01)
        for line in lines.values():
            line.answer(ev="unchanged")
        while any(len(line.sent) < 2 for line in lines.values()):
            await asyncio.sleep(0)
        for line in lines.values():
            line.answer(ev="unchanged")
        assert await asyncio.wait_for(asyncio.gather(*ending), PATIENCE_S) == [(True, "")] * 2
        assert [(tmp_path / node / "made").read_bytes() for node in lines] == [b"abcd", b"abcd"]
        assert not list((tmp_path / "jobs").glob("**/in-*"))

    asyncio.run(what())


@pytest.mark.parametrize("ends_by", ["loss", "close"])
def test_a_job_ends_though_a_node_is_lost_and_stays_recorded_when_the_controller_closes(tmp_path, monkeypatch, ends_by):
    monkeypatch.setattr(remote_files, "RETRY_S", 0.01)

    async def what() -> None:
        line = Line()
        refused: list[str] = []

        async def connect(node: str) -> tuple:
            if node == "n2":
                refused.append(node)
                raise OSError("node n2 is not up")
            return line.reader, line

        record = tmp_path / "jobs" / "1-0.json"
        record.parent.mkdir()
        record.write_text(json.dumps(remote_job(tmp_path) | {"nodes": ["n1", "n2"], "tails": []}))
        files = RemoteFiles(record.parent, tmp_path, 1 << 20, connect)  # type: ignore[arg-type]
        files.load([(1, 0)])
        lost = False
        ending = asyncio.ensure_future(files.receive_changes(1, 0, lambda node: node == "n1" or not lost))
        while not line.sent:
            await asyncio.sleep(0)
        line.answer(ev="unchanged", id=0)
        while len(refused) < 3:
            await asyncio.sleep(0.001)
        if ends_by == "close":
            files.close()
        lost = True
        whole, text = await asyncio.wait_for(ending, PATIENCE_S)
        assert whole
        assert [message["op"] for message in line.sent] == ["changes"]  # what has arrived is requested once
        closed = ends_by == "close"
        assert text == ("" if closed else "node n2 was lost with the files that the job wrote there")
        assert (files.has(1, 0), record.exists()) == (closed, closed)

    asyncio.run(what())


def test_files_that_are_lost_with_the_first_node_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "RETRY_S", 0.01)

    async def what() -> None:
        refused: list[str] = []

        async def connect(node: str) -> tuple:
            refused.append(node)
            raise OSError(f"node {node} is not up")

        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs" / "1-0.json").write_text(json.dumps(remote_job(tmp_path) | {"tails": []}))
        files = RemoteFiles(tmp_path / "jobs", tmp_path, 1 << 20, connect)  # type: ignore[arg-type]
        files.load([(1, 0)])
        whole, text = await files.receive_changes(1, 0, lambda node: len(refused) < 3)
        assert (whole, text) == (False, "node n1 was lost with the files that the job wrote there")
        assert not files.has(1, 0)

    asyncio.run(what())


def test_a_connection_restored_before_a_launch_follows_its_output_all_the_same(tmp_path):
    async def what() -> None:
        line = Line()

        async def connect(node: str) -> tuple:
            return line.reader, line

        (tmp_path / "jobs").mkdir()
        (tmp_path / "jobs" / "1-0.json").write_text(json.dumps(remote_job(tmp_path) | {"tails": []}))
        files = RemoteFiles(tmp_path / "jobs", tmp_path, 1 << 20, connect)  # type: ignore[arg-type]
        files.load([(1, 0)])
        await files.resume("n1")  # the launch has sent its folder, and not yet named its output
        one = launch(tmp_path)
        one.stdout = str(tmp_path / "out")
        following = asyncio.ensure_future(files.follow(one, one))
        while not line.sent and not following.done():
            await asyncio.sleep(0)
        assert [message["op"] for message in line.sent] == ["tail"]
        line.answer(ev="tailing", id=1, **{"from": 0})
        await asyncio.wait_for(following, PATIENCE_S)

    asyncio.run(what())
