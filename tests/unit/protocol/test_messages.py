"""Messages between controller, engines and agents, and their codec."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import pytest

import slurmsky
from slurmsky.agent.job import version
from slurmsky.model.job import Step, Usage
from slurmsky.model.states import JobState
from slurmsky.model.step import NodeSeries
from slurmsky.protocol.file_messages import (
    FileChanged,
    FileReport,
    FileRequest,
    FolderEntry,
    OutputOpened,
    TailFile,
    UpdateListing,
)
from slurmsky.protocol.message_codec import BadMessage, Message
from slurmsky.protocol.messages import (
    Acknowledge,
    AgentRequest,
    CompareFolder,
    Ended,
    Event,
    Exit,
    Hello,
    JobList,
    JobNode,
    LaunchJob,
    LimitJob,
    NodeDown,
    NodeStatus,
    ReachPeers,
    ShrinkJob,
    Started,
    StepChanged,
    TerminateJob,
)
from slurmsky.protocol.mpi_messages import DataRequest, FencePart, MpiMessage, ServerReady
from slurmsky.protocol.step_messages import (
    FromMpiServer,
    StartTasks,
    StepPartReport,
    StepPartRequest,
    TasksEnded,
    TasksStarted,
    TasksUsage,
)
from slurmsky.protocol.step_plan import ContainerRequest, MpiPlan, PmixPlan, StepPlan, TaskBinding

PLAN = StepPlan(
    job_id=7, step_id="0", node="n1", node_id=0, ranks=[0], argv=[["x"]], environment={}, task_environment=[{}],
    directory="/", umask=0o22, stdin="stream", stdout="stream", stderr="stream", unbuffered=False, rlimits={},
    task_prologs=[], task_epilogs=[], array_job_id=7, user="u", job_name="x", restarts=0, head="", label=0, notices=[],
    bind=TaskBinding(
        unit="cores", method="", values=(), verbose=False, one_thread=True, explicit=True, per_task=1, order="cyclic",
        count=2, cpus=(0, 1),
    ),
    mpi=PmixPlan(namespace="x", nodes=["n1"], ranks=[[0]]),
    container=ContainerRequest(
        image="a", on_node_image=False, name="", flag="", mounts=(("/a", "/b", ("ro",)),), directory="", keep=("X",),
        home=False, root=False, entrypoint=False, readonly=False, cwd="/",
    ),
)  # fmt: skip
SOURCE = Path(slurmsky.__file__).parent
_UNTYPED = re.compile(r"""\bevent(?:\["|\.get\()""")
_REQUEST = re.compile(r"""\{"(?:op|ev)":|\.get\("op"\)|\["(?:op|ev)"\]""")


@pytest.mark.parametrize(
    "event",
    [
        Started(job_id=7, run=1, seq=1, time=2.5, pid=3, nodes=(JobNode("n1", "10.0.0.1"), JobNode("n2"))),
        StepChanged(job_id=7, run=0, step=Step(7, "0", "x", state=JobState.FAILED, nodes=("n1",), exit_code=2)),
        StepChanged(step=Step(7, "batch", "batch", usage=Usage(user_s=1.5, gpu_s=0.0, series={"cpu": [0.5, 1.0]}))),
        Ended(job_id=7, state="TIMEOUT", reason="TimeLimit", exit_signal=15, began=False),
        JobList(node="n1", jobs=((7, 0), (8, 2))),
        NodeStatus(node="n1", version="1.ff", load=0.5, free_mib=12),
    ],
)
def test_an_event_survives_json(event: Event) -> None:
    body = json.loads(json.dumps(event.encode()))
    assert body["ev"] == event.kind
    assert Event.decode(body) == event


@pytest.mark.parametrize(
    "request_",
    [
        Hello(role="controller", version="2.ff"),
        LaunchJob(launch={"job_id": 7, "argv": ["a"]}, template=7),
        LaunchJob(launch={"job_id": 8}, like=7),
        Acknowledge(acks=((7, 0, 1), (8, 2, 3))),
        Exit(expected=True),
        TerminateJob(job_id=7, state="TIMEOUT", kill_wait_s=30),
        ShrinkJob(job_id=7, nodes=("n1", "n2")),
        CompareFolder(path="/a", identity=(3, 2)),
        ReachPeers(peers={"n1": "10.0.0.1:7"}),
    ],
    ids=lambda one: one.kind,
)
def test_a_request_survives_json(request_: AgentRequest) -> None:
    body = json.loads(json.dumps(request_.encode()))
    assert body["op"] == request_.kind
    assert AgentRequest.decode(body) == request_


@pytest.mark.parametrize(
    ("family", "message", "key"),
    [
        (StepPartRequest, StartTasks(plan=PLAN), "op"),
        (StepPartReport, TasksStarted(pids={0: 17, 1: 18}), "ev"),
        (StepPartReport, TasksUsage(usage={3: [0.5, 1.0]}), "ev"),
        (StepPartReport, FromMpiServer(message=FencePart(fence="*", values={"a": "b"})), "ev"),
        (StepPartReport, TasksEnded(series=NodeSeries(2.0, (0.5,), (1.0,))), "ev"),
        (MpiMessage, DataRequest(to=1, from_=0, rank=3, number=1), "mpi"),
        (MpiMessage, ServerReady(variables={3: {"A": "b"}}, folder="/x"), "mpi"),
        (FileRequest, UpdateListing(path="/a", digest="d", entries={"b": FolderEntry("f", 0o644, 3, 5, "c")}), "op"),
        (FileRequest, TailFile(id=1, path="/a", from_=7), "op"),
        (FileReport, FileChanged(path="b", entry=FolderEntry("f", 0o644, 3, 5, "c")), "ev"),
        (FileReport, OutputOpened(folder="/a", path="b", there="/c/b", from_=0), "ev"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_messages_of_steps_and_files_survive_json(family: type[Message], message: Message, key: str) -> None:
    body = json.loads(json.dumps(message.encode()))
    assert body[key] == message.kind and not any(name.endswith("_") for name in body)
    assert family.decode(body) == message


def test_a_file_is_followed_from_its_end_where_no_first_byte_is_named() -> None:
    assert FileRequest.decode({"op": "tail", "id": 1, "path": "/a", "append": True, "from": None}) == TailFile(
        id=1, path="/a", append=True
    )


def test_the_version_covers_messages_that_agents_import_later() -> None:
    families = (StepPartRequest, StepPartReport, StepPlan, TaskBinding, ContainerRequest, MpiPlan, MpiMessage,
                FileRequest, FileReport)  # fmt: skip
    checksum = zlib.crc32(" ".join(family.signature() for family in families).encode())
    assert f"{checksum:08x}" == version.LATER_MESSAGES, "write the new checksum into agent/job/version.py"


def test_an_end_time_of_none_is_sent_because_it_lifts_the_limit() -> None:
    lifted = LimitJob(job_id=7, end_time=None)
    assert lifted.encode() == {"op": "limit", "job_id": 7, "end_time": None}
    assert AgentRequest.decode(lifted.encode()) == lifted
    with pytest.raises(BadMessage):
        AgentRequest.decode({"op": "limit", "job_id": 7})


def test_default_fields_are_omitted_and_unknown_ones_ignored() -> None:
    assert Ended(job_id=7, state="COMPLETED").encode() == {"ev": "ended", "job_id": 7, "state": "COMPLETED"}
    later = Event.decode({"ev": "ended", "job_id": 7, "state": "COMPLETED", "since_then": 1, "reason": None})
    assert later == Ended(job_id=7, state="COMPLETED")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ev": "no such"},
        {"ev": "step", "job_id": 7},
        {"ev": "ended", "exit_code": "many"},
        {"ev": "started", "nodes": [{}]},
        {"ev": "jobs", "jobs": [7]},
    ],
)
def test_a_body_that_is_no_event_raises_bad_message(body: dict) -> None:
    with pytest.raises(BadMessage):
        Event.decode(body)


def test_messages_are_frozen_and_but_makes_a_changed_copy() -> None:
    event = NodeDown(node="n1", reason="gone")
    with pytest.raises(AttributeError):
        event.node = "n2"  # type: ignore[misc]
    assert event.evolve(node="n2") == NodeDown(node="n2", reason="gone") and event.node == "n1"


@pytest.mark.parametrize("family", [Event, AgentRequest, StepPartRequest, StepPartReport, FileRequest, FileReport])
def test_every_kind_is_documented_and_no_two_classes_share_one(family: type[Message]) -> None:
    found: list[type[Message]] = [family]
    for one in found:
        found += one.__subclasses__()
    with_kind = [one for one in found if "kind" in vars(one)]
    assert len(with_kind) == len(family.kinds) and all(one.__doc__ for one in with_kind)


def places(pattern: re.Pattern[str], *folders: str) -> set[str]:
    """The modules with a line that matches."""
    return {
        path.relative_to(SOURCE).as_posix()
        for folder in folders
        for path in (SOURCE / folder).rglob("*.py")
        if pattern.search(path.read_text())
    }


def test_no_module_reads_an_event_as_a_dictionary() -> None:
    assert places(_UNTYPED, "agent", "controller", "engines") <= {
        "engines/sky/launch/launch_backends.py"
    }  # SkyPilot's JSON


def test_no_agent_and_no_engine_writes_a_message_as_a_dictionary() -> None:
    assert places(_REQUEST, "agent", "engines", "controller") == {"agent/job/journal.py"}  # the lines of its file
