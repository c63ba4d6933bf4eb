"""Declares every environment variable and file of slurmsky.

It also checks a state folder's permissions. The option table declares Slurm's input variables (`SBATCH_*`,
`SQUEUE_*`...). Modules that must not import this one (the client's, and those that other packages must not reach)
repeat the few names that they need; `tests/unit/test_paths.py` lists these modules, and fails on a name that is not
declared here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

#: State folder of the controller. Default: `$XDG_STATE_HOME/slurmsky`, else `~/.local/state/slurmsky`.
HOME = "SLURMSKY_HOME"
#: Site file. Default: `$XDG_CONFIG_HOME/slurmsky/slurmsky.toml`, else `/etc/slurmsky/slurmsky.toml`.
SITE = "SLURMSKY_SITE"
#: Set inside jobs: the unix socket of the node's agent, which serves the job's commands instead of the controller.
AGENT = "SLURMSKY_AGENT"
#: "sky", "local" or "auto": overrides the site file's engine.
ENGINE = "SLURMSKY_ENGINE"
#: The interpreter the launchers use instead of a private environment; it must have the dependencies.
PYTHON = "SLURMSKY_PYTHON"
#: Set by a cloud node in a relayed request, never in a job: the script that ``sbatch`` read on the node.
SCRIPT = "SLURMSKY_SCRIPT"
#: Set by a cloud node in a relayed request, never in a job: the job id that ``sbatch`` has printed on the node.
GIVEN_ID = "SLURMSKY_GIVEN_ID"
#: Set by a client in a repeated request, never in a job: the job that ``salloc`` or ``srun`` has already requested.
REQUESTED_JOB = "SLURMSKY_REQUESTED_JOB"
#: Set by a client in a repeated request, never in a job: the exit status of the command that ``salloc`` ran.
CHILD_STATUS = "SLURMSKY_CHILD_STATUS"
#: A client sets it in a repeated request, never in a job: the warm node that has its session.
SESSION_NODE = "SLURMSKY_SESSION_NODE"

#: The folder of the launchers, which agents prepend to the PATH of jobs.
BIN = "SLURMSKY_BIN"
#: Set by ``srun`` for its own allocation, and removed from the environment of its tasks.
ALLOCATED = "SLURMSKY_ALLOCATED"
#: Set in a request that the controller forwards to an agent: the job that the request concerns.
JOB_ID = "SLURMSKY_JOB_ID"
#: Set in a request of ``sstat`` to an agent: the step that it reports.
ONE_STEP = "SLURMSKY_ONE_STEP"
#: Resource limits of the submit host, from the controller to the agent's tasks.
RLIMITS = "SLURMSKY_RLIMITS"
#: The caller's BASH_ENV, which the agent's own file for BASH_ENV sources.
BASH_ENV = "SLURMSKY_BASH_ENV"
#: Marks processes that hold a part of this machine for a job of another user.
CLAIM = "SLURMSKY_CLAIM"
#: Environment block of the caller, from the launcher to the client.
ENVIRON = "SLURMSKY_ENVIRON"
#: Set by the client after it repaired the private environment, so that it repairs only once.
REPAIRED = "SLURMSKY_REPAIRED"
#: The site's table of modules, for the ``module`` function of jobs.
MODULES = "SLURMSKY_MODULES"
#: Address (host, or host:port) of a spot machine's metadata service. Default: the clouds' address, 169.254.169.254.
METADATA = "SLURMSKY_METADATA"
#: Reaction of the ``module`` function to an unknown name.
UNKNOWN_MODULES = "SLURMSKY_UNKNOWN_MODULES"

XDG_STATE_HOME = "XDG_STATE_HOME"
XDG_CONFIG_HOME = "XDG_CONFIG_HOME"
XDG_CACHE_HOME = "XDG_CACHE_HOME"

SOCKET_NAME = "controller.sock"
LOCK_NAME = "controller.lock"
LOG_NAME = "controller.log"
DATABASE_NAME = "queue.db"
AGENT_SOCKET = "agent.sock"
AGENT_LOCK = "agent.lock"
AGENT_LOG = "agent.log"

SYSTEM_SITE = "/etc/slurmsky/slurmsky.toml"
#: The NVIDIA driver's files for containers, unpacked once on each node.
NVIDIA_DRIVER = "/run/slurmsky-nvidia"

#: folders and files of the system that slurmsky reads or writes, except those below /proc, /sys and /dev
OF_THE_SYSTEM = (
    "/bin/sh", "/bin/true", "/etc/hostname", "/etc/hosts", "/etc/localtime", "/etc/resolv.conf", "/etc/shells",
    "/etc/ssh", "/run/lock", "/tmp",
    "/usr/bin", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/var/lib/systemd/linger",
)  # fmt: skip

#: flags with which a file in a state folder is opened: never through a link
OPEN_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


def _path(name: str) -> Path:
    from pathlib import Path  # imported late: agents import this module at their start, and read only the names above

    return Path(name)


def _user_home(env: Mapping[str, str]) -> Path:
    if env.get("HOME"):
        return _path(env["HOME"])
    import pwd

    return _path(pwd.getpwuid(os.geteuid()).pw_dir)


def _xdg(env: Mapping[str, str], variable: str, default: str) -> Path:
    # The XDG specification requires that a relative path in these variables is ignored.
    value = env.get(variable, "")
    return _path(value) if value.startswith("/") else _user_home(env) / default


class StatePaths(NamedTuple):
    """Paths of the files in one state folder."""

    home: Path

    @property
    def socket(self) -> Path:
        """The controller's socket, mode 0600."""
        return self.home / SOCKET_NAME

    @property
    def lock(self) -> Path:
        """Lock file (flock) of a client that starts a controller. Two clients thus start one controller."""
        return self.home / LOCK_NAME

    @property
    def log(self) -> Path:
        """Standard output and error of the controller."""
        return self.home / LOG_NAME

    @property
    def database(self) -> Path:
        """The database of queue and accounting (controller/store/database.py)."""
        return self.home / DATABASE_NAME

    @property
    def jobs(self) -> Path:
        """One folder per job: script, environment, spool, journal."""
        return self.home / "jobs"

    def job(self, job_id: int) -> Path:
        """One job's folder."""
        return self.jobs / str(job_id)

    @property
    def nodes(self) -> Path:
        """Folders of this machine's nodes, with agent socket and log."""
        return self.home / "nodes"

    def agent_socket(self, node: str) -> Path:
        """The socket of a node's agent."""
        return self.nodes / node / AGENT_SOCKET


def state(env: Mapping[str, str]) -> StatePaths:
    """Paths of the state folder that an environment names. Creates no folder."""
    if env.get(HOME):
        return StatePaths(_path(os.path.abspath(env[HOME])))
    return StatePaths(_xdg(env, XDG_STATE_HOME, ".local/state") / "slurmsky")


def site_file(env: Mapping[str, str]) -> Path | None:
    """Path of the site file, or None for the defaults.

    It is SLURMSKY_SITE, even if that file does not exist, else the first default that exists.
    """
    if env.get(SITE):
        return _path(env[SITE])
    usual = _xdg(env, XDG_CONFIG_HOME, ".config") / "slurmsky" / "slurmsky.toml"
    return next((path for path in (usual, _path(SYSTEM_SITE)) if path.is_file()), None)


def cache(env: Mapping[str, str]) -> Path:
    """The folder with each clone's private environment."""
    return _xdg(env, XDG_CACHE_HOME, ".cache") / "slurmsky"


class ForeignFolder(OSError):
    """Error: other users own or can write to the folder. ``strerror`` is the reason in one line."""


def check_state(path: str, tighten: bool = False, what: str = "state folder") -> None:
    """Raise ForeignFolder unless only this user can write to a folder.

    A user with write access could create a socket there, to which a client would send its environment, or replace a
    file by a link. Client, controller and agent check the folder before they use its files. ``tighten``: remove other
    users' read permission. ``what``: the folder's name in the message. Raises OSError when there is no folder.
    """
    me = os.geteuid()
    link = os.lstat(path)
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (me, 0):
        raise ForeignFolder(0, f"the {what} {path} is a link of another user (uid {link.st_uid})")
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if tighten else -1
    try:
        metadata = os.fstat(folder) if tighten else os.stat(path)
        if metadata.st_uid != me:
            raise ForeignFolder(0, f"the {what} {path} belongs to another user (uid {metadata.st_uid})")
        mode = stat.S_IMODE(metadata.st_mode)
        if mode & 0o022:
            raise ForeignFolder(
                0, f"the {what} {path} is open to other users (mode {mode:04o}): chmod 700 it, or remove it"
            )
        if tighten and mode & 0o077:
            os.fchmod(folder, 0o700)
    finally:
        if folder >= 0:
            os.close(folder)
