"""Services of a warm node's agent in addition to a local agent's.

The controller runs on another machine. Commands inside jobs reach it through connections that the controller parks on
the node (``command_relay``). Scripts are sent by content before the launches that name them. The agent reports the
node's properties, so that the controller can adapt launches to the node.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pwd
import signal
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ... import paths
from ...protocol import wire
from ...protocol.messages import (
    AddHosts,
    CompareFolder,
    Event,
    Hello,
    HostsAdded,
    NodeEnvironment,
    NodeTaken,
    Ping,
    Pong,
    Reached,
    ReachPeers,
    SameFolder,
    StoreScript,
)
from ..net import endpoints
from ..net.channel import Channel
from . import cloud_environment, rendezvous, spot_notice, submit_folder
from .command_relay import CommandRelay
from .folder_store import FolderStore

if TYPE_CHECKING:
    from ..core.agent import Agent

#: timeout of a connection to another node, in seconds
REACH_S = 5.0
#: seconds that jobs have after SIGTERM at a teardown of the node, at most
NOTICE_S = 20
#: seconds between the SIGTERM of a job and that of the agent, at most, at a teardown
TEARDOWN_S = 1.0
ENDED_HERE = "its agent received SIGTERM: SkyPilot takes the node down"


class WarmNodeService:
    """Adds the services of a warm node to an agent. The agent exits after ``idle_s`` without job and controller."""

    def __init__(self, agent: Agent, idle_s: float) -> None:
        self._agent = agent
        self._scripts = os.path.join(agent.home, "scripts")
        agent.idle_s = idle_s
        agent.teardown_s = TEARDOWN_S
        self._spot_noticed = False  # a spot notice has arrived
        relay = CommandRelay(agent.loop, os.path.join(agent.home, paths.SOCKET_NAME))
        agent.connections.roles["desk"] = relay.park
        agent.connections.roles["name"] = lambda channel: channel.send_json({"name": agent.node})
        agent.connections.roles["files"] = FolderStore(agent.loop, agent.home).serve
        agent.services.update({
            Ping: self._ping, CompareFolder: self._compare, StoreScript: self._store, ReachPeers: self._reach,
            AddHosts: self._add_hosts,
        })  # fmt: skip
        agent.greetings.append(self._node_environment)
        signal.signal(signal.SIGTERM, lambda *_: agent.loop.soon(self._on_sigterm))

    def _node_environment(self) -> NodeEnvironment:
        """Return the node's environment and folders, for the controller's launches."""
        account = pwd.getpwuid(os.geteuid())
        return NodeEnvironment(
            pid=os.getpid(),
            home=self._agent.home,
            environment=cloud_environment.node_environment(os.environ, account.pw_dir),
            shells=tuple(path for path in _shells() if os.path.exists(path)),
        )

    def _ping(self, channel: Channel, _request: Ping) -> None:
        channel.send_json(Pong().encode())

    def _compare(self, channel: Channel, request: CompareFolder) -> None:
        """Report if a folder is also the controller's: a shared mount."""
        same = submit_folder.same_folder(request.path, request.identity)
        channel.send_json(SameFolder(path=request.path, same=same).encode())

    def _store(self, _channel: Channel, request: StoreScript) -> None:
        """Store a script under its digest. batch.py runs it in place as ``slurm_script``."""
        data = base64.b64decode(request.data)
        folder = os.path.join(self._scripts, hashlib.sha256(data).hexdigest()[:32])
        if os.path.exists(os.path.join(folder, "script")):
            return
        os.makedirs(folder, mode=0o700, exist_ok=True)
        partial = os.path.join(folder, ".script")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o700)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.chmod(partial, 0o700)
        os.rename(partial, os.path.join(folder, "script"))

    def _reach(self, channel: Channel, request: ReachPeers) -> None:
        """Connect to other nodes; reply with the names that answered."""

        def work() -> Event:
            reached = []
            for name, address in request.peers.items():
                if _name_at(address, self._agent.tls_client) == name:
                    reached.append(name)
            return Reached(peers=tuple(sorted(request.peers)), reached=tuple(reached))

        self._reply_from_thread(channel, work)

    def _add_hosts(self, channel: Channel, request: AddHosts) -> None:
        """Make a job's node names resolve to addresses, as scripts expect."""

        def work() -> Event:
            hosts = request.names, request.addresses
            done = rendezvous.resolves(*hosts) or rendezvous.add_hosts(*hosts)
            return HostsAdded(names=request.names, resolve=done)

        self._reply_from_thread(channel, work)

    def _reply_from_thread(self, channel: Channel, work: Callable[[], Event]) -> None:
        """Send the result of ``work``, which waits for the network in a thread."""

        def run() -> None:
            answer = work().encode()
            self._agent.loop.soon(lambda: channel.send_json(answer))
            os.kill(os.getpid(), signal.SIGCHLD)  # wakes the loop

        threading.Thread(target=run, daemon=True).start()

    def _on_sigterm(self) -> None:
        """Handle SIGTERM: the node is being taken down.

        Jobs get SIGTERM and the rest of the notice, then the agent exits. After a spot notice the agent runs until the
        machine ends.
        """
        notice = spot_notice.Notice.read(os.path.join(self._agent.home, spot_notice.FILE))
        if notice is not None and notice.at > time.time() and not self._spot_noticed:
            self._on_spot_notice(notice)
            return
        jobs = [job for job in self._agent.jobs.values() if not job.ended]
        # First, so that no requeued job starts here again.
        self._agent.send_to_controllers(
            partial(NodeTaken, node=self._agent.node, at=time.time() + NOTICE_S, why=ENDED_HERE)
        )
        for job in jobs:
            job.terminate("NODE_FAIL", signal.SIGTERM, min(job.launch.kill_wait_s, NOTICE_S))
        self._exit_after(jobs, NOTICE_S * 20 + 100)

    def _on_spot_notice(self, notice: spot_notice.Notice) -> None:
        """Report the notice, and end the jobs within the remaining time."""
        self._spot_noticed = True
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(notice.at))
        why = "%s ends the spot machine at %s" % (notice.cloud, when)
        event = NodeTaken(node=self._agent.node, at=notice.at, why=why)
        self._agent.send_to_controllers(lambda: event)
        for job in list(self._agent.jobs.values()):
            if not job.ended:
                job.node_ends(notice.left_s)

    def _exit_after(self, jobs: list[Any], rounds: int) -> None:
        if rounds and any(not job.ended for job in jobs):
            self._agent.loop.after(0.05, lambda: self._exit_after(jobs, rounds - 1))
        else:
            self._agent.loop.after(0.2, self._agent.shut_down)  # after the events were sent


def _name_at(address: str, tls: Any) -> str:
    """Return the name of the node whose agent answers, or "". Networks can reuse the same addresses."""
    try:
        with endpoints.connect(address, tls, REACH_S) as sock:
            sock.settimeout(REACH_S)
            sock.sendall(wire.encode(wire.JSON, json.dumps(Hello(role="name").encode()).encode()))
            frames = wire.FrameReader()
            while True:
                data = sock.recv(4096)
                for frame in frames.feed(data):
                    return str(json.loads(frame.payload).get("name", ""))
                if not data:
                    return ""
    except (OSError, ValueError):
        return ""


def _shells() -> list[str]:
    try:
        with open("/etc/shells") as file:
            return [line.strip() for line in file if line.startswith("/")]
    except OSError:
        return ["/bin/sh"]
