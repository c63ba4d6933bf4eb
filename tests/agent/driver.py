"""Agents without a controller: starts agents in a temporary home and acts as their controller."""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polling import PATIENCE_S

from slurmsky.agent.job.version import VERSION
from slurmsky.model.allocation import Launch, NodeShare
from slurmsky.model.spec import JobSpec
from slurmsky.protocol import wire

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "bin"
Event = dict[str, Any]
NOTHING_REQUESTED = JobSpec()


class Node:
    """One agent process and the controller's connection to it."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        self.name = name
        self.socket_path = home / "nodes" / name / "agent.sock"
        self.events: list[Event] = []
        self.acknowledge = True
        self.version = VERSION  # the controller's
        self.process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._reader = wire.FrameReader()

    def command(self) -> list[str]:
        """The command that starts the agent."""
        path = [str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))]
        code = (
            "import sys; sys.path[:0] = %r; import runpy; sys.argv[0] = 'agent'; "
            "runpy.run_module('slurmsky.agent', run_name='__main__')" % (path,)
        )
        options = ["--node", self.name, "--home", str(self.home), "--bin", str(BIN)]
        return [sys.executable, "-S", "-E", "-c", code, *options]

    def start(self) -> None:
        """Start the agent and connect."""
        self.home.mkdir(parents=True, exist_ok=True)
        with open(self.home / (self.name + ".log"), "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        self.connect()

    @property
    def agent_pid(self) -> int:
        """The agent's process."""
        assert self.process is not None
        return self.process.pid

    def connect(self) -> None:
        """(Re)connect as the controller."""
        deadline = time.monotonic() + 10
        if self._sock is not None:
            self.disconnect()
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(self.socket_path))
                break
            except OSError:
                sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._sock = sock
        self._reader = wire.FrameReader()
        self.send({"op": "hello", "role": "controller", "version": self.version})

    def disconnect(self) -> None:
        """Close the controller's connection."""
        assert self._sock is not None
        self._sock.close()
        self._sock = None

    def send(self, message: Event) -> None:
        """Send one message to the agent."""
        assert self._sock is not None
        self._sock.sendall(wire.encode(wire.JSON, json.dumps(message).encode()))

    def pump(self, timeout: float) -> list[Event]:
        """Receive the events of this time (at least one round)."""
        assert self._sock is not None
        new: list[Event] = []
        if select.select([self._sock], [], [], timeout)[0]:
            data = self._sock.recv(1 << 18)
            if not data:
                raise ConnectionError("the agent of %s hung up" % self.name)
            for frame in self._reader.feed(data):
                event = json.loads(frame.payload)
                new.append(event)
                if self.acknowledge and "seq" in event:
                    self.send({"op": "acks", "acks": [[event["job_id"], event["run"], event["seq"]]]})
        self.events += new
        return new

    def wait(self, wanted: Callable[[Event], bool], timeout: float = PATIENCE_S) -> Event:
        """Return the first event that satisfies the condition, received already or later."""
        deadline = time.monotonic() + timeout
        for event in self.events:
            if wanted(event):
                return event
        while time.monotonic() < deadline:
            for event in self.pump(0.1):
                if wanted(event):
                    return event
        raise TimeoutError("no such event from %s; log:\n%s" % (self.name, self.log()))

    def log(self) -> str:
        """The agent's own log."""
        return (self.home / (self.name + ".log")).read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL the agent."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        if self._sock is not None:
            self.disconnect()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()


class Cluster:
    """n agents named n1..n; a job is launched on the first node of its shares."""

    def __init__(self, count: int = 1, cpus: int = 8, home: Path | None = None) -> None:
        self._own_home = tempfile.TemporaryDirectory(prefix="sky") if home is None else None
        self.home = Path(self._own_home.name) if self._own_home is not None else Path(str(home))
        self.work = self.home / "work"
        self.work.mkdir(exist_ok=True, parents=True)
        self.cpus = cpus
        self.nodes = [Node(self.home, "n%d" % (index + 1)) for index in range(count)]
        self._last_job = 0

    def __enter__(self) -> Cluster:
        for node in self.nodes:
            node.start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.stop()
        if self._own_home is not None:
            self._own_home.cleanup()

    def prepare(
        self,
        script: str | None,
        *,
        tasks: tuple[int, ...] = (1,),
        spec: JobSpec = NOTHING_REQUESTED,
        first_node: int = 0,
        **changes: Any,
    ) -> Launch:
        """A launch of a job with that many tasks (and CPUs) on each node."""
        self._last_job += 1
        job_id = self._last_job
        folder = self.home / "jobs" / str(job_id)
        spool = self.outside(self.nodes[first_node], folder)
        spool.mkdir(parents=True, mode=0o700)
        path = None
        if script is not None:
            path = folder / "script"
            (spool / "script").write_text(script)
            (spool / "script").chmod(0o700)
        cpus_per_task = spec.cpus_per_task or 1
        shares = [
            NodeShare(
                name=node.name,
                address=self.address_of(node),
                cpu_ids=tuple(range(count * cpus_per_task)),
                memory_mib=1000,
                tasks=count,
                cpus_on_node=self.cpus,
            )
            for node, count in zip(self.nodes[first_node:], tasks, strict=False)
        ]
        user = pwd.getpwuid(os.getuid())
        values: dict[str, Any] = {
            "job_id": job_id,
            "name": "test",
            "user": user.pw_name,
            "uid": user.pw_uid,
            "gid": user.pw_gid,
            "group": "root",
            "account": "root",
            "partition": "debug",
            "qos": "normal",
            "cluster": "oracle",
            "spec": spec,
            "shares": shares,
            "ntasks": sum(tasks),
            "submit_dir": str(self.work),
            "submit_host": "vm",
            "work_dir": str(self.work),
            "spool": str(folder),
            "script": None if path is None else str(path),
            "environment": {
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "USER": user.pw_name,
                "SLURMSKY_PYTHON": sys.executable,
            },
            "stdout": str(self.work / ("slurm-%d.out" % job_id)),
            "start_time": time.time(),
            "kill_wait_s": 2,
        }
        values.update(changes)
        return Launch(**values)

    def outside(self, node: Node, path: Path) -> Path:
        """The path, outside the node, of a file of the node."""
        return path

    def address_of(self, node: Node) -> str:
        """How the other agents reach a node's."""
        return "unix:%s" % node.socket_path

    def inside(self, node: Node) -> list[str]:
        """The words that run a command on a node."""
        return []

    def socket_of(self, node: Node) -> Path:
        """The agent's socket as the node's programs see it."""
        return node.socket_path

    @property
    def srun(self) -> list[str]:
        """The words of an srun on the first node, for tests that start it themselves."""
        return [*self.inside(self.nodes[0]), str(BIN / "srun")]

    def head(self, launch: Launch) -> Node:
        """The node that runs the batch script."""
        return next(node for node in self.nodes if node.name == launch.shares[0].name)

    def start(self, launch: Launch) -> Launch:
        """Launch it and wait for its start."""
        head = self.head(launch)
        head.send({"op": "launch", "launch": launch.to_dict()})
        head.wait(lambda event: event["ev"] == "started" and event["job_id"] == launch.job_id)
        return launch

    def finish(self, launch: Launch, timeout: float = PATIENCE_S) -> Event:
        """Wait for the job's last event."""
        return self.head(launch).wait(
            lambda event: event["ev"] == "ended" and event["job_id"] == launch.job_id, timeout
        )

    def run(self, script: str, **options: Any) -> tuple[Event, str]:
        """Run a batch job: its last event and its output."""
        launch = self.start(self.prepare(script, **options))
        event = self.finish(launch)
        return event, self.output(launch)

    def output(self, launch: Launch) -> str:
        """What the job wrote to its stdout file."""
        path = self.outside(self.head(launch), Path(launch.stdout))
        return path.read_text(errors="replace") if path.exists() else ""

    def steps(self, launch: Launch) -> dict[str, Event]:
        """The last event of each step of a job."""
        return {
            event["step"]["step_id"]: event["step"]
            for event in self.head(launch).events
            if "step" in event and event["job_id"] == launch.job_id
        }

    def command(self, launch: Launch, argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one of our commands outside the job, as a command of salloc."""
        return subprocess.run(
            [*self.inside(self.head(launch)), str(BIN / argv[0]), *argv[1:]],
            env=self.client_environment(launch),
            text=True,
            capture_output=True,
            cwd=self.work,
            timeout=options.pop("timeout", PATIENCE_S),
            **options,
        )

    def client_environment(self, launch: Launch) -> dict[str, str]:
        """The environment that salloc's command has."""
        from slurmsky.agent.job.environment import allocation_environment

        return {
            **launch.environment,
            **allocation_environment(launch),
            "SLURMSKY_HOME": str(self.home),
            "SLURMSKY_AGENT": str(self.socket_of(self.head(launch))),
        }
