"""Makes ``ssh $node`` work between the nodes of a cloud job.

On its clouds and on Kubernetes SkyPilot gives all nodes of a cluster one key (~/.ssh/sky-cluster-key), which each node
accepts, and a block in ~/.ssh/config that names the key (setup_commands of sky/templates/*-ray.yml.j2). That block
lacks the port of an sshd in a container (10022: sky/provision/docker_utils.py), and ssh warns about an address that
another machine had before. So this module adds a block for the job's node names at the beginning of that file while the
job runs, and removes it at the end; a mark identifies the block. Nodes without SkyPilot's key are not changed.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

KEY = "sky-cluster-key"
_BLOCK = re.compile(r"^# slurmsky (?P<home>/.*): begin\n(?:.*\n)*?# slurmsky (?P=home): end\n", re.MULTILINE)
_PORT = re.compile(r"^\s*Port[\s=]+(\d+)", re.MULTILINE | re.IGNORECASE)


def add(folder: str, home: str, names: Iterable[str], server: str = "/etc/ssh") -> bool:
    """Add a job's node names to the config in ``folder``.

    Return False if SkyPilot has stored no key there. ``home``: the job's private folder on this node, which marks the
    block. ``server``: the folder of sshd's configuration.
    """
    if not os.path.exists(os.path.join(folder, KEY)):
        return False
    port = configured_port(server)
    lines = [
        "Host %s" % " ".join(names),
        *(["  Port %d" % port] if port != 22 else []),
        "  IdentityFile ~/.ssh/%s" % KEY,
        "  StrictHostKeyChecking no",
        "  UserKnownHostsFile /dev/null",  # another machine may have had the address before
        "  LogLevel ERROR",
        "Match all",  # the first lines of the user's own part apply to all hosts
    ]
    block = "# slurmsky {0}: begin\n{1}\n# slurmsky {0}: end\n".format(home, "\n".join(lines))
    return _edit(folder, home, block)


def remove(folder: str, home: str) -> None:
    """Remove a job's block, and the blocks left by ended jobs."""
    if os.path.exists(os.path.join(folder, KEY)):
        _edit(folder, home, "")


def configured_port(server: str) -> int:
    """Return the configured port of this node's sshd. Nodes with the same image have the same port."""
    for path in [*sorted(glob.glob(os.path.join(server, "sshd_config.d", "*.conf"))), server + "/sshd_config"]:
        try:
            with open(path, errors="replace") as file:
                found = _PORT.search(file.read())
        except OSError:
            continue
        if found:
            return int(found[1])
    return 22


def _edit(folder: str, home: str, block: str) -> bool:
    path = os.path.realpath(os.path.join(folder, "config"))
    try:
        with _locked(folder):
            try:
                with open(path, errors="surrogateescape") as file:
                    before, mode = file.read(), os.fstat(file.fileno()).st_mode & 0o777
            except FileNotFoundError:
                before, mode = "", 0o600
            after = block + _BLOCK.sub(lambda found: _kept_block(found, home), before)
            if after == before:
                return True
            if not after and not block:
                os.unlink(path)  # the file had only our block
                return True
            partial = path + ".slurmsky"
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            with os.fdopen(descriptor, "w", errors="surrogateescape") as file:
                file.write(after)
            os.replace(partial, path)
    except OSError:
        return False  # a file that the user must not write
    return True


def _kept_block(found: re.Match[str], home: str) -> str:
    """Return the replacement of a block. Another job's block is kept while its private folder exists."""
    return found[0] if found["home"] != home and os.path.isdir(found["home"]) else ""


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Lock against concurrent edits by jobs of the same account."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
