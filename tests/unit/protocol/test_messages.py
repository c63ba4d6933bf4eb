"""The messages between controller, engines and agents: a class for each, encoded and decoded by one codec."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import slurmsky
from slurmsky.model.job import Step, Usage
from slurmsky.model.states import JobState
from slurmsky.protocol.message_codec import BadMessage, Message
from slurmsky.protocol.messages import Ended, Event, JobList, JobNode, NodeDown, NodeFacts, Started, StepChanged

SOURCE = Path(slurmsky.__file__).parent
_UNTYPED = re.compile(r"""\bevent(?:\["|\.get\()""")


@pytest.mark.parametrize(
    "event",
    [
        Started(job_id=7, run=1, seq=1, time=2.5, pid=3, nodes=(JobNode("n1", "10.0.0.1"), JobNode("n2"))),
        StepChanged(job_id=7, run=0, step=Step(7, "0", "x", state=JobState.FAILED, nodes=("n1",), exit_code=2)),
        StepChanged(step=Step(7, "batch", "batch", usage=Usage(user_s=1.5, gpu_s=0.0, series={"cpu": [0.5, 1.0]}))),
        Ended(job_id=7, state="TIMEOUT", reason="TimeLimit", exit_signal=15, began=False),
        JobList(node="n1", jobs=((7, 0), (8, 2))),
        NodeFacts(node="n1", version="1.ff", load=0.5, free_mib=12),
    ],
)
def test_an_event_survives_json(event: Event) -> None:
    body = json.loads(json.dumps(event.encode()))
    assert body["ev"] == event.kind
    assert Event.decode(body) == event


def test_fields_at_their_default_do_not_travel_and_unknown_ones_are_ignored() -> None:
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
    assert event.but(node="n2") == NodeDown(node="n2", reason="gone") and event.node == "n1"


def test_every_kind_is_documented_and_no_two_classes_share_one() -> None:
    found: list[type[Message]] = [Event]
    for one in found:
        found += one.__subclasses__()
    with_kind = [one for one in found if "kind" in vars(one)]
    assert len(with_kind) == len(Event.kinds) and all(one.__doc__ for one in with_kind)


def test_no_module_reads_an_event_as_a_dictionary() -> None:
    left = {
        f"{path.relative_to(SOURCE)}:{number}"
        for folder in ("agent", "controller", "engines")
        for path in (SOURCE / folder).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _UNTYPED.search(line)
    }
    assert {place.partition(":")[0] for place in left} <= {"engines/sky/launch_backends.py"}  # SkyPilot's own JSON
