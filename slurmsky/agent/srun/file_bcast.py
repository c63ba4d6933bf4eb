"""Copies a file of this node to every node of the job (sbcast)."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

from ...protocol import wire
from ...protocol.messages import Hello
from ...protocol.step_messages import FileWritten, ReceiveFile, StepPartReport
from ..net import endpoints
from ..net.channel import Channel
from ..steps.file_writer import FileWriter
from ..steps.step_sink import TASK_INPUT

if TYPE_CHECKING:
    from ...model.allocation import NodeShare
    from ...options.requests import SbcastQuery
    from ..core.agent import Agent
    from ..core.head_job import HeadJob

BLOCK = 1 << 18
#: blocks to copy at a time, because the thread serves all jobs of the node
_BLOCKS_AT_ONCE = 64
#: flags that open a file; a FIFO, which is refused then, would block without O_NONBLOCK
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class FileCopy:
    """Copies one file to all nodes.

    ``print_error`` is called with lines without the command's name, ``done`` with the last errno, 0 for success.
    """

    def __init__(
        self,
        agent: Agent,
        shares: Sequence[NodeShare],
        print_error: Callable[[str], None],
        done: Callable[[int], None],
    ) -> None:
        self.agent = agent
        self.shares = shares
        self.code = 0
        self.waiting = 0
        self._print_error = print_error
        self._on_done: Optional[Callable[[int], None]] = done
        self._fd = -1
        self._local: dict[str, tuple[FileWriter, list[str]]] = {}  # path -> writer, virtual nodes of this machine
        self._peers: list[Channel] = []

    def start(self, source: str, target: Callable[[str], str], force: bool, preserve: bool, folder: bool) -> None:
        """Start the copy.

        ``target``: maps a node's name to the path there; ``folder``: create missing folders. Raises OSError if the
        source cannot be opened, ValueError if it is no regular file.
        """
        self._fd = os.open(source, _READ)
        metadata = os.fstat(self._fd)
        if not stat.S_ISREG(metadata.st_mode):
            os.close(self._fd)
            raise ValueError(source)
        mode = stat.S_IMODE(metadata.st_mode)
        times = [metadata.st_atime, metadata.st_mtime] if preserve else None
        for share in self.shares:
            path = target(share.name)
            if share.name == self.agent.node or share.address.startswith(endpoints.UNIX):
                # Virtual nodes of this machine share its files.
                if path not in self._local:
                    self._local[path] = FileWriter(path, mode, force, times, folder), []
                self._local[path][1].append(share.name)
                continue
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
            peer.send_json(Hello(role="agent").encode())
            request = ReceiveFile(path=path, mode=mode, force=force, times=times, folder=folder)
            peer.send_json(request.encode())
        self._pump()

    def _answer(self, node: str, peer: Channel) -> Callable[[bytes, bytes], None]:
        def received(_kind: bytes, payload: bytes) -> None:
            report = StepPartReport.decode(json.loads(payload))
            peer.on_close = lambda: None
            if isinstance(report, FileWritten) and report.errno:
                self._failed(node, report.errno)
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
        self._print_error("error: REQUEST_FILE_BCAST(%s): %s\n" % (node, os.strerror(number)))

    def _pump(self) -> None:
        left = _BLOCKS_AT_ONCE
        while self._fd >= 0 and not any(peer.full for peer in self._peers):
            if not left:
                self.agent.loop.after(0.0, self._pump)
                return
            left -= 1
            data = os.read(self._fd, BLOCK)
            for writer, _ in self._local.values():
                writer.write(data)
            for peer in self._peers:
                peer.send(TASK_INPUT, data)
            if not data:
                os.close(self._fd)
                self._fd = -1
                for writer, nodes in self._local.values():
                    for node in nodes if writer.error else ():
                        self._failed(node, writer.error)
        self._check()

    def _check(self) -> None:
        done = self._on_done
        if self._fd < 0 and self.waiting == 0 and done is not None:
            self._on_done = None
            done(self.code)


#: folders whose libraries are assumed to be on every node (BcastExclude)
EXCLUDED = "/lib,/usr/lib,/lib64,/usr/lib64"


def find_libraries(agent: Agent, path: str, exclude: Optional[str], done: Callable[[list[str]], None]) -> None:
    """Find a program's shared libraries with ldd. Those in excluded folders are omitted."""
    folders = (exclude if exclude is not None else EXCLUDED).split(",")
    if folders[0].lower() == "none":
        folders = []
    listing = os.memfd_create("ldd")
    try:
        pid = os.posix_spawnp("ldd", ["ldd", path], dict(os.environ), file_actions=((os.POSIX_SPAWN_DUP2, listing, 1),))
    except OSError:
        os.close(listing)
        done([])
        return

    def listed(_status: int, _usage: Any) -> None:
        with os.fdopen(listing, "rb") as file:
            file.seek(0)
            text = file.read().decode(errors="surrogateescape")
        found = [
            words[2]
            for words in map(str.split, text.splitlines())
            if len(words) > 2 and words[1] == "=>" and words[2].startswith("/")
        ]
        done([name for name in found if not any(name.startswith(folder.rstrip("/") + "/") for folder in folders)])

    agent.loop.child(pid, listed)


def copy_all(
    agent: Agent,
    shares: Sequence[NodeShare],
    source: str,
    target: Callable[[str], str],
    libraries: Sequence[str],
    print_error: Callable[[str], None],
    done: Callable[[int], None],
) -> None:
    """Copy the program, then its libraries to ``<target>_libs``. Stops at the first failure."""
    left = list(libraries)

    def copy_next(code: int) -> None:
        if code or not left:
            done(code)
            return
        name = left.pop(0)
        try:
            FileCopy(agent, shares, print_error, copy_next).start(
                name, lambda node: "%s_libs/%s" % (target(node), os.path.basename(name)), True, True, True
            )
        except OSError as error:
            print_error("error: Can't open `%s`: %s\n" % (name, error.strerror))
            done(error.errno or errno.EIO)

    FileCopy(agent, shares, print_error, copy_next).start(source, target, True, True, False)


def serve_sbcast(agent: Agent, channel: Channel, request: wire.CommandRequest, payload: bytes) -> None:
    """Serve one sbcast request."""
    from ...options.query import parse_sbcast
    from ...options.usage_errors import CommandError
    from ..core.client_requests import address_for_job, end_session, parse_context, relay

    try:
        query = parse_sbcast(request.args, parse_context(request))
    except CommandError as error:
        end_session(channel, error.exit_code, "".join(line + "\n" for line in error.lines), error.stdout)
        return
    job_id = query.jobid.job_id if query.jobid is not None else 0
    job = agent.jobs.get(job_id)
    if job is None or job.ended:
        address = address_for_job(agent, job_id)
        if address:
            relay(agent, channel, payload, address, "sbcast")
        else:
            end_session(channel, 255, "sbcast: error: Slurm job %d lookup error: Invalid job id specified\n" % job_id)
        return
    _serve(agent, channel, job, request, query)


def _options(query: SbcastQuery, job_id: int, source: str) -> list[str]:
    """First lines of sbcast -v. ``source``: the file's absolute path.

    Source: sbcast/opts.c _print_options, bcast.c.
    """
    rule = "-" * 29
    rows = {
        "block_size": BLOCK,
        "exclude": query.exclude or "(null)",
        "force": "true" if query.force else "false",
        "preserve": "true" if query.preserve else "false",
        "send_libs": "true" if query.send_libs else "false",
        "verbose": query.verbose,
        "source": query.source,
        "dest": query.destination,
    }
    lines = [rule, *("%-10s = %s" % row for row in rows.items()), rule]
    try:
        metadata = os.stat(source)
    except OSError:
        return lines  # the copy itself reports errors of the source
    lines += ["modes    = %o" % metadata.st_mode]
    lines += ["uid      = %d" % metadata.st_uid, "gid      = %d" % metadata.st_gid]
    return [*lines, "jobid      = %d" % job_id, "size     = %d" % metadata.st_size]


def _serve(agent: Agent, channel: Channel, job: HeadJob, request: wire.CommandRequest, query: SbcastQuery) -> None:
    def print_error(text: str) -> None:
        channel.send(wire.STDERR, ("sbcast: " + text).encode(errors="surrogateescape"))

    def finish(code: int) -> None:
        channel.send(wire.EXIT, b"%d" % code)
        channel.close()

    path = os.path.join(request.cwd, query.source)
    for line in _options(query, job.job_id, path) if query.verbose else ():
        print_error(line + "\n")
    shares = job.launch.shares
    offset = query.jobid.het_offset if query.jobid is not None else None
    if offset is not None and offset < len(job.launch.het):
        shares = job.launch.het[offset].shares
    elif job.launch.het:
        every = (share for part in job.launch.het for share in part.shares)
        shares = list({share.name: share for share in every}.values())
    target = os.path.join(request.cwd, query.destination)
    try:
        if query.send_libs:

            def found(libraries: list[str]) -> None:
                copy_all(agent, shares, path, lambda node: target, libraries, print_error, finish)

            os.close(os.open(path, _READ))
            find_libraries(agent, path, query.exclude, found)
            return
        FileCopy(agent, shares, print_error, finish).start(
            path, lambda node: target, query.force, query.preserve, False
        )
    except OSError as error:
        print_error("error: Can't open `%s`: %s\n" % (query.source, error.strerror))
        finish(255)
    except ValueError:
        print_error("error: Can't mmap file `%s`, No such device.\n" % query.source)
        finish(255)
