"""Version of the messages between controller and agents.

Both sides send the version in their first message. The version has a number, which a developer raises when messages
change their meaning, and a checksum of the names of all fields of a launch, of the requests and of the events: an agent
that lacks a field would drop the launch. Agents import the messages of steps and of files later; a checksum in this
module represents them.
"""

from __future__ import annotations

import dataclasses
import zlib

from ...model.allocation import HetComponent, Launch, NodeShare
from ...model.spec import JobSpec
from ...protocol.messages import AgentRequest, Event

NUMBER = 2
#: checksum of the messages that agents import later; tests/unit/protocol/test_messages.py prints it
LATER_MESSAGES = "d56942c9"


def _fields() -> str:
    records = (Launch, HetComponent, NodeShare, JobSpec)
    names = ["%s.%s" % (record.__name__, item.name) for record in records for item in dataclasses.fields(record)]
    return " ".join([*names, Event.signature(), AgentRequest.signature(), LATER_MESSAGES])


VERSION = "%d.%08x" % (NUMBER, zlib.crc32(_fields().encode()))
