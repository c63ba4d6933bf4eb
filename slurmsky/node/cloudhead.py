"""The first node of a cloud job: stands in for the controller."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from typing import Any, Optional

from ..model.allocation import Launch
from . import output, rendezvous, transport
from .channel import Channel
from .cloudlog import Log, Tail, send_back
from .cloudnode import Node
from .desk import Desk
from .loop import Loop
from .tls import TlsChannel

TAIL_S = 0.2  # how often output files are looked at


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
