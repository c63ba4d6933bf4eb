"""A job's node on the cloud: what SkyPilot's ``run`` starts on every node of a task.

    python agent.pyz cloud FOLDER

FOLDER holds what was shipped with the job (settings.json, script, files.tar, tls/). This process brings the
nodes together, starts the node's agent, and on the first node stands in for the controller: it launches the
job, writes what the agent tells and what the job prints into the log (logframes), takes requests of the real
controller over TLS, sends changed files back, and ends with the job's exit code. On the others it waits for
the first to end.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from typing import Optional

from . import rendezvous
from .channel import Channel
from .cloudhead import TAIL_S, Head, poke
from .cloudlog import Log, send_back
from .cloudnode import Node
from .desk import Desk
from .loop import Loop
from .stepfiles import StepFiles
from .tls import TlsChannel


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
            node.name, node.session = message["names"][node.rank], int(message["session"])
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
    log, new_stream = Log(node.session, node.rank), itertools.count().__next__
    step_files = StepFiles(node, log, new_stream)

    def look() -> None:
        step_files.look()
        loop.after(TAIL_S, look)

    look()
    line.send({"ready": True})
    threading.Thread(target=await_finish, args=(line, loop), daemon=True).start()
    loop.run()
    try:
        step_files.look(final=True)
        send_back(node, log, step_files.whole(), new_stream)
        log.event(ev="last")
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
