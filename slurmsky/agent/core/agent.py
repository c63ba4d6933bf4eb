"""The daemon of one node: serves the controller, clients and other agents.

``slurmsky.agent.__main__`` starts the daemon.

The module exceeds 400 lines because it connects all parts of a node.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any, Callable, Iterator, Optional

from ...model.allocation import Launch
from ...protocol import wire
from ...protocol.messages import (
    Acknowledge,
    AgentRequest,
    DropFollowers,
    Ended,
    Event,
    Exit,
    FollowersDropped,
    JobList,
    JobRequest,
    LaunchJob,
    LaunchRefused,
    NodeStatus,
)
from ..job.agent_variables import AgentVariables
from ..job.journal import JobLog, Journal, Key
from ..job.launch_codec import LaunchReader
from ..job.version import VERSION
from ..net import endpoints
from ..net.channel import Channel
from ..net.event_loop import Loop, Timer
from ..process import process_tree
from ..process.memory_groups import MemoryGroups
from ..process.orphans import Orphans, Owner
from ..process.process_usage import Sampler
from .agent_connections import AgentConnections
from .controller_restart import ControllerRestart
from .head_job import HeadJob
from .node_holds import NodeHolds

#: seconds by which a "started" event is delayed, so that a short job sends its start and end in one batch
START_DELAY_S = 0.005
#: seconds after which an agent without jobs and without a controller exits
IDLE_S = 120.0
#: seconds for which an exiting agent waits for the hello of connected peers
LEAVE_S = 5.0
NODE_STATUS_S = 60.0
#: run number in the journal for a job whose head is another node
_HOSTED = -1


class Agent:
    """Agent of one node. ``folder`` (``<home>/nodes/<node>``) holds its socket, lock and journal."""

    def __init__(self, loop: Loop, node: str, home: str, address: str, controller: str, bin_folder: str = "") -> None:
        self.loop = loop
        self.node = node
        self.home = home
        self.folder = os.path.join(home, "nodes", node)
        self.images = os.path.join(home, "containers")  # shared by the virtual nodes of a machine
        self.address = address
        self.controller_address = controller
        self.bin_folder = bin_folder
        self.variables = AgentVariables(address[len(endpoints.UNIX) :], home, self.folder, bin_folder)
        #: restarts the controller; None unless the controller runs on this machine
        self.controller_restart: Optional[ControllerRestart] = None
        self.tls_client: Optional[Any] = None
        self.tls_server: Optional[Any] = None
        self.jobs: dict[int, HeadJob] = {}
        self.earlier_jobs: dict[Key, JobLog] = {}  # jobs of a dead agent of this node, until acknowledged
        self.sampler = Sampler(loop)
        self.memory = MemoryGroups(address)
        self.orphans = Orphans(loop.is_child, self._owners)
        #: steps hosted here for jobs whose head is another node: (job, step) -> boot time of the step's start
        self.hosted: dict[tuple[int, str], float] = {}
        #: job id -> address of its head agent, for jobs with steps here; a task's srun is relayed there
        self.heads: dict[int, str] = {}
        self.connections = AgentConnections(self)
        self._exit_deadline = 0.0
        self._head_due = 0.0  # monotonic: until then wait for the head agent of a job on this node to connect
        self.holds = NodeHolds(address, self.connect)
        self.journal = Journal(os.path.join(self.folder, "journal"))
        self._launches = LaunchReader()
        self._other_version = ""  # the controller's version, if it differs from this agent's
        self._arrived: list[HeadJob] = []
        #: launches that wait for the end of a running job, by that job's id; they are in memory only
        self._followers: dict[int, list[Launch]] = {}
        self._later: Optional[Timer] = None
        self._controller: Optional[Channel] = None
        self._dirty: dict[int, HeadJob] = {}
        self._flushing = False
        self._idle_since = time.monotonic()
        self._exit_when_idle = False
        self._status_due = 0.0
        #: seconds without a job and without a controller after which the agent exits
        self.idle_s = IDLE_S
        self.teardown_s = 0.0  # seconds in which SIGTERM reaches all processes of a node that is taken down
        # The next three attributes and ``connections.roles`` are hooks of further services (``WarmNodeService``).
        #: commands that this agent runs without the controller, by name; each value imports its handler
        self.commands: dict[str, Callable[[], Any]] = {}
        #: handlers of controller messages, by their op
        self.services: dict[type[AgentRequest], Callable[[Channel, Any], None]] = {}
        #: builders of the messages to a newly connected controller
        self.greetings: list[Callable[[], Event]] = []
        loop.on_orphans = self._orphans_reaped

    def listen(self, peer_address: str = "") -> None:
        """Open the listening sockets.

        Raises OSError if another agent of this node is alive. ``peer_address``: host:port (TLS) for agents of other
        machines, which cannot reach a unix socket.
        """
        self.variables.host = peer_address.rpartition(":")[0]
        self.connections.listen(self.address, peer_address)
        self.loop.after(min(5.0, self.idle_s), self._tick)

    def connect(self, address: str) -> Channel:
        """Open a channel to another agent. Raises OSError."""
        from ..steps.step_run import connect

        return connect(self, address)

    # --- the controller
    def controller_connected(self, channel: Channel, version: str = "") -> None:
        """Report this node's jobs to a new controller, and accept its requests."""
        self._other_version = version if version != VERSION else ""
        if self._controller is not None:
            # A successor has connected, so the former controller is dead: apply its unread messages first.
            self._controller.drain()
        self._flush()
        self._controller = channel
        self._exit_when_idle, self._exit_deadline = False, 0.0
        self._launches = LaunchReader()
        self._followers.clear()
        channel.on_frame = self._from_controller
        channel.on_close = lambda: self._controller_left(channel)
        channel.send_json(self._node_status().encode())
        for greeting in self.greetings:
            channel.send_json(greeting().encode())
        known = [log for log in self.journal.logs.values() if log.head]
        for log in known:
            for _, line in log.unacked:
                channel.send(wire.JSON, line)
        # A job missing from this list is not on this node: the controller may send its launch again.
        channel.send_json(JobList(node=self.node, jobs=tuple(log.key for log in known)).encode())

    def send_to_controllers(self, build: Callable[[], Event]) -> None:
        """Send a message to this and each later controller."""
        self.greetings.append(build)
        if self._controller is not None:
            self._controller.send_json(build().encode())

    def _controller_left(self, channel: Channel) -> None:
        if self._controller is channel:
            self._controller = None
            self._followers.clear()
            self._idle_since = time.monotonic()
            if self.controller_restart is not None and self.needs_controller():
                self.controller_restart.schedule()

    def needs_controller(self) -> bool:
        """True if the controller disconnected without announcing its exit."""
        return self._controller is None and not self._exit_when_idle and os.path.isdir(self.folder)

    def _from_controller(self, kind: bytes, payload: bytes) -> None:
        if kind != wire.JSON:
            return
        try:
            self._handle_request(AgentRequest.decode(json.loads(payload)))
        except Exception:  # must not stop the messages that follow
            self.loop.report()

    def _launch(self, request: LaunchJob) -> None:
        """Accept or refuse a launch. The controller would count an unanswered launch as running forever."""
        try:
            if self._other_version:
                raise ValueError("the controller is of version %s, this agent of %s" % (self._other_version, VERSION))
            launch = self._launches.launch(request)
        except Exception as error:
            self.loop.report()
            job_id = request.launch.get("job_id", 0)
            refusal = LaunchRefused(job_id=job_id, comment="%s: %s" % (type(error).__name__, error))
            if self._controller is not None:
                self._controller.send_json(refusal.encode())
            return
        if request.behind is None:
            self.launch(launch)
            return
        job = self.jobs.get(request.behind)
        if job is not None and not job.ended:  # else the end of that job is being sent, without a follower
            self._followers.setdefault(request.behind, []).append(launch)

    def _drop_followers(self) -> None:
        self._followers.clear()
        self._flush()  # the ends of jobs whose followers have been started are sent first
        if self._controller is not None:
            self._controller.send_json(FollowersDropped(node=self.node).encode())

    def take_follower(self, job: HeadJob, now: float) -> Optional[Launch]:
        """Return the launch that follows an ending job, or None.

        None if no launch waits, or if a request ended the job.
        """
        waiting = self._followers.pop(job.job_id, None)
        if not waiting or job.cause or self._exit_when_idle:
            return None
        launch = waiting.pop(0)
        launch.start_time = now
        if waiting:
            self._followers[launch.job_id] = waiting
        return launch

    def _handle_request(self, request: AgentRequest) -> None:
        if isinstance(request, LaunchJob):
            self._launch(request)
        elif isinstance(request, Acknowledge):
            for job_id, run, seq in request.acks:
                self._ack((job_id, run), seq)
        elif isinstance(request, DropFollowers):
            self._drop_followers()
        elif isinstance(request, Exit):
            self._exit_when_idle = True
            if request.expected and not self.connections.held:
                # The controller has just launched a job whose head is another node: wait for that head to connect.
                self._head_due = time.monotonic() + 2 * LEAVE_S
            self._leave_if_idle()
        elif isinstance(request, JobRequest):
            job = self.jobs.get(request.job_id)
            if job is not None:  # else the job has ended, and its "ended" event is on the way
                job.handle_request(request)
        elif type(request) in self.services and self._controller is not None:
            self.services[type(request)](self._controller, request)

    def launch(self, launch: Launch) -> None:
        """Accept a job. Ignores a known run, because the controller may repeat a launch."""
        key = (launch.job_id, launch.restart_count)
        if key in self.journal.logs:
            return
        # A launch of a new run means that the controller has ended the earlier run: drop its remains.
        known = self.jobs.pop(launch.job_id, None)
        if known is not None:
            if not known.ended:
                known.abandon()
            self._forget(known.log)
        for log in [log for log in self.earlier_jobs.values() if log.key[0] == launch.job_id]:
            self._forget(log)
        job = HeadJob(self, launch, self.journal.add_run(*key, process_tree.now_boot()))
        self.jobs[launch.job_id] = job
        self._arrived.append(job)
        self._flush_soon()

    def batch_environment(self, launch: Launch) -> dict[str, str]:
        """The environment of a batch script on this node."""
        return self._launches.environment(launch, self.variables.add_to)

    def _start(self, job: HeadJob) -> None:
        if job.cause or job.ended:
            return  # cancelled between launch and start
        try:
            self.holds.hold_nodes(job)
            job.start()
        except OSError as error:
            print("job %d: %s" % (job.job_id, error), file=sys.stderr, flush=True)
            job.ended = True
            why = "the node's agent could not start it: %s" % error
            job.emit(Ended(time=time.time(), state="NODE_FAIL", reason="NodeDown", comment=why))
            self.job_ended(job)
        except Exception:
            # A bug in the agent, which another attempt would trigger again: FAILED, so that the job is not requeued.
            self.loop.report()
            job.ended = True
            job.emit(Ended(time=time.time(), state="FAILED", exit_code=1, reason="JobLaunchFailure"))
            self.job_ended(job)

    # --- events
    def schedule_event(self, job: HeadJob, soon: bool = True) -> None:
        """Schedule the job's new event for journal and controller.

        After this iteration of the loop, or START_DELAY_S later.
        """
        self._dirty[job.job_id] = job
        if soon:
            self._flush_soon()
        elif self._later is None:
            self._later = self.loop.after(START_DELAY_S, self._flush)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        dirty, self._dirty = self._dirty, {}
        try:
            self.journal.flush()
        except OSError as error:
            # Send the events although the journal is not written: the controller commits them to its database.
            print("%s: %s" % (self.journal.path, error.strerror), file=sys.stderr, flush=True)
        for job in dirty.values():
            for line in job.log.take_unsent():
                if self._controller is not None:
                    self._controller.send(wire.JSON, line)
        # Start jobs only after the journal names them, so that a successor of this agent can clean up after them.
        arrived, self._arrived = self._arrived, []
        for job in arrived:
            self._start(job)
        if self._exit_when_idle:
            self._leave_if_idle()

    def _ack(self, key: Key, seq: int) -> None:
        log = self.journal.logs.get(key)
        if log is not None and log.ack(seq):
            job = self.jobs.get(key[0])
            if job is not None and job.log is log:
                del self.jobs[key[0]]
            self._forget(log)
            if self._exit_when_idle:
                self._leave_if_idle()

    def _forget(self, log: JobLog) -> None:
        self.earlier_jobs.pop(log.key, None)
        self.journal.remove_run(log)
        if not self.journal.logs:
            self._flush_soon()  # else written with the next events; a lost line only makes a successor repeat events

    def job_ended(self, job: HeadJob) -> None:
        """Forget the job's processes. Its events stay until they are acknowledged."""
        self._followers.pop(job.job_id, None)
        self.holds.release_all(job.job_id)
        self.orphans.forget(job.job_id)

    def host_step(self, job_id: int, head: str) -> None:
        """Record a hosted step of a job whose head is another node."""
        self.heads[job_id] = head
        self.journal.add_run(job_id, _HOSTED, process_tree.now_boot(), head=False)
        self._flush()

    def unhost_step(self, key: tuple[int, str]) -> None:
        """Forget an ended hosted step, and its job after the last step."""
        self.hosted.pop(key, None)
        log = self.journal.logs.get((key[0], _HOSTED))
        if log is not None and not any(job_id == key[0] for job_id, _ in self.hosted):
            self._forget(log)

    def _node_status(self) -> NodeStatus:
        self._status_due = time.monotonic() + NODE_STATUS_S
        free = 0
        try:
            with open("/proc/meminfo") as file:
                for line in file:
                    if line.startswith("MemFree:"):
                        free = int(line.split()[1]) // 1024
                        break
        except OSError:
            free = 0
        return NodeStatus(node=self.node, version=VERSION, load=round(os.getloadavg()[0], 2), free_mib=free)

    # --- processes
    def _owners(self) -> Iterator[tuple[Owner, float]]:
        """Owners of processes on this node, with their boot time at start."""
        for job in self.jobs.values():
            if not job.ended:
                yield (job.job_id, "batch"), job.began
        yield from self.hosted.items()

    def _orphans_reaped(self) -> None:
        for job in list(self.jobs.values()):
            job.orphan_reaped()

    # --- life
    def recover(self) -> None:
        """Kill the processes of a dead agent, and journal its jobs' ends."""
        self.memory.take_over()
        logs = self.journal.recover()
        lost = [log for log in logs if not log.ended]
        if lost:
            from ..job.recovery import end_lost

            end_lost(self.journal, lost, self.node, self.address[len(endpoints.UNIX) :])
        self.earlier_jobs = dict(self.journal.logs)
        try:
            self.journal.flush()
        except OSError as error:
            print("%s: %s" % (self.journal.path, error.strerror), file=sys.stderr, flush=True)

    def head_agent_left(self) -> None:
        """Exit if the disconnected head agent was the last one."""
        self._head_due = 0.0
        if self._exit_when_idle:
            self._leave_if_idle()

    def _tick(self) -> None:
        self.loop.after(min(5.0 if self.jobs else 15.0, self.idle_s), self._tick)
        if self._controller is None and not os.path.exists(self.folder):
            # The state folder was removed: no controller can reach this agent again. Jobs that only hold an allocation
            # would wait forever, so they are cancelled; batch scripts run to their end.
            self._exit_when_idle = True
            for job in [job for job in self.jobs.values() if job.batch is None and not job.ended]:
                job.terminate("CANCELLED", signal.SIGTERM)
        if self._controller is not None and self.jobs and time.monotonic() >= self._status_due:
            self._controller.send_json(self._node_status().encode())
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        # The journal keeps events without acknowledgement; the next agent of this node sends them.
        if self.hosted or self.connections.held or any(not job.ended for job in self.jobs.values()):
            self._idle_since = time.monotonic()
            self._exit_deadline = 0.0
            return
        if self._exit_when_idle or (self._controller is None and time.monotonic() - self._idle_since > self.idle_s):
            # A head agent may have connected before the order to exit, but its hello is not read yet.
            self.connections.accept_waiting()
            self._exit_deadline = self._exit_deadline or time.monotonic() + LEAVE_S
            if time.monotonic() < (self._exit_deadline if self.connections.unknown else self._head_due):
                self.loop.after(0.05, self._leave_if_idle)
            else:
                self.loop.stop()

    def shut_down(self) -> None:
        """Handle SIGTERM: end the jobs as NODE_FAIL, and kill all processes."""
        for job in self.jobs.values():
            if not job.ended:
                job.terminate("NODE_FAIL", signal.SIGKILL)
        process_tree.send(process_tree.tree(process_tree.children(os.getpid())), signal.SIGKILL)
        self.loop.stop()
