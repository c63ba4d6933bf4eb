"""Reserves a node of an existing cluster for one user (ExclusiveUser).

By advisory locks on the node. Nodes that SkyPilot starts for a partition belong to the user whose controller ordered
them. An existing cluster is open to all users of the API server, each of whom may start an agent on its nodes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def reserve(folder: str, owner: str) -> str:
    """Reserve this machine for a user until this process ends.

    Return another user who has reserved it, or "". Raises OSError.
    """
    try:
        os.mkdir(folder)
        os.chmod(folder, 0o1777)
    except FileExistsError:
        pass
    mine = hashlib.sha256(owner.encode()).hexdigest()[:12] + ".owner"
    guard = _open(os.path.join(folder, "lock"))
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for name in sorted(os.listdir(folder)):
            if name.endswith(".owner") and name != mine:
                other = _holder(os.path.join(folder, name))
                if other:
                    return other
        path = os.path.join(folder, mine)
        if not os.path.exists(path):
            with open(path, "x") as file:
                file.write(owner)
        fcntl.flock(_open(path), fcntl.LOCK_SH)  # several nodes of one user may be on one machine
        return ""
    finally:
        os.close(guard)


def _holder(path: str) -> str:
    """Return the user whose process locks an entry, or ""."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return ""
    except BlockingIOError:
        text = os.read(descriptor, 100).decode("utf-8", "replace")
        return "".join(char for char in text if char.isprintable()) or "another user"
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except FileNotFoundError:
        return os.open(path, _FLAGS | os.O_CREAT, 0o644)
