"""Connections to warm nodes that break at any moment.

No caller waits for ever, and no job is lost.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.engines.local.placed_jobs import PlacedJob
from slurmsky.engines.nodes import remote_files
from slurmsky.engines.nodes.agent_requests import AgentRequests
from slurmsky.engines.nodes.folder_listing import FolderListing
from slurmsky.engines.nodes.folder_sync import FolderSync
from slurmsky.engines.nodes.node_lines import ConnectionLost
from slurmsky.engines.nodes.node_setup import NodeSetup
from slurmsky.engines.nodes.nodes_engine import NodesEngine
from slurmsky.engines.nodes.reconnecting import Reconnecting
from slurmsky.engines.nodes.remote_files import RemoteFiles
from slurmsky.engines.powered import Order
from slurmsky.model.allocation import Launch, NodeShare
from slurmsky.model.spec import JobSpec
from slurmsky.protocol import wire
from slurmsky.protocol.messages import JobList, NodeEnvironment


class Line:
    """The controller's end of a node's connection; the test sends the answers."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.sent: list[dict] = []
        self._frames = wire.FrameReader()

    def write(self, data: bytes) -> None:
        self.sent += [json.loads(frame.payload) for frame in self._frames.feed(data) if frame.kind == wire.JSON]

    def close(self) -> None:
        pass

    def answer(self, **message: object) -> None:
        self.reader.feed_data(wire.encode(wire.JSON, json.dumps(message).encode()))


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


def remote_job(tmp_path: Path) -> dict:
    tail = [str(tmp_path / "out"), "/there/out", False, 0o22, 0, 0]
    return {"submit_dir": str(tmp_path), "umask": 0o22, "nodes": ["n1"], "given": {}, "tails": [tail]}


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
    monkeypatch.setattr(remote_files, "AGAIN_S", 0.01)

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
    monkeypatch.setattr(remote_files, "AGAIN_S", 0.01)

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


class Fleet:
    def order_of(self, node: str) -> Order:
        return Order("kept-x", "p", [node], phase="up")

    def is_up(self, node: str) -> bool:
        return True

    def address(self, node: str) -> str:
        return "192.0.2.1:1"

    async def alive(self, order: Order) -> bool:
        return True

    async def up(self, nodes: object, say: object) -> None:
        pass


class Link:
    """A connection to an agent, perhaps lost already."""

    outdated = False

    def __init__(self, alive: bool = True) -> None:
        self.node, self.alive = "n1", alive
        self.sent: list[dict] = []
        self.launched: set[tuple[int, int]] = set()

    def send(self, message: dict) -> None:
        self.sent.append(message)

    def launch(self, launch: Launch) -> None:
        self.launched.add((launch.job_id, launch.restart_count))


def test_a_connection_that_is_lost_before_it_is_used_is_restored_again():
    async def what() -> None:
        links = [Link(alive=False), Link()]

        async def connect(node: str) -> Link:
            return links.pop(0)

        reported: list[str] = []
        again = Reconnecting(Fleet(), Fleet(), connect, lambda _, state: reported.append(state), lambda *_: None)  # type: ignore[arg-type]
        again.begin("n1")
        await asyncio.wait_for(asyncio.gather(*again.running()), PATIENCE_S)
        assert links == [] and reported == ["silent", "up"]

    asyncio.run(what())


def test_requests_to_an_agent_fail_once_its_connection_is_lost():
    async def what() -> None:
        requests = AgentRequests()
        requested = asyncio.ensure_future(requests.send_request(Link(), "same", "/x", {"op": "same"}))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        requests.fail("n1")
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(requested, PATIENCE_S)

    asyncio.run(what())


def launch(tmp_path: Path) -> Launch:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    words = dict.fromkeys(("name", "user", "group", "account", "partition", "qos", "cluster", "submit_host"), "x")
    folders = dict.fromkeys(("submit_dir", "work_dir", "spool"), "/")
    numbers = {"job_id": 1, "uid": 1, "gid": 1, "ntasks": 1}
    return Launch(**words, **folders, **numbers, spec=JobSpec(), shares=[NodeShare("n1")], script=str(script))


def test_a_script_is_sent_again_over_a_new_connection(tmp_path):
    class Answers(AgentRequests):
        async def send_request(self, *_: object) -> bool:
            return True

    async def what() -> None:
        setup = NodeSetup(None, Answers(), lambda node: "192.0.2.1:1", ())  # type: ignore[arg-type]
        setup.detected["n1"] = NodeEnvironment(pid=1, home="/h", environment={}, shells=())
        first, second = Link(), Link()
        for link in (first, first, second):
            await setup.prepared(launch(tmp_path), [link])  # type: ignore[list-item]
        assert [len(link.sent) for link in (first, second)] == [1, 1]

    asyncio.run(what())


def test_a_launch_whose_connection_breaks_is_sent_over_the_next_one(tmp_path):
    async def what() -> None:
        events: list[object] = []
        engine = NodesEngine(tmp_path, events.append, {}, None, None)  # type: ignore[arg-type]
        engine.fleet = Fleet()  # type: ignore[assignment]
        links = [Link(), Link()]
        used: list[Link] = []

        async def linked(node: str) -> Link:
            return links.pop(0)

        async def prepared(launch: Launch, links: list[Link]) -> Launch:
            used.append(links[0])
            if len(used) == 1:
                raise ConnectionLost("broke")
            return launch

        engine._linked = linked  # type: ignore[method-assign, assignment]
        engine._setup.prepared = prepared  # type: ignore[method-assign, assignment]
        await engine.start(launch(tmp_path))
        assert [link.launched for link in used] == [set(), {(1, 0)}]

    asyncio.run(what())


def test_a_command_for_a_node_is_connected_over_the_next_connection(tmp_path):
    async def what() -> None:
        engine = NodesEngine(tmp_path, lambda event: None, {}, None, None)  # type: ignore[arg-type]
        engine.fleet = Fleet()  # type: ignore[assignment]
        answers: list[Exception | str] = [ConnectionLost("broke"), Link(), OSError("broke"), Link(), "streams"]  # type: ignore[list-item]

        async def next_answer(*_: object) -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        engine.link = engine._streams = next_answer  # type: ignore[method-assign, assignment]
        engine._watch = lambda node: None  # type: ignore[method-assign, assignment]
        assert await engine._for_command("n1", "") == "streams" and not answers  # type: ignore[comparison-overlap]
        engine.fleet.is_up = lambda node: False  # type: ignore[method-assign, assignment]
        answers = [ConnectionLost("node n1 is not up")]
        with pytest.raises(OSError, match="node n1 is not up"):
            await engine._for_command("n1", "")

    asyncio.run(what())


def test_requests_to_a_node_without_connection_are_sent_once_it_has_one(tmp_path):
    async def what() -> None:
        engine = NodesEngine(tmp_path, lambda event: None, {}, None, None)  # type: ignore[arg-type]
        engine.fleet = Fleet()  # type: ignore[assignment]
        engine._watch = lambda node: None  # type: ignore[method-assign, assignment]
        first, second = Link(), Link()
        engine._links["n1"] = first  # type: ignore[assignment]
        engine._placed[1] = PlacedJob(0, ("n1",), ready=True)
        first.alive = False
        engine._lost("n1")
        assert engine.out_of_reach(1) == "" and engine.missing_connections(1) == "node n1 does not answer now"
        await engine.signal(1, 10, "batch")
        await engine.suspend(1)
        await engine.resume(1)
        await engine.limit(1, 60.0)
        engine._links["n1"] = second  # type: ignore[assignment]
        engine._event("n1", JobList(jobs=[(1, 0)]))
        assert [type(message).__name__ for message in second.sent] == [
            "SignalJob", "SuspendJob", "ResumeJob", "LimitJob",
        ]  # fmt: skip
        assert engine.missing_connections(1) == "" and not first.sent

    asyncio.run(what())


def test_a_bring_up_that_fails_after_its_caller_was_cancelled_logs_no_traceback(tmp_path, caplog):
    async def what() -> None:
        engine = NodesEngine(tmp_path, lambda event: None, {}, None, None)  # type: ignore[arg-type]
        go = asyncio.Event()

        async def bring_up(node: str) -> None:
            await go.wait()
            raise ConnectionLost("broke")

        engine._bring_up = bring_up  # type: ignore[method-assign, assignment]
        caller = asyncio.ensure_future(engine.link("n1"))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.sleep(0)
        go.set()
        while engine._starting:
            await asyncio.sleep(0)

    asyncio.run(what())
    gc.collect()
    assert caplog.text == ""
