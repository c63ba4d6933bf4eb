"""``ssh $node`` between the nodes of a cloud job, by the names that the job knows them under.

On its clouds and on Kubernetes SkyPilot gives all nodes of a cluster one key (~/.ssh/sky-cluster-key), which each of
them takes, and a block in ~/.ssh/config that names it (setup_commands of sky/templates/*-ray.yml.j2). That block does
not say the port of an sshd in a container (10022: sky/provision/docker_utils.py), and an address that was another
machine's before makes ssh warn. So while a job runs, a block for its names stands before all others in that file, where
SkyPilot's key is; elsewhere nothing is done. It is marked as ours, and taken out at the end.
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
    """Put a job's names into the config in ``folder``; False where SkyPilot has laid no key there. ``home``: the job's
    private folder on this node, which is the block's mark. ``server``: where this node's sshd is configured.
    """
    if not os.path.exists(os.path.join(folder, KEY)):
        return False
    port = listens_on(server)
    lines = [
        "Host %s" % " ".join(names),
        *(["  Port %d" % port] if port != 22 else []),
        "  IdentityFile ~/.ssh/%s" % KEY,
        "  StrictHostKeyChecking no",
        "  UserKnownHostsFile /dev/null",  # an address may have been another machine's
        "  LogLevel ERROR",
        "Match all",  # what comes first in the user's own part holds for all hosts
    ]
    block = "# slurmsky {0}: begin\n{1}\n# slurmsky {0}: end\n".format(home, "\n".join(lines))
    return _edit(folder, home, block)


def remove(folder: str, home: str) -> None:
    """Take a job's names out again, and those of jobs that left without."""
    if os.path.exists(os.path.join(folder, KEY)):
        _edit(folder, home, "")


def listens_on(server: str) -> int:
    """The port that the sshd of this node, and of its likes, is told to listen on."""
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
        with _alone(folder):
            try:
                with open(path, errors="surrogateescape") as file:
                    before, mode = file.read(), os.fstat(file.fileno()).st_mode & 0o777
            except FileNotFoundError:
                before, mode = "", 0o600
            after = block + _BLOCK.sub(lambda found: _left(found, home), before)
            if after == before:
                return True
            if not after and not block:
                os.unlink(path)  # it was nothing but ours
                return True
            partial = path + ".slurmsky"
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            with os.fdopen(descriptor, "w", errors="surrogateescape") as file:
                file.write(after)
            os.replace(partial, path)
    except OSError:
        return False  # a file that is not the user's to write
    return True


def _left(found: re.Match[str], home: str) -> str:
    """What is left of a block: another job's stays as long as that is here."""
    return found[0] if found["home"] != home and os.path.isdir(found["home"]) else ""


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Jobs that share the account edit one after the other."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
