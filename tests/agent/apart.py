"""A cluster of isolated nodes, as in a cloud: each agent in network, mount, process, host name and IPC
namespaces of its own.

A node has its own address on a bridge, its own state and submit folders (of one name on all nodes, each with content
of its own), its own /dev/shm and process numbers. Agents reach each other over TCP with the job's certificates.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from slurmsky.engines.sky.head.certificates import make

from .driver import Cluster, Node

_PORT = 7000
_NET = "10.177.0."
#: a name for the machine around the nodes: its network has nothing but the bridge
_WORLD = f"""
ip link set lo up && ip link add br0 type bridge && ip addr add {_NET}254/24 dev br0 && ip link set br0 up || exit 1
echo ready; read end
"""
#: name, its own folder, the folder of all nodes' name, last number of its address, agent...
_NODE = f"""
hostname "$0" && mount --bind "$1" "$2" && mount -t tmpfs tmpfs /dev/shm && ip link set lo up || exit 1
echo ready; read plugged
ip addr add {_NET}$3/24 dev eth0 && ip link set eth0 up || exit 1
shift 3; exec "$@" < /dev/null >&2
"""


@functools.cache
def possible() -> bool:
    """Whether this account may make such namespaces, with a bridge between them."""
    if not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return False
    script = "ip link add br0 type bridge && ip link add v1 type veth && unshare -mnpuif --mount-proc true"
    return subprocess.run(["unshare", "-rmn", "sh", "-c", script], capture_output=True, check=False).returncode == 0


class _Space:
    """A process that holds namespaces; it ends with its stdin."""

    def __init__(self, argv: list[str], **options: Any) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", **options)
        assert self.process.stdout is not None
        with self.process.stdout as reported:
            line = reported.readline()
        assert line == b"ready\n", "the namespaces cannot be made"

    def enter(self, *kinds: str) -> list[str]:
        """The words before a command that make it run inside."""
        return ["nsenter", "-t", str(self.process.pid), "--preserve-credentials", "-U", *kinds, "--"]


class ApartNode(Node):
    """An agent in separate namespaces."""

    def __init__(self, cluster: ApartCluster, number: int) -> None:
        super().__init__(cluster.home, f"n{number}")
        self.cluster = cluster
        self.number = number
        self.own = cluster.base / self.name  # the content of the common folder on this node
        self.socket_path = self.own / "nodes" / self.name / "agent.sock"
        self.space: _Space | None = None

    @property
    def address(self) -> str:
        """The address at which other agents reach this node."""
        return f"{_NET}{self.number}:{_PORT}"

    def start(self) -> None:
        """Create the namespaces, connect the node to the bridge, start the agent and connect to it."""
        (self.own / "work").mkdir(parents=True, exist_ok=True)
        tls = self.cluster.base / "tls"
        agent = [*self.command(), "--listen", self.address]
        for option, name in (("--cert", "node.crt"), ("--key", "node.key"), ("--ca", "ca.crt")):
            agent += [option, str(tls / name)]
        world = self.cluster.world
        assert world is not None
        inside = ["unshare", "-mnpui", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _NODE]
        names = [self.name, str(self.own), str(self.home), str(self.number)]
        with open(self.cluster.base / (self.name + ".log"), "ab") as log:
            self.space = _Space([*world.enter("-m", "-n"), *inside, *names, *agent], stderr=log)
        self.process = self.space.process
        wire = f"ip link add v{self.number} master br0 up type veth peer name eth0 netns {self.process.pid}"
        subprocess.run([*world.enter("-n"), "sh", "-c", f"ip link del v{self.number} 2>/dev/null; {wire}"], check=True)
        assert self.process.stdin is not None
        self.process.stdin.write(b"plugged\n")
        self.process.stdin.close()
        self.connect()

    def stop(self) -> None:
        """Kill all processes of the node: `unshare` forwards no signal."""
        if self._sock is not None:
            self.disconnect()
        self.kill()

    @property
    def agent_pid(self) -> int:
        """`unshare` stays as the parent of the agent."""
        assert self.process is not None
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def log(self) -> str:
        """The agent's own log."""
        return (self.cluster.base / (self.name + ".log")).read_text(errors="replace")


class ApartCluster(Cluster):
    """Like Cluster; the paths of launches are those that the nodes see."""

    def __init__(self, count: int = 1, cpus: int = 8) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="apart")
        self.base = Path(self._folder.name)
        super().__init__(count, cpus, self.base / "home")
        self.nodes: list[Node] = [ApartNode(self, number + 1) for number in range(count)]
        self.world: _Space | None = None

    def __enter__(self) -> ApartCluster:
        make(self.base / "tls", "test")
        self.world = _Space(["unshare", "-rmn", "sh", "-c", _WORLD])
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        assert self.world is not None
        assert self.world.process.stdin is not None
        self.world.process.stdin.close()
        self.world.process.wait()
        self._folder.cleanup()

    def outside(self, node: Node, path: Path) -> Path:
        """The path, outside the node, of a file of the node."""
        assert isinstance(node, ApartNode)
        return node.own / path.relative_to(self.home)

    def address_of(self, node: Node) -> str:
        """The address of a node's agent: agents connect over the network."""
        assert isinstance(node, ApartNode)
        return node.address

    def inside(self, node: Node) -> list[str]:
        """The words that run a command on a node, in the submit folder."""
        assert isinstance(node, ApartNode) and node.space is not None
        return [*node.space.enter("-m", "-n", "-u", "-i"), "sh", "-c", 'cd "$0" && exec "$@"', str(self.work)]

    def socket_of(self, node: Node) -> Path:
        """The agent's socket as the node sees it."""
        return self.home / "nodes" / node.name / "agent.sock"
