"""Connects the nodes of a job, which agree on node names.

The first node listens, the others connect. No port can be fixed beforehand (several jobs may share an address), so the
first node listens on the first free port of a sequence that all nodes derive from the job's settings, and the others
try the sequence. Only holders of the job's certificate are admitted.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import ssl
import subprocess
import time
from typing import TYPE_CHECKING, Any, Optional, Sequence

from ...model import plain
from ..net import endpoints
from .node_info import CloudNodeInfo

if TYPE_CHECKING:
    from .cloud_node import CloudNode

PORTS = 16
WAIT_S = 600.0
Message = dict[str, Any]


class RendezvousError(Exception):
    """Nodes did not connect in time. The text names them."""


class Line:
    """Sends and receives JSON objects, one per line, over a blocking (TLS) socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._rest = b""

    def send(self, message: Message) -> None:
        """Send one object."""
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout: Optional[float] = WAIT_S) -> Message:
        """Receive the next object.

        Raises ConnectionError at the end of the stream, TimeoutError (socket.timeout) if no object arrives in time.
        """
        self.sock.settimeout(timeout)
        while b"\n" not in self._rest:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the peer has closed")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ConnectionError("not an object")
        return message


def ports(seed: int) -> list[int]:
    """Return the sequence of candidate ports of a job."""
    first = 20000 + seed * PORTS % 12000
    return list(range(first, first + PORTS))


def listen(address: str, seed: int) -> socket.socket:
    """Listen on the first free port of the sequence."""
    for port in ports(seed):
        try:
            return endpoints.listen("%s:%d" % (address, port))
        except OSError:
            continue
    raise RendezvousError("no port of %s is free on %s" % (ports(seed), address))


def accept_all(
    listener: socket.socket, tls: ssl.SSLContext, count: int, given: str = ""
) -> dict[int, tuple[Line, CloudNodeInfo]]:
    """Wait for the other nodes; return rank -> (line, info of the node).

    Connections without the job's certificate are closed, and those of nodes that another SkyPilot job started
    (``given``: the SkyPilot job's id; SkyPilot may launch the same run on a cluster twice).
    """
    came: dict[int, tuple[Line, CloudNodeInfo]] = {}
    deadline = time.monotonic() + WAIT_S
    while len(came) < count:
        listener.settimeout(max(deadline - time.monotonic(), 0.1))
        try:
            sock, _ = listener.accept()
        except socket.timeout:
            missing = sorted(set(range(1, count + 1)) - set(came))
            raise RendezvousError("nodes %s did not come within %d s" % (missing, WAIT_S)) from None
        node = admit(sock, tls, given)
        if node is not None:
            came[node[1].rank] = node
    return came


def admit(sock: socket.socket, tls: ssl.SSLContext, given: str) -> Optional[tuple[Line, CloudNodeInfo]]:
    """Return line and info of a connected node; None: rejected."""
    try:
        sock.settimeout(10)
        line = Line(tls.wrap_socket(sock, server_side=True))
        info = plain.read(CloudNodeInfo, line.receive(10))
        if info.rank > 0 and info.given == given:
            return line, info
        line.sock.close()
    except (OSError, ValueError, TypeError):
        pass  # an unknown client, a port scanner, or a node that ended at once
    sock.close()
    return None


def join(head: str, seed: int, tls: ssl.SSLContext, greeting: Message, patience: float = WAIT_S) -> Line:
    """Connect to the first node and send a greeting.

    The greeting is our info, or the role of the connection. The first node may start minutes after this one.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for port in ports(seed):
            try:
                sock = socket.create_connection((head, port), 5)
            except OSError:
                continue
            try:
                line = Line(tls.wrap_socket(sock, server_hostname=head))
                line.send(greeting)
                # With TLS 1.3 a client learns only now whether the server accepted its certificate.
                if line.receive(15).get("welcome"):
                    return line
            except (OSError, ValueError):
                sock.close()
        time.sleep(0.5)
    raise RendezvousError("the first node, %s, does not answer" % head)


#: the end of each line that we write to /etc/hosts
_OURS = "# slurmsky"


def resolves(names: Sequence[str], addresses: Sequence[str]) -> bool:
    """True if each name resolves to its address on this node."""
    for name, address in zip(names, addresses):
        try:
            found = {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
        except OSError:
            return False
        if address not in found:
            return False
    return True


def hosts_with(text: str, names: Sequence[str], addresses: Sequence[str]) -> str:
    """Return the content of /etc/hosts with our lines for these names.

    >>> hosts_with("127.0.0.1 localhost\\n10.0.0.9 k1 # slurmsky\\n", ["k1"], ["10.0.0.7"])
    '127.0.0.1 localhost\\n10.0.0.7 k1 # slurmsky\\n'
    """
    stale = {" %s %s" % (name, _OURS) for name in names}
    lines = [line for line in text.splitlines() if line[line.find(" ") :] not in stale]
    return "\n".join([*lines, *("%s %s %s" % (*pair, _OURS) for pair in zip(addresses, names)), ""])


def add_hosts(names: Sequence[str], addresses: Sequence[str]) -> bool:
    """Write names to /etc/hosts, as root or through sudo.

    Return True if the names then resolve. sudo must need no password. Lines that an earlier call wrote for one of the
    names are removed: the name's node now has another address.
    """
    try:
        with open("/etc/hosts", "r+" if os.access("/etc/hosts", os.W_OK) else "r") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the agents of a machine's nodes may share the file
            text = hosts_with(file.read(), names, addresses)
            if file.writable():
                file.seek(0)
                file.write(text)
                file.truncate()
                return resolves(names, addresses)
            subprocess.run(
                ["sudo", "-n", "tee", "/etc/hosts"],
                input=text.encode(),
                check=True,
                timeout=20,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    except (OSError, subprocess.SubprocessError):
        return False
    return resolves(names, addresses)


def agree_on_names(node: CloudNode, others: dict[int, tuple[Line, CloudNodeInfo]], mine: CloudNodeInfo) -> list[str]:
    """Return names that every node resolves; else the addresses."""

    def ask(message: Message, own: bool) -> bool:
        for line, _ in others.values():
            line.send(message)
        answers = [line.receive(60).get("resolves") for line, _ in others.values()]
        return all(answers) and own

    info = [mine, *(others[rank][1] for rank in range(1, node.count))]
    names = [info.host for info in info]
    if len(set(names)) == node.count and ask({"check": names}, resolves(names, node.addresses)):
        return names
    names = ["%s-%d" % (node.settings.host_prefix, rank) for rank in range(node.count)]
    if ask({"hosts": names}, add_hosts(names, node.addresses)):
        return names
    return node.addresses
