"""Main program of a warm node, started by SkyPilot's ``run``.

Called as ``python agent.pyz pilot FOLDER`` on every node of the cluster. FOLDER holds settings.json and tls/. The pilot
starts the node's agent, prints the agent's address, and restarts a crashed agent. The pilot exits when the agent
exits normally (idle, and no controller); SkyPilot's autodown then ends the cluster. On a spot machine the pilot
forwards the cloud's notice to the agent.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import Optional

from ... import paths
from ...model import plain
from ...protocol.node_settings import FILE, PilotSettings
from ..process import daemonize
from . import cloud_environment, node_owner, spot_notice
from .node_info import CloudNodeInfo, detected
from .program_install import LIBRARY, install

#: prefix of the line in which a node prints its agent's address
MARK = "slurmsky-node "
_RESTART_S = 1.0


class Pilot:
    """One warm node of a cluster, with its agent."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        self.settings = PilotSettings.read(os.path.join(self.folder, FILE))
        self.rank = int(os.environ.get("SKYPILOT_NODE_RANK", "0"))
        self.address = os.environ.get("SKYPILOT_NODE_IPS", "127.0.0.1").split()[self.rank]
        self.name = self.settings.nodes[self.rank]
        base = "slurmsky-%d-%s-%d" % (os.geteuid(), self.settings.order, self.rank)
        self.home = os.path.join(os.environ.get("TMPDIR") or "/tmp", base)
        if len(self.home) > 60:  # a socket's address has 108 bytes
            self.home = os.path.join("/tmp", base)
        self._agent: Optional[subprocess.Popen[bytes]] = None
        self._end_requested = False

    def run(self) -> int:
        """Run the agent until it exits normally; return 0 then."""
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        metadata = os.lstat(self.home)
        if not stat.S_ISDIR(metadata.st_mode) or metadata.st_uid != os.geteuid() or metadata.st_mode & 0o077:
            print("slurmsky: %s is not a private folder of this account" % self.home, file=sys.stderr)
            return 1
        lock = os.open(os.path.join(self.home, "pilot.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)  # SkyPilot may start two pilots: the second waits for the first
        refused = self._refused()
        if refused:
            self._print(CloudNodeInfo(rank=self.rank, refused=refused))
            return 1
        launchers = install(self.home)
        signal.signal(signal.SIGTERM, self._end)
        port = self._port()
        if self.settings.spot:
            spot_notice.watch(self._forward_notice)
        announced = False
        while not self._end_requested:
            self._agent = self._start(launchers, port)
            while not announced and self._agent.poll() is None:
                announced = self._listens(port)
                if announced:
                    self._announce(port)
            code = self._agent.wait()
            if code == 0:
                return 0
            time.sleep(_RESTART_S)
        return 0

    def _refused(self) -> str:
        """Return why this node must not run the agent, or ""."""
        owner = self.settings.owner
        if not owner:
            return ""
        try:
            other = node_owner.reserve(os.path.join(os.environ.get("TMPDIR") or "/tmp", "slurmsky-owners"), owner)
        except OSError as error:
            return "node %s: %s" % (self.name, error)
        return "node %s is in use by %s (ExclusiveUser)" % (self.name, other) if other else ""

    def _end(self, *_: object) -> None:
        self._end_requested = True
        if self._agent is not None:
            self._agent.terminate()

    def _forward_notice(self, notice: spot_notice.Notice) -> None:
        """Forward the cloud's notice to the agent, whose SIGTERM handler reads it."""
        notice.write(os.path.join(self.home, spot_notice.FILE))
        if self._agent is not None:
            self._agent.terminate()

    def _port(self) -> int:
        """Return a free port, and the same one after a restart. The controller has stored it."""
        path = os.path.join(self.home, "port")
        try:
            with open(path) as file:
                return int(file.read())
        except (OSError, ValueError):
            probe = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, socket.SOCK_STREAM)
            probe.bind((self.address, 0))
            port = int(probe.getsockname()[1])
            probe.close()
            with open(path, "w") as file:
                file.write("%d" % port)
            return port

    def _listens(self, port: int) -> bool:
        """True if the agent's port accepts connections; else wait briefly."""
        try:
            socket.create_connection((self.address, port), 5).close()
            return True
        except OSError:
            time.sleep(0.02)
            return False

    def _announce(self, port: int) -> None:
        self._print(detected(self.rank, self.address, port))

    def _print(self, info: CloudNodeInfo) -> None:
        print(MARK + json.dumps(plain.write(info)), flush=True)

    def _start(self, launchers: str, port: int) -> subprocess.Popen[bytes]:
        account = pwd.getpwuid(os.geteuid())
        command = [sys.executable, "-S", "-m", "slurmsky.agent", "--node", self.name, "--home", self.home]
        command += ["--bin", launchers, "--warm", str(self.settings.idle_s)]
        command += ["--listen", "%s:%d" % (self.address, port)]
        for option, name in (("--cert", "node.crt"), ("--key", "node.key"), ("--ca", "ca.crt")):
            command += [option, os.path.join(self.folder, "tls", name)]
        environment = {**cloud_environment.node_environment(os.environ, account.pw_dir), "PYTHONPATH": LIBRARY}
        return daemonize.start(command, environment, os.path.join(self.home, paths.AGENT_LOG))


def main(argv: list[str]) -> int:
    """Run a warm node."""
    return Pilot(argv[0]).run()
