"""The first node of a cloud job: acts as the job's controller."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Container
from typing import Any, Callable

from ... import paths
from ...model.allocation import Launch
from ...model.job import Job
from ...model.job import Node as NodeRecord
from ...model.states import JobState
from ...protocol.messages import (
    RECOVER,
    Acknowledge,
    AgentRequest,
    Done,
    Ended,
    Event,
    Hello,
    JobEvent,
    JobNode,
    JobRequest,
    LaunchJob,
    LaunchRefused,
    NodeEnds,
    NodeLost,
    OutputNote,
    SessionBegun,
    Started,
    StepChanged,
    TerminateJob,
)
from ..net import endpoints
from ..net.channel import Channel
from ..net.event_loop import Loop, wake
from . import offline_queries, rendezvous, spot_notice
from .cloud_node import CloudNode
from .command_relay import CommandRelay
from .controller_connections import ControllerConnections
from .job_log import JobLogWriter, send_back
from .node_info import CloudNodeInfo
from .outbox import Outbox
from .remote_commands import RemoteCommands
from .run_guard import RunGuard
from .run_members import WorkerNode, assign_shares, end_event, open_tails, records_of
from .step_file_sync import StepFiles

TAIL_S = 0.2  # interval between reads of the output files
TEARDOWN_SIGNALS_S = 1.0  # seconds from the first to the last signal to a node's processes at a teardown
MANY_FILES = 2000  # with more elements, a packed array's folder is scanned once, at the end


class HeadNode:
    """First node of a cloud job, which acts as the job's controller.

    Runs one job, or the elements of an array, as many at a time as there are slots. ``listener``: the socket to which
    the other nodes connect; ``over``: jobs that ended in an earlier run on this node.
    """

    def __init__(
        self, node: CloudNode, once: RunGuard, listener: socket.socket, over: Container[int] = frozenset()
    ) -> None:
        self.node, self.once, self.over = node, once, over
        self.listener = listener
        self.log = JobLogWriter(node.session, node.rank, node.log_key, once.store_frames)
        self.loop = Loop()
        self.members: dict[int, WorkerNode] = {}
        self.waiting: deque[int] = deque()
        self.free = list(range(node.settings.slots))
        self.packed = node.settings.elements is not None
        self.streams = 0
        self.exit_code = 0
        self.terminated = False
        self.alone = False
        self.ends = False  # the cloud has announced that it reclaims a node
        self.others: dict[int, tuple[rendezvous.Line, CloudNodeInfo]] = {}
        self.done: dict[int, threading.Event] = {}
        self.finished_ranks: set[int] = {0}  # ranks whose last event is in the log

    def run(self) -> int:
        """Run the job from rendezvous to cleanup; return its exit code."""
        node = self.node
        server, _client = node.contexts()
        self.log.event(
            SessionBegun(
                session=node.session, restart=node.launch.restart_count, control=self.address, ranks=node.count
            )
        )
        mine = node.info()
        self.others = rendezvous.accept_all(self.listener, server, node.count - 1, node.given)
        for line, _ in self.others.values():
            line.send({"welcome": True})
        names = rendezvous.agree_on_names(node, self.others, mine)
        node.name = names[0]
        for line, _ in self.others.values():
            line.send({"names": names, "session": node.session, "restart": node.launch.restart_count})
        node.prepare(names)
        agent = node.start_agent()
        for rank, (line, _) in self.others.items():
            if not line.receive(120).get("ready"):
                raise rendezvous.RendezvousError("node %s is not ready" % names[rank])
        self.names = names
        self.node_info = [mine, *(self.others[rank][1] for rank in range(1, node.count))]
        self.step_files = StepFiles(node, self.log, self.new_stream, self._batch_files)
        self._connect_agent()
        self.once.note_start(agent.pid)
        for element in node.settings.jobs:
            self.add(element)
        signal.signal(signal.SIGTERM, lambda *_: self.loop.soon(self._end_requested))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.relay = CommandRelay(self.loop, os.path.join(node.home, paths.SOCKET_NAME), node.settings.reach)
        self.relay.offline_queries = offline_queries.OfflineQueries(self._records, self._nodes, node.launch.cluster)
        self.visitors = RemoteCommands(self.loop, node)
        self.last_contact = time.monotonic()
        key, ids, after_s = node.settings.letters
        self.relay.outbox = Outbox(
            self.log, self.new_stream, bytes.fromhex(key), (ids[0], ids[1]), self.is_running, self.end, after_s
        )
        self._watch_nodes()
        if node.settings.spot:
            spot_notice.watch(lambda notice: self._call_in_loop(lambda: self._node_ends(notice.left_s)))
        visitors = {"agent": self.visitors.admit, "session": self.visitors.begin}
        handlers = {"desk": self.relay.park, "client": self.relay.client, **visitors}
        ControllerConnections(self.listener, server, self.loop, self.request, handlers).begin()
        self._send_new()
        self.loop.run()
        return self._finish(agent)

    @property
    def address(self) -> str:
        """Address at which the controller reaches this node."""
        return "%s:%d" % (self.node.addresses[0], self.listener.getsockname()[1])

    def _connect_agent(self) -> None:
        sock = endpoints.connect(endpoints.UNIX + self.node.socket)
        self.channel = Channel(self.loop, sock)
        self.channel.on_frame = self._from_agent
        self.channel.on_close = self._agent_lost
        self.channel.send_json(Hello(role="controller").encode())
        if self.node.note:
            self.log.event(OutputNote(text=self.node.note))

    # --- jobs of this run
    def add(self, element: dict[str, Any]) -> None:
        """Queue a job until a slot is free. ``element``: the launch fields that differ from the settings."""
        launch = Launch.from_dict({**self.node.launch.to_dict(), **self.node.relocated(element)})
        if launch.job_id in self.members or launch.job_id in self.over:
            return
        launch.restart_count = max(launch.restart_count, self.node.launch.restart_count)
        shown = Launch.from_dict({**self.node.settings.launch, **element})
        self.members[launch.job_id] = WorkerNode(launch, shown, jobs=records_of(launch))
        self.waiting.append(launch.job_id)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self.free and self.waiting:
            member = self.members[self.waiting.popleft()]
            member.slot = self.free.pop(0)
            self._begin(member)

    def _begin(self, member: WorkerNode) -> None:
        node, launch = self.node, member.launch
        assign_shares(member, node, self.names, self.node_info, self.packed)
        launch.spool = os.path.join(node.home, "job-%d" % launch.job_id)
        if launch.script is not None:
            launch.script = os.path.join(node.folder, "script")
        launch.start_time = time.time()
        for job, part in zip(member.jobs, launch.parts):
            offline_queries.begin(job, part.shares, launch.start_time)
        open_tails(member, node, self.log, self.new_stream)
        self.channel.send_json(LaunchJob(launch=launch.to_dict()).encode())

    def is_running(self, job_id: int) -> bool:
        """True for a job that is running on these nodes."""
        member = self.members.get(job_id)
        return member is not None and member.slot >= 0 and not member.ended

    def end(self, job_id: int, state: str) -> None:
        """End a running job at its own request. A sealed request in the log informs the controller."""
        wait = self.members[job_id].launch.kill_wait_s
        self.request(TerminateJob(job_id=job_id, state=state, kill_wait_s=wait))

    def _records(self) -> list[Job]:
        """Shipped records of the jobs of this run."""
        return [job for member in self.members.values() for job in member.jobs]

    def _nodes(self) -> list[NodeRecord]:
        """Nodes of the job; empty until the job has begun."""
        begun = [member.launch for member in self.members.values() if member.slot >= 0][:1]
        return [
            offline_queries.node_record(share, info, part.partition)
            for launch in begun
            for (part, share), info in zip(
                ((part, share) for part in launch.parts for share in part.shares), self.node_info
            )
        ]

    def new_stream(self) -> int:
        """An unused stream number of this node."""
        self.streams += 1
        return self.streams - 1

    def _ended(self, member: WorkerNode, event: Ended) -> None:
        """Finish an ended job: send its output, its files, its end event."""
        member.ended = True
        for tail in member.tails:
            tail.send_new(final=True)
        last = all(other.ended for other in self.members.values())
        if last or len(self.node.before) < MANY_FILES:
            self._send_files()
        if last:
            self._finish_others()
        event = event.evolve(by_signal=self.terminated)
        for job in member.jobs:
            # REQUEUED is not a job state: the job has ended on these nodes, and the controller starts the next run.
            job.state = JobState.__members__.get(event.state, JobState.CANCELLED)
            job.end_time = time.time()
            job.exit_code, job.exit_signal = event.exit_code, event.exit_signal
            job.reason = event.reason or "None"
        self.log.event(event)
        if not self.packed:
            self.exit_code = event.process_exit_code
        if member.slot >= 0:
            self.free.append(member.slot)
        if last:
            self.loop.stop()
        elif not self.terminated:
            self._start_waiting()

    def _batch_files(self) -> set[str]:
        return {tail.path for member in self.members.values() for tail in member.tails}

    def _send_files(self) -> None:
        self.step_files.send_new(final=True)
        skip = frozenset(os.path.relpath(path, self.node.shipped_folder) for path in self._batch_files())
        send_back(self.node, self.log, skip | self.step_files.completely_sent(), self.new_stream)

    # --- the agent
    def _from_agent(self, kind: bytes, payload: bytes) -> None:
        event = Event.decode(json.loads(payload))
        member = self.members.get(event.job_id) if isinstance(event, JobEvent) else None
        if member is None or member.ended or member.failed or not isinstance(event, JobEvent):
            return
        if isinstance(event, (Started, StepChanged, Ended)) and event.step is not None:
            for job in member.jobs:
                if event.step.job_id == job.job_id:
                    job.steps[event.step.step_id] = event.step
        if isinstance(event, LaunchRefused):
            self._script_ended(member, end_event(member.launch.job_id, "FAILED", "JobLaunchFailure"))
        elif isinstance(event, Ended):
            self._script_ended(member, event)
        elif isinstance(event, Started):
            shares = zip(member.launch.every_share, self.node_info)
            self.log.event(event.evolve(nodes=tuple(JobNode(share.name, info.ip) for share, info in shares)))
        else:
            self.log.event(event)
        if event.seq:
            self.channel.send_json(Acknowledge(acks=((event.job_id, event.run, event.seq),)).encode())

    def _script_ended(self, member: WorkerNode, event: Ended) -> None:
        """Delay a failed script's end: a teardown may have signalled it first."""
        if self.terminated or not (event.exit_code or event.exit_signal):
            self._ended(member, event)
        else:
            member.failed = True
            self.loop.after(TEARDOWN_SIGNALS_S, lambda: self._ended(member, event))

    def _agent_lost(self) -> None:
        for member in list(self.members.values()):
            if not (member.ended or member.failed):
                self._ended(member, end_event(member.launch.job_id, "NODE_FAIL", "NodeDown"))

    def request(self, request: AgentRequest) -> None:
        """Handle a request of the controller. A job without a slot ends here; the agent handles all others."""
        self.last_contact = time.monotonic()
        if not isinstance(request, JobRequest):
            return  # shows only that the controller is connected
        if isinstance(request, NodeEnds):
            self._node_ends(request.left_s)
            return
        member = self.members.get(request.job_id)
        if member is not None and member.slot < 0 and isinstance(request, TerminateJob):
            self.waiting.remove(member.launch.job_id)
            self._ended(member, end_event(member.launch.job_id, request.state, "None"))
            return
        self.channel.send_json(request.encode())

    def _end_requested(self) -> None:
        """Handle SIGTERM, SkyPilot's teardown of the node. The reason is a cancellation or a preemption."""
        if not self.terminated:
            self._stop(lambda job: TerminateJob(job_id=job.job_id, kill_wait_s=min(job.kill_wait_s, 20)))

    def _stop(self, request: Callable[[Launch], JobRequest]) -> None:
        """End all jobs by a request; jobs that have not begun have no end."""
        self.terminated = True
        for member in self.members.values():
            if member.slot < 0:
                member.ended = True
        self.waiting.clear()
        self._send_to_jobs(request)

    def _send_to_jobs(self, request: Callable[[Launch], JobRequest]) -> None:
        """Send the agent a request for each running job."""
        for member in list(self.members.values()):
            if not (member.ended or member.failed):
                self.channel.send_json(request(member.launch).encode())

    def _node_ends(self, left_s: int) -> None:
        """End the jobs of a reclaimed node in ``left_s`` seconds."""
        if self.terminated or self.ends:
            return
        self.ends, launch = True, self.node.launch
        if launch.spec.requeue is not False and launch.script is not None:
            self._stop(lambda job: NodeEnds(job_id=job.job_id, left_s=left_s))
            return
        while self.waiting:
            job_id = self.waiting.popleft()
            self._ended(self.members[job_id], end_event(job_id, "NODE_FAIL", "NodeDown"))
        self._send_to_jobs(lambda job: NodeEnds(job_id=job.job_id, left_s=left_s))

    # --- the other nodes
    def _watch_nodes(self) -> None:
        for rank, (line, _) in self.others.items():
            self.done[rank] = threading.Event()
            threading.Thread(target=self._watch_node, args=(rank, line), daemon=True).start()

    def _watch_node(self, rank: int, line: rendezvous.Line) -> None:
        try:
            while not line.receive(None).get("done"):
                continue
            self.finished_ranks.add(rank)
            self.done[rank].set()
        except (OSError, ValueError):
            self.done[rank].set()
            lost = NodeLost(job_id=self.node.launch.job_id, node=self.names[rank])
            self._call_in_loop(lambda: self.channel.send_json(lost.encode()))

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        """Call a function in the loop, from a thread."""
        self.loop.soon(call)
        wake()

    # --- output and end
    def _send_new(self) -> None:
        for member in self.members.values():
            if member.slot >= 0 and not member.ended:
                for tail in member.tails:
                    tail.send_new()
        self._end_without_contact()
        self.step_files.send_new()
        self.loop.after(TAIL_S, self._send_new)

    def _end_without_contact(self) -> None:
        """End an allocation after ``alone_s`` without contact. Its controller's machine may be off."""
        limit = self.node.settings.alone_s
        if limit and time.monotonic() - self.last_contact > limit and not self.alone:
            self.alone = True
            text = "no client connected for %d minutes: the nodes are released" % (limit // 60)
            self.log.event(OutputNote(text=text))
            self._send_to_jobs(
                lambda job: TerminateJob(job_id=job.job_id, state="TIMEOUT", kill_wait_s=job.kill_wait_s)
            )

    def _finish_others(self) -> None:
        """Wait until the other nodes have sent their files."""
        for line, _ in self.others.values():
            try:
                line.send({"finish": True})
            except OSError:
                continue  # that node has disconnected
        for done in self.done.values():
            done.wait(300)

    def _finish(self, agent: subprocess.Popen[bytes]) -> int:
        if self.terminated and self.ends:
            self.exit_code = RECOVER
        self.log.event(Done(ranks=tuple(sorted(self.finished_ranks)), by_signal=self.terminated))
        self.once.update_record(code=self.exit_code, by_signal=self.terminated)
        if not self.terminated:
            self.node.note_ended(dict.fromkeys(self.members, self.exit_code))
        for line, _ in self.others.values():
            line.sock.close()
        self.channel.on_close = lambda: None
        agent.terminate()
        try:
            agent.wait(10)
        except subprocess.TimeoutExpired:
            agent.kill()
        self.node.remove_traces()
        return self.exit_code
