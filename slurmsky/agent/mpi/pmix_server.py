"""PMIx server of one step on one node, in a separate process.

The process is separate because the library starts threads, and a crash of the library must not end the agent. Server
and agent exchange the messages of ``protocol/mpi_messages.py`` over a socket: first ServerReady or ServerFailed, then
those between the nodes' servers, TaskText and TaskAbort. Source: the PMIx standard, chapters on the server interface.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import shutil
import socket
import threading
from typing import Any, Optional

from ...protocol import wire
from ...protocol.mpi_messages import (
    DataReply,
    DataRequest,
    FenceComplete,
    FencePart,
    MpiMessage,
    ServerFailed,
    ServerReady,
    TaskAbort,
    TaskText,
)
from ...protocol.step_plan import PmixPlan
from ..process.helper_process import send_to_agent
from . import pmix_library as pmix

#: key of a node's data in a fence
_BLOB = "data"


class PmixServer:
    """The library's state, and the calls that wait for other nodes."""

    def __init__(self, sock: socket.socket, plan: PmixPlan, node_id: int, path: str, folder: str) -> None:
        self._sock = sock
        self._nspace = plan.namespace
        self._nodes = plan.nodes
        self._ranks = plan.ranks
        self._node_id = node_id
        self._folder = folder
        self._lock = threading.Lock()
        self._fences: dict[str, tuple[Any, Any]] = {}  # fence -> (callback, its data)
        self._wants: dict[int, tuple[Any, Any]] = {}
        self._requests: dict[int, tuple[int, int]] = {}  # own request number -> (node, its request number)
        self._count = 0
        self._alive: dict[int, Any] = {}  # buffers that the library still reads
        self._library = pmix.load(path)
        # The library has pointers to these callbacks, so the attributes keep them alive.
        self._module = pmix.PmixModule(
            abort=pmix.Abort(self._abort),
            fence_nb=pmix.Fence(self._fence),
            direct_modex=pmix.DirectModex(self._direct_modex),
            log=pmix.Log(self._log),
        )
        self._released = pmix.Release(lambda number: self._alive.pop(int(number or 0), None) and None)
        self._replied = pmix.DmodexReply(self._dmodex_reply)

    # --- start
    def start(self) -> dict[int, dict[str, str]]:
        """Start the server; return the variables of each local task. Raises OSError."""
        name = self._nodes[self._node_id]
        self._check("server_init", self._library.PMIx_server_init(self._module, *self._counted([
            ("pmix.srv.nspace", self._nspace + ".server"),
            ("pmix.srv.rank", pmix.Rank(self._node_id)),
            ("pmix.srvr.tmpdir", self._folder),
            ("pmix.sys.tmpdir", self._folder),
            ("pmix.hname", name),
        ])))  # fmt: skip
        here = self._ranks[self._node_id]
        self._wait(
            "register_nspace",
            lambda done: self._library.PMIx_server_register_nspace(
                self._nspace.encode(), len(here), *self._counted(self._job_info()), done, None
            ),
        )
        result = {}
        for rank in here:
            proc = pmix.Proc(self._nspace.encode(), rank)
            self._wait(
                "register_client",
                lambda done, proc=proc: self._library.PMIx_server_register_client(
                    proc, os.geteuid(), os.getegid(), None, done, None
                ),
            )
            env = ctypes.POINTER(ctypes.c_char_p)()
            self._check("setup_fork", self._library.PMIx_server_setup_fork(proc, ctypes.byref(env)))
            result[rank] = _variables(env)
        return result

    def _job_info(self) -> list[tuple[str, Any]]:
        here = self._ranks[self._node_id]
        size = sum(map(len, self._ranks))
        pairs: list[tuple[str, Any]] = [
            ("pmix.jobid", self._nspace),
            ("pmix.univ.size", size),
            ("pmix.job.size", size),
            ("pmix.max.size", size),
            ("pmix.app.size", size),
            ("pmix.job.napps", 1),
            ("pmix.num.nodes", len(self._nodes)),
            ("pmix.local.size", len(here)),
            ("pmix.node.size", len(here)),
            ("pmix.nmap", "raw:" + ",".join(self._nodes)),
            ("pmix.pmap", "raw:" + ";".join(",".join(map(str, ranks)) for ranks in self._ranks)),
            ("pmix.lpeers", ",".join(map(str, here))),
            ("pmix.lldr", pmix.Rank(min(here))),
            ("pmix.aldr", pmix.Rank(0)),
            ("pmix.spawned", False),
            ("pmix.tmpdir", self._folder),
            ("pmix.nsdir", self._folder),
            ("pmix.tdir.rmclean", True),
        ]
        for node, ranks in enumerate(self._ranks):
            for local, rank in enumerate(ranks):
                pairs.append(("pmix.pdata", [
                    ("pmix.rank", pmix.Rank(rank)),
                    ("pmix.appnum", 0),
                    ("pmix.grank", pmix.Rank(rank)),
                    ("pmix.apprank", pmix.Rank(rank)),
                    ("pmix.lrank", pmix.Short(local)),
                    ("pmix.nrank", pmix.Short(local)),
                    ("pmix.hname", self._nodes[node]),
                    ("pmix.nodeid", node),
                ]))  # fmt: skip
        return pairs

    def _counted(self, settings: list[tuple[str, Any]]) -> tuple[Any, int]:
        array = pmix.infos(settings)
        self._alive[-len(self._alive) - 1] = array
        return array, len(settings)

    def _wait(self, what: str, call: Any) -> None:
        over = threading.Event()
        status = [pmix.SUCCESS]

        def done(code: int, _data: Any) -> None:
            status[0] = code
            over.set()

        callback = pmix.OpDone(done)
        code = call(callback)
        if code == pmix.SUCCESS:
            over.wait(30)
            code = status[0]
        self._check(what, code)

    def _check(self, what: str, code: int) -> None:
        if code not in (pmix.SUCCESS, pmix.OPERATION_SUCCEEDED):
            raise OSError("PMIx_%s: %s" % (what, self._library.PMIx_Error_string(code).decode()))

    # --- callbacks, which the library calls from its own thread
    def _fence(
        self, procs: Any, count: int, _info: Any, _ninfo: int, data: Any, size: int, done: Any, token: Any
    ) -> int:
        ranks = sorted({procs[index].rank for index in range(count)})
        if pmix.RANK_WILDCARD in ranks:
            who, nodes = "*", tuple(range(len(self._nodes)))
        else:
            who = ",".join(map(str, ranks))
            nodes = tuple(node for node, here in enumerate(self._ranks) if not set(ranks).isdisjoint(here))
        self._fences[who] = (done, token)
        self.send(FencePart(fence=who, nodes=nodes, values={_BLOB: _text(data, size)}))
        return pmix.SUCCESS

    def _direct_modex(self, proc: Any, _info: Any, _ninfo: int, done: Any, token: Any) -> int:
        rank = proc[0].rank
        for node, here in enumerate(self._ranks):
            if rank in here:
                with self._lock:
                    self._count += 1
                    number = self._count
                self._wants[number] = (done, token)
                self.send(DataRequest(to=node, from_=self._node_id, rank=rank, number=number))
                return pmix.SUCCESS
        return pmix.NOT_FOUND

    def _abort(self, proc: Any, _object: Any, _status: int, message: Optional[bytes], *_rest: Any) -> int:
        self.send(TaskAbort(rank=proc[0].rank, text=(message or b"").decode(errors="replace")))
        return pmix.OPERATION_SUCCEEDED

    def _log(self, proc: Any, data: Any, count: int, _directives: Any, _ndirs: int, done: Any, token: Any) -> int:
        self.send(TaskText(rank=proc[0].rank, text=pmix.log_texts(data, count)))
        if done:
            # Reply from another thread: the library holds a lock until this callback returns.
            threading.Thread(target=pmix.OpDone(done), args=(pmix.SUCCESS, token)).start()
        return pmix.SUCCESS

    def _dmodex_reply(self, status: int, data: Any, size: int, token: Any) -> None:
        node, number = self._requests.pop(int(token))
        self.send(DataReply(to=node, number=number, status=status, data=_text(data, size)))

    # --- messages of the agent
    def on_message(self, message: MpiMessage) -> None:
        """Handle a message of the agent."""
        if isinstance(message, FenceComplete):
            done, token = self._fences.pop(message.fence)
            self._call_back(
                done, token, pmix.SUCCESS, b"".join(base64.b64decode(part[_BLOB]) for part in message.parts)
            )
        elif isinstance(message, DataReply):
            done, token = self._wants.pop(message.number)
            self._call_back(done, token, message.status, base64.b64decode(message.data))
        elif isinstance(message, DataRequest):
            with self._lock:
                self._count += 1
                number = self._count
            self._requests[number] = (message.from_, message.number)
            proc = pmix.Proc(self._nspace.encode(), message.rank)
            code = self._library.PMIx_server_dmodex_request(proc, self._replied, number)
            if code != pmix.SUCCESS:
                self._dmodex_reply(code, None, 0, number)

    def _call_back(self, function: Any, token: Any, status: int, data: bytes) -> None:
        with self._lock:
            self._count += 1
            number = self._count
        buffer = ctypes.create_string_buffer(data, len(data)) if data else None
        self._alive[number] = buffer
        pointer = ctypes.cast(buffer, ctypes.c_void_p) if buffer is not None else None
        pmix.ModexDone(function)(status, pointer, len(data), token, self._released, number)

    def send(self, message: MpiMessage) -> None:
        """Send a message to the agent."""
        with self._lock:
            send_to_agent(self._sock, message)


def _text(data: Any, size: int) -> str:
    return base64.b64encode(ctypes.string_at(data, size) if data and size else b"").decode()


def _variables(array: Any) -> dict[str, str]:
    result = {}
    index = 0
    while array and array[index]:
        name, _, value = array[index].decode(errors="surrogateescape").partition("=")
        result[name] = value
        index += 1
    return result


def serve(sock: socket.socket, plan: PmixPlan, node_id: int, path: str, folder: str) -> None:
    """Run the server until the agent closes the socket; then remove ``folder``."""
    try:
        server = PmixServer(sock, plan, node_id, path, folder)
        try:
            variables = server.start()
        except OSError as error:
            server.send(ServerFailed(reason=str(error)))
            return
        server.send(ServerReady(variables=variables, folder=folder))
        reader = wire.FrameReader()
        while True:
            data = sock.recv(1 << 18)
            if not data:
                return
            for _kind, payload in reader.feed(data):
                server.on_message(MpiMessage.decode(json.loads(payload)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
