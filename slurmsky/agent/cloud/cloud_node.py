"""One node of a cloud job: folders, program, environment and agent."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ... import paths
from ...model.allocation import Launch
from ...protocol.log_frames import log_key
from ...protocol.node_settings import FILE, ShipmentSettings
from ..job import output_files
from ..net import endpoints
from ..process import daemonize
from . import cloud_environment, rendezvous, ssh_names, submit_folder
from .node_info import CloudNodeInfo, detected
from .program_install import LIBRARY, install

#: a file in the shipment's folder and in the site's bucket: a line "JOB CODE" for each job that has ended
ENDED = "ended"
PATH_FIELDS = frozenset(("submit_dir", "work_dir", "stdin", "stdout", "stderr"))


class CloudNode:
    """State and folders of one node of the job."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)
        settings = ShipmentSettings.read(os.path.join(self.folder, FILE))
        self.settings = settings.of_rank(int(os.environ["SKYPILOT_JOB_RANK"])) if settings.ranks else settings
        self.launch = Launch.from_dict(self.settings.launch)
        self.log_key = log_key(bytes.fromhex(self.settings.letters.key))
        self.rank = int(os.environ.get("SKYPILOT_NODE_RANK", "0"))
        self.addresses = os.environ.get("SKYPILOT_NODE_IPS", "127.0.0.1").split()
        self.count = len(self.addresses)
        #: the id of the SkyPilot job on the cluster that started this process
        self.given = os.environ.get("SKYPILOT_INTERNAL_JOB_ID", "")
        self.session = int(time.time()) % 8999
        name = "slurmsky-%d-%s-%d" % (os.geteuid(), self.settings.name, self.rank)
        self.home = os.path.join(os.environ.get("TMPDIR") or "/tmp", name)
        if len(self.home) > 60:  # a socket's address has 108 bytes
            self.home = os.path.join("/tmp", name)
        self.tls = os.path.join(self.folder, "tls")
        account = pwd.getpwuid(os.geteuid())
        self.ssh = os.path.join(account.pw_dir, ".ssh")  # ssh reads this folder regardless of HOME
        self.environment = cloud_environment.node_environment(os.environ, account.pw_dir)
        self.name = ""
        self._relocation = ("", "")
        self.return_left = self.settings.files.return_bytes
        self.port = 0
        self._bucket = self.settings.files.bucket
        self._mounted = os.path.expanduser(self.settings.files.mounted)
        #: the jobs of this run: the job itself, or the elements of a packed array
        self.jobs = [int(one.get("job_id", self.launch.job_id)) for one in self.settings.jobs]
        #: the jobs that ended in an earlier launch of this run, with their exit codes
        self.ended = self._read_ended()

    def _read_ended(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for folder in filter(None, (self.folder, self._mounted)):
            try:
                with open(os.path.join(folder, ENDED)) as file:
                    pairs = [line.split() for line in file]
            except (OSError, ValueError):
                continue
            found.update({int(words[0]): int(words[1]) for words in pairs if len(words) == 2})
        return found

    def note_ended(self, codes: Mapping[int, int]) -> None:
        """Write ended jobs' exit codes to the bucket, for a relaunch."""
        if self._mounted:
            try:
                os.makedirs(self._mounted, exist_ok=True)
                with open(os.path.join(self._mounted, ENDED), "w") as file:
                    file.writelines("%d %d\n" % pair for pair in codes.items())
            except OSError:
                pass  # the controller watches SkyPilot and still cancels such a launch

    # --- preparation of the node
    def prepare(self, names: Sequence[str]) -> None:
        """Create the private folder, launchers, submit folder and environment. ``names``: the names of all nodes."""
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home, mode=0o700)
        if self.count > 1:
            ssh_names.add(self.ssh, self.home, names)
        with open(os.path.join(self.home, output_files.NOTE), "x"):
            self.bin = install(self.home)
        given = self.settings.files
        #: the shipped folder: the submit folder, or a folder above it that the script names
        self.shipped_folder = given.folder or self.launch.submit_dir
        # A node may have the folder above, and another file system in place of the submit folder.
        self.same_files = os.path.isdir(self.launch.submit_dir) and submit_folder.same_folder(
            self.shipped_folder, given.identity
        )
        self.note = ""
        if not self.same_files:
            if not submit_folder.make_folder(self.shipped_folder):
                fallback = os.path.join(self.home, "submit")
                os.makedirs(fallback)
                self.note = "%s cannot be made on this node; %s is used instead" % (
                    self.shipped_folder,
                    fallback,
                )
                self._set_relocation(self.shipped_folder, fallback)
            if given.archive:
                submit_folder.unpack(os.path.join(self.folder, os.path.expanduser(given.archive)), self.shipped_folder)
            os.makedirs(self.launch.submit_dir, exist_ok=True)
        self.before = {} if self.same_files else submit_folder.scan(self.shipped_folder)
        home = self.launch.environment.get("HOME", "")
        if not home or not (self.same_files or submit_folder.make_folder(home)):
            home = self.environment["HOME"]
        self.user_home = home
        for path in () if self.same_files else given.links:
            submit_folder.link(home + path[1:] if path.startswith("~/") else path, self.launch.submit_dir)
        env = self.environment_here(self.launch.environment)
        if "PWD" in self.launch.environment:
            env["PWD"] = self.launch.work_dir
        self.launch.environment = env
        for folder in {
            self.launch.work_dir,
            *(os.path.dirname(path) for path in (self.launch.stdout, self.launch.stderr) if path.startswith("/")),
        }:
            # Folders of the user that the script expects; under Slurm a missing folder is the user's mistake.
            if folder in given.folders and not self.same_files:
                submit_folder.make_folder(folder)

    def environment_here(self, user: Mapping[str, str]) -> dict[str, str]:
        """Return the user's environment for this node, with the site's variables."""
        env = cloud_environment.job_environment(user, self.environment, self.same_files, self.user_home, os.path.exists)
        return {**env, **self.settings.environment}

    def path_here(self, path: str) -> str:
        """Map a path of the submit host to its path on this node."""
        old, new = self._relocation
        return new + path[len(old) :] if old and (path == old or path.startswith(old + "/")) else path

    def _set_relocation(self, old: str, new: str) -> None:
        self._relocation = (old, new)
        for field, value in self.relocated(self.launch.to_dict()).items():
            if field in PATH_FIELDS:
                setattr(self.launch, field, value)
        self.shipped_folder = new

    def relocated(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Map the paths in fields of a launch to this node."""
        return {name: self.path_here(value) if name in PATH_FIELDS else value for name, value in fields.items()}

    def copy_to_bucket(self, path: str, name: str) -> str:
        """Copy a file to the bucket under its name in the submit folder.

        Return its location in the bucket, or "" if it was not copied.
        """
        if not self._bucket:
            return ""
        try:
            target = os.path.join(self._mounted, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)
        except OSError:
            return ""
        return "%s/%s" % (self._bucket, name)

    def contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Return the (server, client) TLS contexts of the job."""
        server, client = endpoints.tls_contexts(
            *(os.path.join(self.tls, name) for name in ("node.crt", "node.key", "ca.crt"))
        )
        return server, client

    # --- description of this node
    def info(self) -> CloudNodeInfo:
        """Properties of this node that the first node needs."""
        host = self.addresses[self.rank]
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        probe.bind((host, 0))
        self.port = probe.getsockname()[1]
        probe.close()
        return detected(self.rank, host, self.port, self.given)

    # --- the agent
    def start_agent(self) -> subprocess.Popen[bytes]:
        """Start this node's agent and wait until it listens."""
        self.socket = os.path.join(self.home, paths.AGENT_SOCKET)
        environment = {**self.environment, "PYTHONPATH": LIBRARY}
        command = [
            sys.executable,
            "-S",
            "-m",
            "slurmsky.agent",
            "--node",
            self.name,
            "--home",
            self.home,
            "--address",
            endpoints.UNIX + self.socket,
            "--bin",
            self.bin,
        ]
        if self.count > 1:
            command += ["--listen", "%s:%d" % (self.addresses[self.rank], self.port)]
            for option, name in (("--cert", "node.crt"), ("--key", "node.key"), ("--ca", "ca.crt")):
                command += [option, os.path.join(self.tls, name)]
        log = os.path.join(self.home, paths.AGENT_LOG)
        process = daemonize.start(command, environment, log)
        deadline = time.monotonic() + 60
        while not endpoints.accepts_connections(self.socket):
            if process.poll() is not None or time.monotonic() > deadline:
                with open(log, errors="replace") as file:
                    log_tail = file.read()[-2000:].strip()
                raise rendezvous.RendezvousError("the agent of node %s does not start: %s" % (self.name, log_tail))
            time.sleep(0.02)
        return process

    def remove_traces(self) -> None:
        """Remove the private folder, and the entries in other files."""
        if self.count > 1:
            ssh_names.remove(self.ssh, self.home)
        shutil.rmtree(self.home, ignore_errors=True)
