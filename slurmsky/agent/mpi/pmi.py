"""PMI-1 and PMI-2 servers for one step's tasks, and their exchange.

Each task has a socket to its node's agent (``PMI_FD``). Each node stores the values that its tasks put until the fence;
then the node sends one message to the step's head agent, and gets one back with the values of all nodes. Slurm's
mpi/pmi2 plugin, which also serves both versions, sends the same replies. Requests to spawn tasks and to publish names
are refused by the protocol's error replies, because there is no process manager for them.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Callable, Optional, Protocol

from ...protocol.mpi_messages import DataReply, DataRequest, FenceComplete, FencePart, MpiMessage, TaskAbort
from ..net.event_loop import READ
from .pmi_wire import Pairs, PmiError, PmiReader, PmiRequest, counted, line

if TYPE_CHECKING:
    from ...protocol.step_plan import Pmi2Plan
    from ..net.event_loop import Loop

_READ_SIZE = 1 << 16
#: limits for PMI-1 clients: Slurm's, which are also MPICH's
_MAXES = (("kvsname_max", "256"), ("keylen_max", "64"), ("vallen_max", "1024"))
_OK: Pairs = (("rc", "0"),)
_VERSION: Pairs = (("pmi-version", "2"), ("pmi-subversion", "0"))
_NOT_SPAWNED: Pairs = (("appnum", "-1"), ("debugged", "FALSE"), ("pmiverbose", "FALSE"))
_REFUSED = "slurmsky starts no tasks and keeps no names for a running step"


class Uplink(Protocol):
    """A node's connection to the step's head agent."""

    def mpi(self, message: MpiMessage) -> None:
        """Send a message for the servers of the other nodes."""

    def complain(self, rank: int, text: str) -> None:
        """Print an error of slurmstepd on a task's stderr."""

    def write_text(self, rank: int, text: str) -> None:
        """Print text of a task's MPI library on its stderr."""


class NodeServer(Protocol):
    """The interface of a node's PMI or PMIx server."""

    def prepare(self, ready: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Call ready() when tasks may be started, or failed(why)."""

    def open(self, rank: int) -> tuple[dict[str, str], int]:
        """Register a task; return its variables and inherited descriptor (-1: none)."""

    def on_message(self, message: MpiMessage) -> None:
        """Handle a message from the head agent."""

    def close(self) -> None:
        """End the server after the step's end on this node."""


class _Task:
    """One task's connection."""

    def __init__(self, rank: int, sock: socket.socket) -> None:
        self.rank = rank
        self.sock = sock
        self.reader = PmiReader()
        self.ready = False  # the task has sent init
        self.thread: Optional[str] = None  # thread id of the PMI-2 request that waits for a fence


class PmiNode:
    """The server for a step's tasks on one node."""

    def __init__(self, loop: Loop, plan: Pmi2Plan, ranks: list[int], uplink: Uplink) -> None:
        self._loop = loop
        self._name = plan.name
        self._size = plan.size
        self._ranks = ranks
        self._uplink = uplink
        self._tasks: dict[int, _Task] = {}
        self._kvs = {"PMI_process_mapping": plan.mapping}
        self._put: dict[str, str] = {}  # values put since the last fence
        self._fenced: list[_Task] = []  # tasks that wait for the fence
        self._node: dict[str, str] = {}  # attributes of this node
        self._wait: list[tuple[_Task, str, Pairs]] = []  # requests that wait for an attribute of this node

    def prepare(self, ready: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Call ready() at once; no preparation is needed."""
        ready()

    # --- connections of tasks
    def open(self, rank: int) -> tuple[dict[str, str], int]:
        """Register a task; return (variables, descriptor). The caller closes the descriptor after the spawn."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        task = self._tasks[rank] = _Task(rank, ours)
        self._loop.watch(ours.fileno(), READ, lambda events: self._readable(task))
        fd = theirs.detach()
        os.set_inheritable(fd, True)
        env = {
            "PMI_FD": str(fd),
            "PMI_JOBID": self._name,
            "PMI_RANK": str(rank),
            "PMI_SIZE": str(self._size),
        }
        return env, fd

    def close(self) -> None:
        """Close the tasks' connections after the step's end on this node."""
        for task in list(self._tasks.values()):
            self._drop(task)

    def _drop(self, task: _Task) -> None:
        if self._tasks.pop(task.rank, None) is not None:
            self._loop.forget(task.sock.fileno())
            task.sock.close()

    def _readable(self, task: _Task) -> None:
        try:
            data = task.sock.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(task)
            return
        try:
            for request in task.reader.feed(data):
                self._serve(task, request)
        except PmiError as error:
            self._uplink.complain(task.rank, "mpi/pmi2: %s" % error)
            self._drop(task)

    def _serve(self, task: _Task, request: PmiRequest) -> None:
        command, fields = request
        if not task.ready:
            self._init(task, command, fields)
            return
        if task.reader.version == 1:
            one = _ONE.get(command)
            if one is None:
                self._unknown(task, 1, command)
                self._send(task, line(command + "_result", (("rc", "-1"), ("msg", "unknown_command"))))
            else:
                one(self, task, fields)
            return
        two = _TWO.get(command)
        # A client with threads identifies its requests by the thread id.
        thread: Pairs = (("thrid", fields["thrid"]),) if "thrid" in fields else ()
        if two is None:
            self._unknown(task, 2, command)
            self._answer(task, command, thread, ("rc", "-1"), ("errmsg", "unknown command"))
        else:
            two(self, task, fields, thread)

    def _unknown(self, task: _Task, version: int, command: str) -> None:
        self._uplink.complain(task.rank, "mpi/pmi2: invalid pmi%d command received: '%s'" % (version, command))

    def _send(self, task: _Task, data: bytes) -> None:
        try:
            if task.sock.send(data) == len(data):
                return
        except OSError:
            pass  # the client has closed, or does not read replies, unlike all known PMI clients
        self._drop(task)

    def _init(self, task: _Task, command: str, fields: dict[str, str]) -> None:
        if command != "init":
            raise PmiError("'%s' before init" % command)
        wanted = fields.get("pmi_version")
        version, subversion = ("2", "0") if wanted == "2" else ("1", "1")
        known = wanted in ("1", "2")
        task.ready = known
        values = (("rc", "0" if known else "-1"), ("pmi_version", version), ("pmi_subversion", subversion))
        self._send(task, line("response_to_init", values))
        task.reader.version = int(version)

    # --- both versions
    def _fence(self, task: _Task) -> None:
        self._fenced.append(task)
        if len(self._fenced) == len(self._ranks):
            put, self._put = self._put, {}
            self._uplink.mpi(FencePart(fence="*", values=put))

    def on_message(self, message: MpiMessage) -> None:
        """Complete a fence with the values of all nodes."""
        assert isinstance(message, FenceComplete)
        for put in message.parts:
            self._kvs.update(put)
        tasks, self._fenced = self._fenced, []
        for task in tasks:
            if task.reader.version == 1:
                self._send(task, line("barrier_out", _OK))
            else:
                thread: Pairs = (("thrid", task.thread),) if task.thread is not None else ()
                self._answer(task, "kvs-fence", thread, ("rc", "0"))

    def _abort(self, task: _Task, text: str) -> None:
        self._uplink.mpi(TaskAbort(rank=task.rank, text=text))

    # --- PMI-1
    def _reply(self, task: _Task, command: str, *pairs: tuple[str, str]) -> None:
        self._send(task, line(command, (*_OK, *pairs)))

    def _one_put(self, task: _Task, fields: dict[str, str]) -> None:
        self._put[fields.get("key", "")] = fields.get("value", "")
        self._reply(task, "put_result")

    def _one_get(self, task: _Task, fields: dict[str, str]) -> None:
        value = self._kvs.get(fields.get("key", ""))
        self._send(task, line("get_result", (("rc", "1"),) if value is None else (("rc", "0"), ("value", value))))

    def _one_spawn(self, task: _Task, fields: dict[str, str]) -> None:
        # The client sends one request for each command to spawn; only the last request gets a reply.
        if fields.get("spawnssofar", "1") == fields.get("totspawns", "1"):
            self._send(task, line("spawn_result", (("rc", "-1"), ("msg", _REFUSED.replace(" ", "_")))))

    # --- PMI-2
    def _answer(self, task: _Task, command: str, thread: Pairs, *pairs: tuple[str, str]) -> None:
        self._send(task, counted(command + "-response", (*thread, *pairs)))

    def _two_init(self, task: _Task, fields: dict[str, str], thread: Pairs) -> None:
        place = (("rank", str(task.rank)), ("size", str(self._size)))
        self._send(task, counted("fullinit-response", (*_OK, *_VERSION, *place, *_NOT_SPAWNED)))

    def _two_job(self, task: _Task, fields: dict[str, str], thread: Pairs) -> None:
        values = {"PMI_process_mapping": self._kvs["PMI_process_mapping"], "universeSize": str(self._size)}
        self._found(task, "info-getjobattr", thread, values.get(fields.get("key", "")))

    def _found(self, task: _Task, command: str, thread: Pairs, value: Optional[str]) -> None:
        values = (("found", "FALSE"),) if value is None else (("found", "TRUE"), ("value", value))
        self._answer(task, command, thread, ("rc", "0"), *values)

    def _two_put_node(self, task: _Task, fields: dict[str, str], thread: Pairs) -> None:
        key = fields.get("key", "")
        self._node[key] = fields.get("value", "")
        self._answer(task, "info-putnodeattr", thread, ("rc", "0"))
        waiting, self._wait = self._wait, []
        for other, wanted, their_thread in waiting:
            if wanted == key:
                self._found(other, "info-getnodeattr", their_thread, self._node[key])
            else:
                self._wait.append((other, wanted, their_thread))

    def _two_node(self, task: _Task, fields: dict[str, str], thread: Pairs) -> None:
        key = fields.get("key", "")
        if key not in self._node and fields.get("wait", "").upper() == "TRUE":
            self._wait.append((task, key, thread))
        else:
            self._found(task, "info-getnodeattr", thread, self._node.get(key))

    def _two_put(self, task: _Task, fields: dict[str, str], thread: Pairs) -> None:
        self._put[fields.get("key", "")] = fields.get("value", "")
        self._answer(task, "kvs-put", thread, ("rc", "0"))

    def _two_fence(self, task: _Task, fields: dict[str, str], thread: Pairs) -> None:
        task.thread = fields.get("thrid")
        self._fence(task)


def _refuse_one(answer: str) -> Callable[[PmiNode, _Task, dict[str, str]], None]:
    values = line(answer, (("rc", "-1"), ("info", "fail"), ("msg", _REFUSED.replace(" ", "_"))))
    return lambda node, task, fields: node._send(task, values)


def _refuse_two(command: str) -> Callable[[PmiNode, _Task, dict[str, str], Pairs], None]:
    return lambda node, task, fields, thread: node._answer(task, command, thread, ("rc", "1"), ("errmsg", _REFUSED))


_ONE: dict[str, Callable[[PmiNode, _Task, dict[str, str]], None]] = {
    "get_maxes": lambda node, task, fields: node._reply(task, "maxes", *_MAXES),
    # As in Slurm, only a spawned step has a number.
    "get_appnum": lambda node, task, fields: node._reply(task, "appnum", ("appnum", "-1")),
    "get_my_kvsname": lambda node, task, fields: node._reply(task, "my_kvsname", ("kvsname", node._name)),
    "get_universe_size": lambda node, task, fields: node._reply(task, "universe_size", ("size", str(node._size))),
    "put": PmiNode._one_put,
    "get": PmiNode._one_get,
    "barrier_in": lambda node, task, fields: node._fence(task),
    "finalize": lambda node, task, fields: node._reply(task, "finalize_ack"),
    "abort": lambda node, task, fields: node._abort(task, fields.get("message", "")),
    "spawn": PmiNode._one_spawn,
    "publish_name": _refuse_one("publish_result"),
    "lookup_name": _refuse_one("lookup_result"),
    "unpublish_name": _refuse_one("unpublish_result"),
}
_TWO: dict[str, Callable[[PmiNode, _Task, dict[str, str], Pairs], None]] = {
    "fullinit": PmiNode._two_init,
    "job-getid": lambda node, task, fields, thread: node._answer(
        task, "job-getid", thread, ("rc", "0"), ("jobid", node._name)
    ),
    "info-getjobattr": PmiNode._two_job,
    "info-putnodeattr": PmiNode._two_put_node,
    "info-getnodeattr": PmiNode._two_node,
    "kvs-put": PmiNode._two_put,
    "kvs-get": lambda node, task, fields, thread: node._found(
        task, "kvs-get", thread, node._kvs.get(fields.get("key", ""))
    ),
    "kvs-fence": PmiNode._two_fence,
    "finalize": lambda node, task, fields, thread: node._answer(task, "finalize", thread, ("rc", "0")),
    "abort": lambda node, task, fields, thread: node._abort(task, fields.get("msg", "")),
    **{name: _refuse_two(name) for name in ("spawn", "job-connect", "name-publish", "name-lookup", "name-unpublish")},
}


class Exchange:
    """Relays messages between the nodes' servers, in the head agent.

    FencePart is collected until all nodes of the fence have sent it; then each of them gets FenceComplete. DataRequest
    and DataReply are sent to the node that they name.
    """

    def __init__(self, nodes: int, send: Callable[[int, MpiMessage], None]) -> None:
        self._all = tuple(range(nodes))
        self._send_to = send
        self._fences: dict[str, dict[int, dict[str, str]]] = {}

    def on_message(self, node: int, message: MpiMessage) -> None:
        """Handle a message of a node's server."""
        if isinstance(message, (DataRequest, DataReply)):
            self._send_to(message.to, message)
        elif isinstance(message, FencePart):
            nodes = self._all if message.nodes is None else message.nodes
            values = self._fences.setdefault(message.fence, {})
            values[node] = message.values
            if len(values) == len(nodes):
                del self._fences[message.fence]
                for index in nodes:
                    self._send_to(index, FenceComplete(fence=message.fence, parts=[values[each] for each in nodes]))
