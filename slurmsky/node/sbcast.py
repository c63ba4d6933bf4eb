"""sbcast: a file of this node is copied to every node of the job."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import transport, wire
from .channel import Channel
from .host import TASK_INPUT

if TYPE_CHECKING:
    from .agent import Agent
    from .jobs import Job

BLOCK = 1 << 18


class Writer:
    """The copy on one node: written beside its place, put there when it is whole."""

    def __init__(self, path: str, mode: int, force: bool, times: Optional[list[float]]) -> None:
        self.path = path
        self.times = times
        self.error = 0
        self._fd = -1
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if force else os.O_EXCL)
        try:
            if force:
                # A program that is being executed cannot be written to; its name can be given to a new file.
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    self.error = 0
            self._fd = os.open(path, flags, mode)
            os.fchmod(self._fd, mode)
        except OSError as error:
            self.error = error.errno or errno.EIO

    def write(self, data: bytes) -> None:
        """One block; empty: that was all."""
        if self._fd < 0:
            return
        try:
            if data:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._fd, view) :]
                return
            if self.times is not None:
                os.utime(self._fd, (self.times[0], self.times[1]))
        except OSError as error:
            self.error = error.errno or errno.EIO
        os.close(self._fd)
        self._fd = -1


def serve_file(channel: Channel, message: dict[str, Any]) -> None:
    """The receiving half on another node; answers with the errno, 0 for success."""
    writer = Writer(message["path"], message["mode"], message["force"], message["times"])

    def received(kind: bytes, payload: bytes) -> None:
        if kind == TASK_INPUT:
            writer.write(payload)
            if not payload:
                channel.send_json({"ev": "file", "errno": writer.error})
                channel.close()

    channel.on_frame = received
    channel.on_close = lambda: writer.write(b"")


class _Copy:
    """One sbcast."""

    def __init__(self, agent: Agent, channel: Channel, job: Job, request: wire.Request, query: Any) -> None:
        self.agent = agent
        self.channel = channel
        self.job = job
        self.request = request
        self.query = query
        self.code = 0
        self.waiting = 0
        self._fd = -1
        self._local: Optional[Writer] = None
        self._peers: list[Channel] = []
        self._done = False

    def start(self) -> None:
        """Open the source, say hello to all nodes, begin to copy."""
        path = os.path.join(self.request.cwd, self.query.source)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            facts = os.fstat(self._fd)
        except OSError as error:
            self._finish("sbcast: error: Can't open `%s`: %s\n" % (self.query.source, error.strerror), 255)
            return
        if not stat.S_ISREG(facts.st_mode):
            self._finish("sbcast: error: Can't mmap file `%s`, No such device.\n" % self.query.source, 255)
            return
        target = os.path.join(self.request.cwd, self.query.destination)
        mode = stat.S_IMODE(facts.st_mode)
        times = [facts.st_atime, facts.st_mtime] if self.query.preserve else None
        message = {
            "op": "file",
            "path": target,
            "mode": mode,
            "force": bool(self.query.force),
            "times": times,
        }
        for share in self.job.launch.shares:
            if share.name == self.agent.node:
                self._local = Writer(target, mode, bool(self.query.force), times)
                continue
            if share.address.startswith(transport.UNIX):
                continue  # a virtual node of this machine has the same files
            try:
                peer = self.agent.connect(share.address)
            except OSError as error:
                self._failed(share.name, error.errno or errno.EIO)
                continue
            self._peers.append(peer)
            self.waiting += 1
            peer.on_frame = self._answer(share.name, peer)
            peer.on_close = self._lost(share.name)
            peer.on_drain = self._pump
            peer.send_json({"op": "hello", "role": "agent"})
            peer.send_json(message)
        self._pump()

    def _answer(self, node: str, peer: Channel) -> Callable[[bytes, bytes], None]:
        def received(_kind: bytes, payload: bytes) -> None:
            number = int(json.loads(payload)["errno"])
            peer.on_close = lambda: None
            if number:
                self._failed(node, number)
            self.waiting -= 1
            self._check()

        return received

    def _lost(self, node: str) -> Callable[[], None]:
        def lost() -> None:
            self._failed(node, errno.ECONNRESET)
            self.waiting -= 1
            self._check()

        return lost

    def _failed(self, node: str, number: int) -> None:
        self.code = number
        self.channel.send(
            wire.STDERR,
            ("sbcast: error: REQUEST_FILE_BCAST(%s): %s\n" % (node, os.strerror(number))).encode(),
        )

    def _pump(self) -> None:
        while self._fd >= 0 and not any(peer.full for peer in self._peers):
            data = os.read(self._fd, BLOCK)
            if self._local is not None:
                self._local.write(data)
            for peer in self._peers:
                peer.send(TASK_INPUT, data)
            if not data:
                os.close(self._fd)
                self._fd = -1
                if self._local is not None and self._local.error:
                    # What stands in the way on one virtual node of this machine does so on all.
                    for share in self.job.launch.shares:
                        if share.name == self.agent.node or share.address.startswith(transport.UNIX):
                            self._failed(share.name, self._local.error)
        self._check()

    def _check(self) -> None:
        if self._fd < 0 and self.waiting == 0:
            self._finish("", self.code)

    def _finish(self, text: str, code: int) -> None:
        if self._done:
            return
        self._done = True
        if text:
            self.channel.send(wire.STDERR, text.encode(errors="surrogateescape"))
        self.channel.send(wire.EXIT, b"%d" % code)
        self.channel.close()


def serve_sbcast(agent: Agent, channel: Channel, request: wire.Request, payload: bytes) -> None:
    """One sbcast request."""
    from ..options.errors import CommandError
    from ..options.query import parse_sbcast
    from .clients import elsewhere, leave, parse_context, relay

    try:
        query = parse_sbcast(request.args, parse_context(request))
    except CommandError as error:
        leave(channel, error.exit_code, "".join(line + "\n" for line in error.lines), error.stdout)
        return
    job_id = query.jobid.job_id if query.jobid is not None else 0
    job = agent.jobs.get(job_id)
    if job is None or job.ended:
        address = agent.heads.get(job_id) or elsewhere(agent, job_id)
        if address:
            relay(agent, channel, payload, address, "sbcast")
        else:
            leave(
                channel, 255, "sbcast: error: Slurm job %d lookup error: Invalid job id specified\n" % job_id
            )
        return
    _Copy(agent, channel, job, request, query).start()
