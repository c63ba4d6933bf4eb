"""The node's daemon: listens, knows the jobs of this node, speaks with the controller, clients and other
agents.

``slurmsky.agent.__main__`` starts it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from typing import Any, Callable, Iterator, Optional

from ...model.allocation import Launch
from ...protocol import wire
from ..job.journal import JobLog, Journal, Key
from ..job.launch_codec import LaunchReader
from ..job.version import VERSION
from ..net import endpoints
from ..net.channel import Channel
from ..net.event_loop import READ, Loop, Timer
from ..net.spare import SpareDescriptor
from ..process import processes, startup_files
from ..process.orphans import Orphans, Owner
from ..process.process_usage import Sampler
from .controller_start import ControllerStart
from .head_job import ORDERS, HeadJob

#: a job's start is told together with its end when that comes within so many seconds
START_TOLD_S = 0.005
#: an agent without jobs and without a controller leaves after so many seconds
IDLE_S = 120.0
#: how long one that leaves waits for those who came and have not said who they are
LEAVE_S = 5.0
NODE_FACTS_S = 60.0
#: in the journal, the run of a job whose head is another node
_HOSTED = -1
#: variables that lead the commands inside a job to us
AGENT_VARIABLE = "SLURMSKY_AGENT"
NODE_RANK = "SKYPILOT_NODE_RANK"  # SkyPilot's, which it gives each node
HOME_VARIABLE = "SLURMSKY_HOME"
BIN_VARIABLE = "SLURMSKY_BIN"


class Agent:
    """One node. ``folder`` (``<home>/nodes/<node>``) holds its socket, lock and index of jobs."""

    def __init__(self, loop: Loop, node: str, home: str, address: str, controller: str, bin_folder: str = "") -> None:
        self.loop = loop
        self.node = node
        self.home = home
        self.folder = os.path.join(home, "nodes", node)
        self.images = os.path.join(home, "containers")  # shared by the virtual nodes of a machine
        self.address = address
        self.controller_address = controller
        self.bin_folder = bin_folder
        self._bash_env: Optional[str] = None  # the file for BASH_ENV; "" where there is none
        #: host:port for the agents of other nodes (TLS), where they cannot reach a unix socket
        self.peer_address = ""
        #: starts the controller again, where that is on this machine
        self.controller_start: Optional[ControllerStart] = None
        self.tls_client: Optional[Any] = None
        self.tls_server: Optional[Any] = None
        self.jobs: dict[int, HeadJob] = {}
        self.remains: dict[Key, JobLog] = {}  # jobs of an agent that died here, until they are acknowledged
        self.sampler = Sampler(loop)
        self.orphans = Orphans(loop.is_child, self._owners)
        #: steps hosted here for jobs whose head is another node: (job, step) -> boot time of its start
        self.hosted: dict[tuple[int, str], float] = {}
        #: head agents of the jobs that have or had steps here: srun called by a task is passed on to it
        self.heads: dict[int, str] = {}
        #: connections of head agents whose jobs have a part of this node: for so long we stay
        self._held: set[Channel] = set()
        self._unknown: set[Channel] = set()  # came, and have not said who they are
        self._listeners: list[socket.socket] = []
        self._spare = SpareDescriptor("the agent of node %s" % node)
        self._leave_by = 0.0
        self._head_due = 0.0  # until then the head of a job on this node may connect
        self._holds: dict[int, list[Channel]] = {}
        self.journal = Journal(os.path.join(self.folder, "journal"))
        self._launches = LaunchReader()
        self._foreign = ""  # the controller's version, when it is not ours
        self._arrived: list[HeadJob] = []
        self._later: Optional[Timer] = None
        self._controller: Optional[Channel] = None
        self._dirty: dict[int, HeadJob] = {}
        self._flushing = False
        self._idle_since = time.monotonic()
        self._leave_when_idle = False
        self._facts_due = 0.0
        #: seconds without a job and without a controller after which the agent leaves
        self.idle_s = IDLE_S
        #: further services (``kept.Service``): connections by the role of their hello, controller messages by
        #: their op, and what the controller is sent when it comes
        self.roles: dict[str, Callable[[Channel], None]] = {}
        #: commands that this agent runs itself, by name; each value imports its handler
        self.commands: dict[str, Callable[[], Any]] = {}
        self.services: dict[str, Callable[[Channel, dict[str, Any]], None]] = {}
        self.greetings: list[Callable[[], dict[str, Any]]] = []
        loop.on_orphans = self._orphans_reaped

    # --- listening
    def listen(self) -> None:
        """Open the socket(s). Raises OSError when another agent of this node is alive."""
        for address in (self.address, self.peer_address):
            if address:
                sock = endpoints.listen(address)
                sock.setblocking(False)
                self._listeners.append(sock)
                self.loop.watch(sock.fileno(), READ, lambda _events, sock=sock: self._accept(sock))  # type: ignore[misc]
        self.loop.after(min(5.0, self.idle_s), self._tick)

    def _accept(self, listener: socket.socket) -> None:
        for sock in endpoints.accept(listener, self._spare):
            if sock.family == socket.AF_UNIX:
                self._greet(Channel(self.loop, sock))
            else:
                from ..net.tls_channel import accept

                accept(self.loop, sock, self.tls_server, self._greet)

    def _greet(self, channel: Channel) -> None:
        def first(kind: bytes, payload: bytes) -> None:
            channel.on_frame = lambda kind, payload: None
            self._unknown.discard(channel)
            if kind == wire.REQUEST:
                from .client_requests import serve

                serve(self, channel, payload)
                return
            try:
                hello = json.loads(payload) if kind == wire.JSON else {}
            except ValueError:
                hello = {}
            if hello.get("op") != "hello":
                channel.close(at_once=True)
            elif hello.get("role") == "controller":
                self._controller_came(channel, str(hello.get("version", "")))
            elif hello.get("role") == "holder":
                held()
            elif hello.get("role") in self.roles:
                self.roles[hello["role"]](channel)
            else:
                from ..steps.remote_host import serve_agent

                serve_agent(self, channel)

        def held() -> None:
            self._held.add(channel)
            self._head_due = 0.0
            channel.on_close = let_go

        def let_go() -> None:
            self._held.discard(channel)
            if self._leave_when_idle:
                self._leave_if_idle()

        self._unknown.add(channel)
        channel.on_close = lambda: self._unknown.discard(channel)
        channel.on_frame = first

    def connect(self, address: str) -> Channel:
        """A channel to another agent. Raises OSError."""
        from ..steps.step_run import connect

        return connect(self, address)

    # --- the controller
    def _controller_came(self, channel: Channel, version: str = "") -> None:
        self._foreign = version if version != VERSION else ""
        if self._controller is not None:
            # Its successor speaks, so it is dead: what it still said counts, and comes first.
            self._controller.drain()
        self._flush()
        self._controller = channel
        self._leave_when_idle, self._leave_by = False, 0.0
        self._launches = LaunchReader()
        channel.on_frame = self._from_controller
        channel.on_close = lambda: self._controller_left(channel)
        channel.send_json(self._node_facts())
        for greeting in self.greetings:
            channel.send_json(greeting())
        known = [log for log in self.journal.logs.values() if log.head]
        for log in known:
            for _, line in log.unacked:
                channel.send(wire.JSON, line)
        # Whoever is not in this list is not here: its launch was lost and may be repeated.
        channel.send_json({"ev": "jobs", "node": self.node, "jobs": [list(log.key) for log in known]})

    def _controller_left(self, channel: Channel) -> None:
        if self._controller is channel:
            self._controller = None
            self._idle_since = time.monotonic()
            if self.controller_start is not None and self.needs_controller():
                self.controller_start.soon()

    def needs_controller(self) -> bool:
        """Whether the controller is gone without having said that it leaves."""
        return self._controller is None and not self._leave_when_idle and os.path.isdir(self.folder)

    def _from_controller(self, kind: bytes, payload: bytes) -> None:
        if kind != wire.JSON:
            return
        try:
            self._obey(json.loads(payload))
        except Exception:  # of this message; those that came with it follow
            self.loop.report()

    def _launch(self, message: dict[str, Any]) -> None:
        """Take a job on, or answer that it cannot be: a launch without an answer would count as running for ever."""
        try:
            if self._foreign:
                raise ValueError("the controller is of version %s, this agent of %s" % (self._foreign, VERSION))
            launch = self._launches.launch(message)
        except Exception as error:
            self.loop.report()
            job_id = (message.get("launch") or {}).get("job_id")
            refusal = {"ev": "refused", "job_id": job_id, "comment": "%s: %s" % (type(error).__name__, error)}
            if self._controller is not None:
                self._controller.send_json(refusal)
            return
        self.launch(launch)

    def _obey(self, message: dict[str, Any]) -> None:
        operation = str(message.get("op"))
        if operation == "launch":
            self._launch(message)
        elif operation == "ack":
            for log in [log for log in self.journal.logs.values() if log.key[0] == message["job_id"] and log.head]:
                self._ack(log.key, message["seq"])
        elif operation == "acks":
            for job_id, run, seq in message["acks"]:
                self._ack((job_id, run), seq)
        elif operation == "exit":
            self._leave_when_idle = True
            if message.get("expected") and not self._held:
                # The launch that makes another node the head of a job here was sent in the same moment.
                self._head_due = time.monotonic() + 2 * LEAVE_S
            self._leave_if_idle()
        elif operation in self.services:
            if self._controller is not None:
                self.services[operation](self._controller, message)
        else:
            job = self.jobs.get(message.get("job_id", -1))
            order = ORDERS.get(operation)
            if job is not None and order is not None:  # else it has ended, and the event that says so is on its way
                order(job, message)

    def launch(self, launch: Launch) -> None:
        """Take a job on. A run that is here already, or was, is not started again: the controller may ask twice."""
        key = (launch.job_id, launch.restart_count)
        if key in self.journal.logs:
            return
        # The controller knows that an earlier run is over.
        known = self.jobs.pop(launch.job_id, None)
        if known is not None:
            if not known.ended:
                known.abandon()
            self._forget(known.log)
        for log in [log for log in self.remains.values() if log.key[0] == launch.job_id]:
            self._forget(log)
        job = HeadJob(self, launch, self.journal.come(*key, processes.now_boot()))
        self.jobs[launch.job_id] = job
        self._arrived.append(job)
        self._flush_soon()

    def batch_environment(self, launch: Launch) -> dict[str, str]:
        """The environment of a batch script here."""
        return self._launches.environment(launch, self.add_own_variables)

    def _start(self, job: HeadJob) -> None:
        if job.cause or job.ended:
            return  # cancelled between its coming and its start
        try:
            self._hold(job)
            job.start()
        except OSError as error:
            print("job %d: %s" % (job.job_id, error), file=sys.stderr, flush=True)
            job.ended = True
            job.emit(
                {
                    "ev": "ended",
                    "time": time.time(),
                    "state": "NODE_FAIL",
                    "exit_code": 0,
                    "exit_signal": 0,
                    "reason": "NodeDown",
                    "comment": "the node's agent could not start it: %s" % error,
                }
            )
            self.job_ended(job)
        except Exception:
            # An error of our own, which another attempt would meet again.
            self.loop.report()
            job.ended = True
            job.emit({"ev": "ended", "time": time.time(), "state": "FAILED", "exit_code": 1, "exit_signal": 0,
                      "reason": "JobLaunchFailure"})  # fmt: skip
            self.job_ended(job)

    def _hold(self, job: HeadJob) -> None:
        """Connect to the agents of the job's other nodes: they stay while it runs, and their death ends it.

        An agent of this machine that closes the connection is dead, and with it all that the job had on its node; the
        controller may be away at that moment, and would find only the next agent. Raises OSError where such an agent
        does not answer. A connection to another machine may break while its node lives: SkyPilot watches those.
        """
        addresses = {share.address for share in job.launch.every_share[1:]} - {self.address}
        for address in sorted(addresses):
            local = address.startswith(endpoints.UNIX)
            try:
                channel = self.connect(address)
            except OSError as error:
                if local:
                    raise OSError(error.errno, "%s: %s" % (address, error.strerror or error)) from error
                print("job %d: %s: %s" % (job.job_id, address, error), file=sys.stderr, flush=True)
                continue
            channel.send_json({"op": "hello", "role": "holder"})
            if local:
                channel.on_close = job.node_lost
            self._holds.setdefault(job.job_id, []).append(channel)

    # --- events
    def changed(self, job: HeadJob, soon: bool = True) -> None:
        """The job has a new event: written and sent at the end of this round, or a little later."""
        self._dirty[job.job_id] = job
        if soon:
            self._flush_soon()
        elif self._later is None:
            self._later = self.loop.after(START_TOLD_S, self._flush)

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
            # Better told without a journal than not told: the controller commits it all the same.
            print("%s: %s" % (self.journal.path, error.strerror), file=sys.stderr, flush=True)
        for job in dirty.values():
            for line in job.log.take_unsent():
                if self._controller is not None:
                    self._controller.send(wire.JSON, line)
        # Only now, when a successor of ours would know of them.
        arrived, self._arrived = self._arrived, []
        for job in arrived:
            self._start(job)
        if self._leave_when_idle:
            self._leave_if_idle()

    def _ack(self, key: Key, seq: int) -> None:
        log = self.journal.logs.get(key)
        if log is not None and log.ack(seq):
            job = self.jobs.get(key[0])
            if job is not None and job.log is log:
                del self.jobs[key[0]]
            self._forget(log)
            if self._leave_when_idle:
                self._leave_if_idle()

    def _forget(self, log: JobLog) -> None:
        self.remains.pop(log.key, None)
        self.journal.gone(log)
        if not self.journal.logs:
            self._flush_soon()  # else with the next events; a lost line only makes a successor tell twice

    def job_ended(self, job: HeadJob) -> None:
        """Forget the job's processes; its events stay until they are acknowledged."""
        for channel in self._holds.pop(job.job_id, ()):
            channel.on_close = lambda: None
            channel.close()
        self.orphans.forget(job.job_id)

    def hosting(self, job_id: int, head: str) -> None:
        """A step of a job whose head is another node comes here."""
        self.heads[job_id] = head
        self.journal.come(job_id, _HOSTED, processes.now_boot(), head=False)
        self._flush()

    def hosted_no_more(self, key: tuple[int, str]) -> None:
        """A step has ended here; with the job's last one the job is gone, too."""
        self.hosted.pop(key, None)
        log = self.journal.logs.get((key[0], _HOSTED))
        if log is not None and not any(job_id == key[0] for job_id, _ in self.hosted):
            self._forget(log)

    def _node_facts(self) -> dict[str, Any]:
        self._facts_due = time.monotonic() + NODE_FACTS_S
        free = 0
        try:
            with open("/proc/meminfo") as file:
                for line in file:
                    if line.startswith("MemFree:"):
                        free = int(line.split()[1]) // 1024
                        break
        except OSError:
            free = 0
        return {
            "ev": "node",
            "node": self.node,
            "version": VERSION,
            "cpus": os.cpu_count() or 1,
            "load": round(os.getloadavg()[0], 2),
            "free_mib": free,
            "pid": os.getpid(),
            "time": time.time(),
        }

    # --- processes
    def _owners(self) -> Iterator[tuple[Owner, float]]:
        """Whose processes may be here, each with the boot time of its coming."""
        for job in self.jobs.values():
            if not job.ended:
                yield (job.job_id, "batch"), job.began
        yield from self.hosted.items()

    def _orphans_reaped(self) -> None:
        for job in list(self.jobs.values()):
            job.orphan_reaped()

    def add_own_variables(self, env: dict[str, str]) -> None:
        """What leads a job's commands to us; the launchers come first on PATH unless they are on it."""
        env[AGENT_VARIABLE] = self.address[len(endpoints.UNIX) :]
        env[HOME_VARIABLE] = self.home
        if NODE_RANK in env:  # the batch script's environment comes with a step; this is another node of the job
            env[NODE_RANK] = os.environ.get(NODE_RANK, env[NODE_RANK])
        if self.bin_folder:
            env[BIN_VARIABLE] = self.bin_folder
            path = env.get("PATH")
            # A job without PATH (--export=NIL) stays without: `srun bash` must fail there as it does under
            # Slurm.
            if path is not None and self.bin_folder not in path.split(":"):
                env["PATH"] = self.bin_folder + ":" + path
            if path is not None:
                if self._bash_env is None:
                    self._bash_env = startup_files.write_bash_env(self.folder, self.bin_folder)
                if self._bash_env:
                    startup_files.add_bash_env(env, self._bash_env)

    # --- life
    def recover(self) -> None:
        """End what a dead agent of this node left behind; its jobs ended with it."""
        logs = self.journal.recover()
        lost = [log for log in logs if not log.ended]
        if lost:
            from ..job.recovery import close, kill_jobs, leaders

            kill_jobs({log.key[0] for log in lost}, self.address[len(endpoints.UNIX) :], leaders(lost))
            for log in lost:
                if log.head:
                    close(log, self.node)
                    log.take_unsent()  # told with all the others when the controller comes
                else:
                    self.journal.gone(log)
        self.remains = dict(self.journal.logs)
        try:
            self.journal.flush()
        except OSError as error:
            print("%s: %s" % (self.journal.path, error.strerror), file=sys.stderr, flush=True)

    def _tick(self) -> None:
        self.loop.after(min(5.0 if self.jobs else 15.0, self.idle_s), self._tick)
        if self._controller is None and not os.path.exists(self.folder):
            # State removed under us: no controller will find us again, and an allocation that only waits for
            # a word from it would wait for ever. What runs a program goes on to its end.
            self._leave_when_idle = True
            for job in [job for job in self.jobs.values() if job.batch is None and not job.ended]:
                job.terminate("CANCELLED", signal.SIGTERM)
        if self._controller is not None and self.jobs and time.monotonic() >= self._facts_due:
            self._controller.send_json(self._node_facts())
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        # What is over but not acknowledged stands in the journal; the next agent tells it.
        if self.hosted or self._held or any(not job.ended for job in self.jobs.values()):
            self._idle_since = time.monotonic()
            self._leave_by = 0.0
            return
        if self._leave_when_idle or (self._controller is None and time.monotonic() - self._idle_since > self.idle_s):
            # A head agent that came before we were told to leave holds us, but may not have been heard yet.
            for listener in self._listeners:
                self._accept(listener)
            self._leave_by = self._leave_by or time.monotonic() + LEAVE_S
            if time.monotonic() < (self._leave_by if self._unknown else self._head_due):
                self.loop.after(0.05, self._leave_if_idle)
            else:
                self.loop.stop()

    def shut_down(self) -> None:
        """End by SIGTERM: the node goes down, with all that runs on it."""
        for job in self.jobs.values():
            if not job.ended:
                job.terminate("NODE_FAIL", signal.SIGKILL)
        processes.send(processes.tree(processes.children(os.getpid())), signal.SIGKILL)
        self.loop.stop()
