"""Main program of a cloud job's node, started by SkyPilot's ``run``.

Called as ``python agent.pyz cloud FOLDER``. FOLDER holds the job's shipment (settings.json, script, files.tar, tls/).
This process connects the nodes of the job and starts the node's agent. On the first node it acts as the controller: it
launches the job (only once for repeated launches: ``run_guard``), writes the agent's events and the job's output to the
log (``protocol/log_frames.py``), accepts requests of the real controller over TLS, sends changed files back, and exits
with the job's exit code. On the other nodes this process waits until the first node has finished.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import Optional

from ... import paths
from ...model import plain
from ...protocol.messages import Done, LastRecord, NodeBroken, NodeEnds
from ..net.channel import Channel
from ..net.event_loop import Loop, wake
from ..net.tls_channel import TlsChannel
from . import rendezvous, spot_notice
from .cloud_node import CloudNode
from .command_relay import CommandRelay
from .duplicate_run_barrier import WORKERS_S, DuplicateRunBarrier
from .head_node import TAIL_S, HeadNode
from .job_log import JobLogWriter, send_back
from .run_guard import POLL_S, RunDecision, RunGuard, decide
from .run_members import end_event
from .step_file_sync import StepFiles


def serve_first(node: CloudNode) -> int:
    """Run the job on the first node, or replay an earlier run's log."""
    once, out = RunGuard(node.home, node.log_key), JobLogWriter(0, 0, node.log_key)
    listener = rendezvous.listen(node.addresses[0], node.settings.seed)
    barrier: Optional[DuplicateRunBarrier] = None
    shipped, end_requested = node.launch.restart_count, threading.Event()

    def pass_on(*_: object) -> None:
        end_requested.set()
        once.signal_holder(signal.SIGTERM)

    while not once.lock_node():
        earlier = once.earlier()
        if earlier is not None and shipped > earlier.restart:
            once.take_over()  # SkyPilot lost track of the earlier run, and our controller has counted a recovery
            break
        if barrier is None and earlier is not None:
            signal.signal(signal.SIGTERM, pass_on)
            barrier = DuplicateRunBarrier(node, listener)
        once.write_new(out.write)
        time.sleep(POLL_S)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    once.write_new(out.write)
    replay, earlier = once.replay(), once.earlier()
    if earlier is not None and earlier.cut:
        out.write(b"slurmsky: an earlier run's output is in SkyPilot's log of the cluster's former job alone\n")
    jobs, ended = node.jobs, {**dict.fromkeys(node.ended), **replay.ends}
    code = replay.code(jobs)
    may_run = node.launch.script is not None and node.launch.spec.requeue is not False
    verdict, restart = decide(earlier, code >= 0, shipped, may_run)
    if end_requested.is_set():
        verdict = RunDecision.REPEAT  # SkyPilot takes the nodes down; our controller learns the reason from SkyPilot
    if verdict is RunDecision.RUN:
        if barrier is not None:
            barrier.dismiss("again")
        once.clear()
        node.launch.restart_count = restart
        if node.session == replay.session:
            node.session = (node.session + 1) % 8999
        once.begin(restart)
        return HeadNode(node, once, listener, ended).run()
    if verdict is RunDecision.REFUSE:
        once.clear()
        once.begin(restart)
        once.update_record(begun=True)
        log = JobLogWriter(replay.session, 0, node.log_key, once.store_frames, replay.seq)
        refuse(log, [job_id for job_id in jobs if job_id not in replay.ends])
        code = 1
        once.update_record(code=code)
    elif code < 0 and earlier is not None:
        code = earlier.code
    if node.count > 1:
        patience_s = 0.0 if end_requested.is_set() else WORKERS_S
        (barrier or DuplicateRunBarrier(node, listener)).dismiss("finish", patience_s)
    return code if code >= 0 else 128 + signal.SIGTERM


def refuse(log: JobLogWriter, jobs: list[int]) -> None:
    """Log the end of interrupted jobs that must not run again. The end belongs to the session in which they ran."""
    for job_id in jobs:
        log.event(end_event(job_id, "NODE_FAIL", "NodeDown"))
    log.event(Done(ranks=(0,)))


def join_first_node(
    node: CloudNode, once: RunGuard, client: ssl.SSLContext
) -> Optional[tuple[rendezvous.Line, list[str], int]]:
    """Connect a worker node to the first node.

    Return the line, the agreed node names and the run's restart count. None: the launch is a duplicate that does not
    run, and the earlier run's frames on this node have been replayed.
    """
    while True:
        line = rendezvous.join(node.addresses[0], node.settings.seed, client, plain.write(node.info()))
        while True:
            message = line.receive(None)
            if "check" in message:
                line.send({"resolves": rendezvous.resolves(message["check"], node.addresses)})
            elif "hosts" in message:
                line.send({"resolves": rendezvous.add_hosts(message["hosts"], node.addresses)})
            elif "names" in message:
                node.name, node.session = message["names"][node.rank], int(message["session"])
                return line, message["names"], int(message["restart"])
            elif "follow" in message:
                if replay_until_decided(line, once):
                    break
                return None


def replay_until_decided(line: rendezvous.Line, once: RunGuard) -> bool:
    """Replay earlier frames until the first node decides. Return True if the job runs again."""
    out = JobLogWriter(0, 0, once.key)
    while True:
        once.write_new(out.write)
        try:
            return "again" in line.receive(POLL_S)
        except socket.timeout:
            continue
        except (OSError, ValueError):
            return False
        finally:
            once.write_new(out.write)


def serve_worker(node: CloudNode) -> int:
    """Run a worker node."""
    once = RunGuard(node.home, node.log_key)
    _server, client = node.contexts()
    met = join_first_node(node, once, client)
    if met is None:
        return 0
    line, names, restart = met
    if not once.lock_node():
        once.take_over()  # the earlier run's worker has lost its first node
    once.write_new(JobLogWriter(0, 0, node.log_key).write)
    once.clear()
    once.begin(restart)
    node.prepare(names)
    agent = node.start_agent()
    once.note_start(agent.pid)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first node ends the job, then this process
    loop = Loop()

    def upstream() -> Optional[Channel]:
        """Connect to the first node as a client."""
        try:
            up = rendezvous.join(node.addresses[0], node.settings.seed, client, {"role": "client"}, 10)
        except rendezvous.RendezvousError:
            return None
        return TlsChannel(loop, up.sock)

    CommandRelay(loop, os.path.join(node.home, paths.SOCKET_NAME), upstream=upstream)
    log, new_stream = JobLogWriter(node.session, node.rank, node.log_key, once.store_frames), itertools.count().__next__
    step_files = StepFiles(node, log, new_stream)

    def send_files() -> None:
        step_files.send_new()
        loop.after(TAIL_S, send_files)

    send_files()
    if node.settings.spot:
        spot_notice.watch(lambda notice: report(node, client, notice))
    line.send({"ready": True})
    threading.Thread(target=await_finish, args=(line, loop), daemon=True).start()
    loop.run()
    try:
        step_files.send_new(final=True)
        send_back(node, log, step_files.completely_sent(), new_stream)
        log.event(LastRecord())
        line.send({"done": True})
    except OSError:
        pass  # the first node has failed, and with it the job
    agent.terminate()
    try:
        agent.wait(10)
    except subprocess.TimeoutExpired:
        agent.kill()
    node.remove_traces()
    return 0


def report(node: CloudNode, client: ssl.SSLContext, notice: spot_notice.Notice) -> None:
    """Report to the first node that the cloud reclaims this node."""
    try:
        line = rendezvous.join(node.addresses[0], node.settings.seed, client, {"role": "controller"}, notice.left_s)
        line.send(NodeEnds(job_id=node.launch.job_id, left_s=notice.left_s).encode())
        line.receive(notice.left_s)
    except (rendezvous.RendezvousError, OSError, ValueError):
        pass  # the job has ended, or ends with this node


def await_finish(line: rendezvous.Line, loop: Loop) -> None:
    """Stop the loop at ``finish`` or the end of the connection."""
    try:
        while not line.receive(None).get("finish"):
            continue
    except (OSError, ValueError):
        pass  # disconnected: no message will follow
    loop.soon(loop.stop)
    wake()


def main(argv: list[str]) -> int:
    """Run a node of a cloud job: ``cloud FOLDER``."""
    node = CloudNode(argv[0])
    os.umask(0o077)
    log = JobLogWriter(node.session, node.rank, node.log_key)
    if all(job_id in node.ended for job_id in node.jobs):
        # SkyPilot lost track of the cluster after the job's end, and launched the run again.
        log.write(b"slurmsky: job %d has ended before, and does not begin again\n" % node.launch.job_id)
        return max(node.ended[job_id] for job_id in node.jobs) if node.settings.elements is None else 0
    try:
        return serve_first(node) if node.rank == 0 else serve_worker(node)
    except (rendezvous.RendezvousError, OSError, ValueError) as error:
        # A separate rank: its events have their own sequence numbers.
        log = JobLogWriter(node.session, 4000 + node.rank, node.log_key)
        log.event(NodeBroken(text="node %d: %s" % (node.rank, error)))
        return 70


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
