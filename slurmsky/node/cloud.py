"""A job's node on the cloud: what SkyPilot's ``run`` starts on every node of a task.

    python agent.pyz cloud FOLDER

FOLDER holds what was shipped with the job (settings.json, script, files.tar, tls/). This process brings the
nodes together, starts the node's agent, and on the first node stands in for the controller: it launches the
job, writes what the agent tells and what the job prints into the log (logframes), takes requests of the real
controller over TLS, sends changed files back, and ends with the job's exit code. On the others it waits for
the first to end.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from typing import Any, Optional

from ..model.allocation import Launch
from . import cloudenv, files, output, rendezvous, transport
from .channel import Channel
from .logframes import MAX_FRAME, Encoder
from .desk import Desk
from .loop import Loop
from .tls import TlsChannel

TAIL_S = 0.2  # how often output files are looked at
FLUSH_S = 0.5  # how long a line without its end is held back
COMMANDS = (
    "sacct",
    "salloc",
    "sattach",
    "sbatch",
    "sbcast",
    "scancel",
    "scontrol",
    "sinfo",
    "slurmsky",
    "squeue",
    "srun",
    "sstat",
)


class Log:
    """This node's standard output as a channel of frames. One write per call; SkyPilot reads it by the
    line.
    """

    def __init__(self, session: int, rank: int) -> None:
        self.encoder = Encoder(session, rank)
        self.closed = False

    def write(self, data: bytes) -> None:
        """Write frames; when SkyPilot has stopped reading there is nobody left to tell."""
        while data and not self.closed:
            try:
                data = data[os.write(1, data) :]
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                self.closed = True

    def event(self, **body: Any) -> None:
        """Tell an event."""
        self.write(self.encoder.event(body))


class Tail:
    """A file of the job that grows, sent as a stream. ``stream`` is its number, told with its path
    beforehand.
    """

    def __init__(self, log: Log, stream: int, path: str) -> None:
        self.log, self.stream, self.path = log, stream, path
        self.position = 0
        self._partial_since: Optional[float] = None

    def look(self, final: bool = False) -> None:
        """Send what is new. A file that was truncated is sent again from its beginning as far as it is
        shorter.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.position)
                while True:
                    data = file.read(1 << 16)
                    if not data:
                        break
                    self.position += len(data)
                    self.log.write(self.log.encoder.data(self.stream, data))
                    self._partial_since = None if data.endswith(b"\n") else time.monotonic()
        except OSError:
            return  # not there yet, or removed by the job
        if self._partial_since is not None and (final or time.monotonic() - self._partial_since > FLUSH_S):
            self._partial_since = None
            self.log.write(self.log.encoder.flush(self.stream))


class Node:
    """What one node of the job is and has."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        with open(os.path.join(self.folder, "settings.json")) as file:
            self.settings: dict[str, Any] = json.load(file)
        self.launch = Launch.from_dict(self.settings["launch"])
        self.rank = int(os.environ.get("SKYPILOT_NODE_RANK", "0"))
        self.addresses = os.environ.get("SKYPILOT_NODE_IPS", "127.0.0.1").split()
        self.count = len(self.addresses)
        self.session = int(time.time()) % 8999
        name = "slurmsky-%d-%s-%d" % (os.geteuid(), self.settings["name"], self.rank)
        self.home = os.path.join(os.environ.get("TMPDIR") or "/tmp", name)
        if len(self.home) > 60:  # a socket's address has 108 bytes
            self.home = os.path.join("/tmp", name)
        self.tls = os.path.join(self.folder, "tls")
        account = pwd.getpwuid(os.geteuid())
        self.environment = cloudenv.node_environment(os.environ, account.pw_dir)
        self.name = ""
        self.port = 0

    # --- the node made ready
    def prepare(self) -> None:
        """Private folder, program, submit folder, environment."""
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home, mode=0o700)
        self._install()
        given = self.settings["files"]
        self.submit_dir = self.launch.submit_dir
        self.same_files = files.same_folder(self.submit_dir, given.get("identity", []))
        self.note = ""
        if not self.same_files:
            if not files.make_folder(self.submit_dir):
                fallback = os.path.join(self.home, "submit")
                os.makedirs(fallback)
                self.note = "%s cannot be made on this node, %s stands in for it" % (
                    self.submit_dir,
                    fallback,
                )
                self._move(self.submit_dir, fallback)
            if given.get("archive"):
                files.unpack(os.path.join(self.folder, given["archive"]), self.submit_dir)
        self.before = {} if self.same_files else files.scan(self.submit_dir)
        home = self.launch.environment.get("HOME", "")
        if not home or not (self.same_files or files.make_folder(home)):
            home = self.environment["HOME"]
        env = cloudenv.job_environment(
            self.launch.environment, self.environment, self.same_files, home, os.path.exists
        )
        if "PWD" in self.launch.environment:
            env["PWD"] = self.launch.work_dir
        env.update(self.settings.get("environment", {}))
        self.launch.environment = env
        for folder in {
            self.launch.work_dir,
            *(
                os.path.dirname(path)
                for path in (self.launch.stdout, self.launch.stderr)
                if path.startswith("/")
            ),
        }:
            # The user's folders that the script relies on; under Slurm a missing one is the user's mistake.
            if folder in given.get("folders", ()) and not self.same_files:
                files.make_folder(folder)

    def _move(self, old: str, new: str) -> None:
        launch = self.launch
        for field in ("submit_dir", "work_dir", "stdin", "stdout", "stderr"):
            value = getattr(launch, field)
            if value == old or value.startswith(old + "/"):
                setattr(launch, field, new + value[len(old) :])
        self.submit_dir = new

    def _install(self) -> None:
        """Unpack the program, and launchers for the commands that scripts call."""
        library = os.path.join(self.home, "lib")
        with zipfile.ZipFile(self.settings_path("agent")) as archive:
            archive.extractall(library)
        self.library = library
        self.bin = os.path.join(self.home, "bin")
        os.makedirs(self.bin)
        for command in COMMANDS:
            path = os.path.join(self.bin, command)
            with open(path, "w") as file:
                file.write(
                    '#!/bin/sh\nexec "%s" -I -S "%s/slurmsky/client.py" "%s" %s "$@"\n'
                    % (sys.executable, library, library, command)
                )
            os.chmod(path, 0o755)

    def settings_path(self, key: str) -> str:
        """A shipped file's path; relative ones lie in the job's folder."""
        return os.path.join(self.folder, os.path.expanduser(self.settings[key]))

    def contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """(server, client) TLS contexts of the job."""
        server, client = transport.tls_contexts(
            *(os.path.join(self.tls, name) for name in ("node.crt", "node.key", "ca.crt"))
        )
        return server, client

    # --- facts and names
    def facts(self) -> dict[str, Any]:
        """What the first node must know of this one."""
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        probe.bind((self.addresses[self.rank], 0))
        self.port = probe.getsockname()[1]
        probe.close()
        with open("/proc/meminfo") as file:
            memory = int(file.readline().split()[1]) // 1024
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return {
            "rank": self.rank,
            "address": self.addresses[self.rank],
            "port": self.port,
            "name": os.environ.get("SLURMD_NODENAME") or socket.gethostname().split(".")[0],
            "cpus": len(os.sched_getaffinity(0)),
            "memory_mib": memory,
            "arch": os.uname().machine,
            "os": "%s %s" % (os.uname().sysname, os.uname().release),
            "gpus": [int(device) for device in devices.split(",") if device.isdigit()],
        }

    # --- the agent
    def start_agent(self) -> subprocess.Popen[bytes]:
        """Start this node's agent and wait until it listens."""
        self.socket = os.path.join(self.home, "agent.sock")
        environment = {**self.environment, "PYTHONPATH": self.library}
        log = os.open(
            os.path.join(self.home, "agent.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        command = [
            sys.executable,
            "-S",
            "-m",
            "slurmsky.node.agent",
            "--node",
            self.name,
            "--home",
            self.home,
            "--address",
            transport.UNIX + self.socket,
            "--bin",
            self.bin,
        ]
        if self.count > 1:
            command += ["--listen", "%s:%d" % (self.addresses[self.rank], self.port)]
            for option, name in (("--cert", "node.crt"), ("--key", "node.key"), ("--ca", "ca.crt")):
                command += [option, os.path.join(self.tls, name)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        os.close(log)
        deadline = time.monotonic() + 60
        while not transport.answers(self.socket):
            if process.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.home, "agent.log"), errors="replace") as file:
                    said = file.read()[-2000:].strip()
                raise rendezvous.RendezvousError(
                    "the agent of node %s does not start: %s" % (self.name, said)
                )
            time.sleep(0.02)
        return process

    def clean(self) -> None:
        """Remove the private folder."""
        shutil.rmtree(self.home, ignore_errors=True)


def serve_other(node: Node) -> int:
    """The life of every node but the first."""
    _server, client = node.contexts()
    line = rendezvous.join(node.addresses[0], node.settings["seed"], client, node.facts())
    while True:
        message = line.receive(None)
        if "check" in message:
            line.send({"resolves": rendezvous.resolves(message["check"], node.addresses)})
        elif "hosts" in message:
            line.send({"resolves": rendezvous.add_hosts(message["hosts"], node.addresses)})
        elif "names" in message:
            node.name = message["names"][node.rank]
            break
    node.prepare()
    agent = node.start_agent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first node ends the job, then us
    loop = Loop()

    def upstream() -> Optional[Channel]:
        try:
            up = rendezvous.join(node.addresses[0], node.settings["seed"], client, {"role": "client"}, 10)
        except rendezvous.RendezvousError:
            return None
        return TlsChannel(loop, up.sock)

    Desk(loop, os.path.join(node.home, "controller.sock"), upstream)
    line.send({"ready": True})
    threading.Thread(target=await_finish, args=(line, loop), daemon=True).start()
    loop.run()
    try:
        send_back(
            node,
            Log(node.session, node.rank),
            frozenset(),
            int(node.settings["files"].get("return_bytes", 0)),
        )
        line.send({"done": True})
    except OSError:
        pass  # the first node is gone, and the job with it
    agent.terminate()
    try:
        agent.wait(10)
    except subprocess.TimeoutExpired:
        agent.kill()
    node.clean()
    return 0


def await_finish(line: rendezvous.Line, loop: Loop) -> None:
    """Stop the loop when the first node says so, or is gone."""
    try:
        while not line.receive(None).get("finish"):
            continue
    except (OSError, ValueError):
        pass  # gone: nothing is left to wait for
    loop.soon(loop.stop)
    poke()


def poke() -> None:
    """Wake the loop of the main thread."""
    os.kill(os.getpid(), signal.SIGCHLD)


def agree_on_names(
    node: Node, others: dict[int, tuple[rendezvous.Line, dict[str, Any]]], mine: dict[str, Any]
) -> list[str]:
    """Names under which every node finds every other; addresses when there are none."""

    def ask(message: dict[str, Any], own: bool) -> bool:
        for line, _ in others.values():
            line.send(message)
        answers = [line.receive(60).get("resolves") for line, _ in others.values()]
        return all(answers) and own

    facts = [mine, *(others[rank][1] for rank in range(1, node.count))]
    names = [str(fact["name"]) for fact in facts]
    if len(set(names)) == node.count and ask({"check": names}, rendezvous.resolves(names, node.addresses)):
        return names
    names = ["%s-%d" % (node.settings["host_prefix"], rank) for rank in range(node.count)]
    if ask({"hosts": names}, rendezvous.add_hosts(names, node.addresses)):
        return names
    return node.addresses


class Head:
    """The first node: stands in for the controller."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.log = Log(node.session, node.rank)
        self.loop = Loop()
        self.tails: list[Tail] = []
        self.end: Optional[dict[str, Any]] = None
        self.terminated = False
        self.others: dict[int, tuple[rendezvous.Line, dict[str, Any]]] = {}
        self.done: dict[int, threading.Event] = {}

    def run(self) -> int:
        """From the first to the last; the job's exit code."""
        node = self.node
        server, _client = node.contexts()
        self.listener = rendezvous.listen(node.addresses[0], node.settings["seed"])
        self.log.event(ev="session", session=node.session, restart=node.launch.restart_count)
        mine = node.facts()
        self.others = rendezvous.accept_all(self.listener, server, node.count - 1)
        for line, _ in self.others.values():
            line.send({"welcome": True})
        names = agree_on_names(node, self.others, mine)
        node.name = names[0]
        for line, _ in self.others.values():
            line.send({"names": names})
        node.prepare()
        agent = node.start_agent()
        for rank, (line, _) in self.others.items():
            if not line.receive(120).get("ready"):
                raise rendezvous.RendezvousError("node %s is not ready" % names[rank])
        self._launch(names, [mine, *(self.others[rank][1] for rank in range(1, node.count))])
        signal.signal(signal.SIGTERM, lambda *_: self.loop.soon(self._told_to_end))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.desk = Desk(self.loop, os.path.join(node.home, "controller.sock"))
        self._watch_others()
        threading.Thread(target=self._accept_controllers, args=(server,), daemon=True).start()
        self._look()
        self.loop.run()
        return self._finish(agent)

    def _launch(self, names: list[str], facts: list[dict[str, Any]]) -> None:
        node, launch = self.node, self.node.launch
        for share, name, fact in zip(launch.shares, names, facts):
            share.name = name
            share.address = (
                transport.UNIX + node.socket if node.count == 1 else "%s:%d" % (fact["address"], fact["port"])
            )
            if not share.cpu_ids:
                share.cpu_ids = tuple(range(int(fact["cpus"])))
            share.cpus_on_node = max(int(fact["cpus"]), len(share.cpu_ids))
            visible = fact["gpus"]
            for kind, indices in share.gres.items():
                if len(visible) >= len(indices):  # a Slurm infra hands out some of a node's devices
                    share.gres[kind] = tuple(visible[: len(indices)])
        launch.spool = os.path.join(node.home, "job")
        if launch.script is not None:
            launch.script = os.path.join(node.folder, "script")
        launch.start_time = time.time()
        self.facts = [
            {
                "name": name,
                "address": str(fact["address"]),
                "cpus": fact["cpus"],
                "memory_mib": fact["memory_mib"],
                "arch": fact["arch"],
                "os": fact["os"],
                "gres": {kind: list(ids) for kind, ids in share.gres.items()},
            }
            for name, fact, share in zip(names, facts, launch.shares)
        ]
        named = output.NameFacts(
            launch.job_id,
            launch.array_job_id,
            launch.array_task_id,
            "batch",
            node.name,
            0,
            0,
            launch.user,
            launch.name,
            launch.restart_count,
        )
        original = Launch.from_dict(node.settings["launch"])
        for number, (path, target) in enumerate(
            ((launch.stdout, original.stdout), (launch.stderr, original.stderr))
        ):
            if path and not (number and path == launch.stdout):
                self.tails.append(Tail(self.log, number, output.expand(path, named)))
                self.log.event(
                    ev="stream",
                    stream=number,
                    path=output.expand(target, named),
                    same=node.same_files,
                    append=launch.spec.open_mode == "append",
                )
        sock = transport.connect(transport.UNIX + node.socket)
        self.channel = Channel(self.loop, sock)
        self.channel.on_frame = self._from_agent
        self.channel.on_close = self._agent_lost
        self.channel.send_json({"op": "hello", "role": "controller", "jobs": [launch.job_id]})
        self.channel.send_json({"op": "launch", "launch": launch.to_dict()})
        if node.note:
            self.log.event(ev="note", text=node.note)

    # --- the agent
    def _from_agent(self, kind: bytes, payload: bytes) -> None:
        event = json.loads(payload)
        if event.get("ev") == "started":
            event["nodes"] = self.facts
            event["control"] = "%s:%d" % (self.node.addresses[0], self.listener.getsockname()[1])
        if event.get("ev") == "ended":
            self.end = event
            self.loop.stop()
            return
        self.log.write(self.log.encoder.event(event))
        if "seq" in event:
            self.channel.send_json({"op": "ack", "job_id": event["job_id"], "seq": event["seq"]})

    def _agent_lost(self) -> None:
        if self.end is None:
            self.end = {
                "ev": "ended",
                "job_id": self.node.launch.job_id,
                "time": time.time(),
                "state": "NODE_FAIL",
                "exit_code": 0,
                "exit_signal": 0,
                "reason": "NodeDown",
                "seq": 0,
            }
            self.loop.stop()

    def _told_to_end(self) -> None:
        """SIGTERM: SkyPilot takes the node down, because of a cancellation or a preemption."""
        if not self.terminated:
            self.terminated = True
            self.channel.send_json(
                {
                    "op": "terminate",
                    "job_id": self.node.launch.job_id,
                    "state": "CANCELLED",
                    "signal": signal.SIGTERM,
                    "kill_wait_s": min(self.node.launch.kill_wait_s, 20),
                }
            )

    # --- others
    def _watch_others(self) -> None:
        for rank, (line, _) in self.others.items():
            self.done[rank] = threading.Event()
            threading.Thread(target=self._await_loss, args=(rank, line), daemon=True).start()

    def _await_loss(self, rank: int, line: rendezvous.Line) -> None:
        try:
            while not line.receive(None).get("done"):
                continue
            self.done[rank].set()
        except (OSError, ValueError):
            self.done[rank].set()
            message = {
                "op": "node_lost",
                "job_id": self.node.launch.job_id,
                "node": self.node.launch.shares[rank].name,
            }
            self.loop.soon(lambda: self.channel.send_json(message))
            poke()

    def _accept_controllers(self, server: ssl.SSLContext) -> None:
        """The real controller may come over TLS, any time and more than once, with requests for the agent."""
        self.listener.settimeout(None)
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_controller, args=(sock, server), daemon=True).start()

    def _serve_controller(self, sock: Optional[socket.socket], server: ssl.SSLContext) -> None:
        assert sock is not None
        try:
            sock.settimeout(10)
            line = rendezvous.Line(server.wrap_socket(sock, server_side=True))
            role = line.receive(10).get("role")
            if role not in ("controller", "desk", "client"):
                return
            line.send({"welcome": True})
            if role != "controller":
                take = self.desk.park if role == "desk" else self.desk.client
                tls, sock = line.sock, None
                self.loop.soon(lambda: take(TlsChannel(self.loop, tls)))
                poke()
                return
            while True:
                message = line.receive(None)
                if message.get("op") == "terminate":
                    self.terminated = True
                self.loop.soon(lambda message=message: self.channel.send_json(message))  # type: ignore[misc]
                poke()
                line.send({"taken": message.get("id")})
        except (OSError, ValueError):
            return
        finally:
            if sock is not None:
                sock.close()

    # --- output and end
    def _look(self) -> None:
        for tail in self.tails:
            tail.look()
        self.loop.after(TAIL_S, self._look)

    def _finish(self, agent: subprocess.Popen[bytes]) -> int:
        end = self.end or {}
        for tail in self.tails:
            tail.look(final=True)
        node = self.node
        if not node.same_files:
            skip = frozenset(os.path.relpath(tail.path, node.submit_dir) for tail in self.tails)
            send_back(node, self.log, skip, int(node.settings["files"].get("return_bytes", 0)))
        for line, _ in self.others.values():
            try:
                line.send({"finish": True})
            except OSError:
                continue  # that node is gone
        for done in self.done.values():
            done.wait(300)
        end["by_signal"] = self.terminated
        self.log.write(self.log.encoder.event(end))
        self.log.event(ev="done", ranks=node.count)
        for line, _ in self.others.values():
            line.sock.close()
        self.channel.on_close = lambda: None
        agent.terminate()
        try:
            agent.wait(10)
        except subprocess.TimeoutExpired:
            agent.kill()
        node.clean()
        number = int(end.get("exit_signal", 0))
        code = int(end.get("exit_code", 0))
        if number:
            return 128 + number
        return code or int(end.get("state") != "COMPLETED")


def send_back(node: Node, log: Log, skip: frozenset[str], limit: int) -> None:
    """Files of the submit folder that the job made or changed, smallest first, as far as the limit goes."""
    stream, left = 16, limit
    if node.same_files or not limit:
        return
    for file in files.changes(node.before, node.submit_dir, skip):
        if file.size > left:
            log.event(ev="kept", path=file.path, size=file.size)
            continue
        left -= file.size
        path = os.path.join(node.submit_dir, file.path)
        total = files.digest(path)
        if total is None:
            continue
        log.event(
            ev="file",
            stream=stream,
            path=file.path,
            size=file.size,
            mode=file.mode,
            mtime=file.mtime,
            sha256=total,
        )
        for piece in files.pieces(path, file.size):
            log.write(
                b"".join(
                    log.encoder.data(stream, piece[start : start + MAX_FRAME])
                    for start in range(0, len(piece), MAX_FRAME)
                )
            )
        log.write(log.encoder.flush(stream))
        log.event(ev="file-end", stream=stream)
        stream += 1


def main(argv: list[str]) -> int:
    """``cloud FOLDER``."""
    node = Node(argv[0])
    os.umask(0o077)
    log = Log(node.session, node.rank)
    try:
        return Head(node).run() if node.rank == 0 else serve_other(node)
    except (rendezvous.RendezvousError, OSError, ValueError) as error:
        log = Log(node.session, 4000 + node.rank)  # a rank of its own: its events are numbered apart
        log.event(ev="broken", text="node %d: %s" % (node.rank, error))
        return 70


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
