"""Requests and launches over a connection that replaces a broken one."""

from __future__ import annotations

import asyncio
import gc

import pytest
from node_connections import launch
from polling import PATIENCE_S

from slurmsky.engines.local.placed_jobs import PlacedJob
from slurmsky.engines.nodes.agent_requests import AgentRequests
from slurmsky.engines.nodes.node_lines import ConnectionLost
from slurmsky.engines.nodes.node_setup import NodeSetup
from slurmsky.engines.nodes.nodes_engine import NodesEngine
from slurmsky.engines.nodes.reconnecting import Reconnecting
from slurmsky.engines.powered import Order
from slurmsky.model.allocation import Launch
from slurmsky.protocol.messages import JobList, NodeEnvironment


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
