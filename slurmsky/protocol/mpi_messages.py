"""Messages of PMI and PMIx servers.

They are sent between the nodes of a step, and between an agent and its PMIx server. Agents import this module with
their first step. Values of PMIx are base64 texts.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from .message_codec import Message


class MpiMessage(Message, family="mpi"):
    """Base of messages between servers, relayed by the head agent."""


class FencePart(MpiMessage, kind="fence"):
    """All tasks of the sender's node have reached a fence. ``nodes``: the nodes in the fence, None for all."""

    fence: str
    nodes: Optional[Tuple[int, ...]] = None
    values: Dict[str, str]


class FenceComplete(MpiMessage, kind="fenced"):
    """All nodes have reached a fence. ``parts``: their values, in the order of the nodes."""

    fence: str
    parts: List[Dict[str, str]]


class DataRequest(MpiMessage, kind="want"):
    """Request the values of a task of the node ``to``. ``number`` identifies the request of the node ``from_``."""

    to: int
    from_: int
    rank: int
    number: int


class DataReply(MpiMessage, kind="have"):
    """Answer to a DataRequest. ``status``: the PMIx library's status code."""

    to: int
    number: int
    status: int
    data: str


class TaskAbort(MpiMessage, kind="abort"):
    """A task ends the step."""

    rank: int
    text: str


class ServerReady(MpiMessage, kind="ready"):
    """The PMIx server runs. ``variables``: the tasks' environment, by rank; ``folder``: the server's files."""

    variables: Dict[int, Dict[str, str]]
    folder: str


class ServerFailed(MpiMessage, kind="failed"):
    """The PMIx server does not start."""

    reason: str


class TaskText(MpiMessage, kind="say"):
    """Text of the MPI library for a task's stderr."""

    rank: int
    text: str
