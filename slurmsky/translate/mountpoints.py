"""Which part of a path one mounts, and which paths every node has. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .wordsets import words

#: folders of every Linux image; what lies below them needs no mount
_SYSTEM = words(
    """
    bin usr etc dev tmp proc sys var lib lib32 lib64 sbin run root boot srv media lost+found
    """
)
#: below these each tool has a folder of its own, which is what one mounts
_DEEP = words(
    """
    opt home users user mnt nfs net global projects project appl apps sw software n p u export g
    """
)
#: parts of a home that SkyPilot's nodes have, or that programs make
_HOME = re.compile(
    r"~/(\.bashrc|\.bash_profile|\.profile|\.bash_login|\.zshrc|\.cache|\.config|\.ssh|\.local|\.conda|\.ray|\.triton|"
    r"\.jupyter|\.aws|\.netrc|\.matplotlib|miniconda3|sky_workdir)(/|$)"
)
#: places that clusters keep on each node, for the time of a job
_SCRATCH = re.compile(r"/(local_?scratch|scratch_?local|lscratch|local|ssd|nvme|raid/scratch|"
                      r"mnt/(resource|nvme|local|ssd)|"
                      r"worker\w*|state/partition1|jobfs|tmpdir|ramdisk|shm)(/|$)")  # fmt: skip


def on_every_node(path: str) -> bool:
    """Whether a node has this path whatever its image."""
    if path.startswith("~"):
        return path in ("~", "~/") or bool(_HOME.match(path))
    parts = path.strip("/").split("/")
    if parts[0] not in _SYSTEM:
        return False
    if parts[:2] == ["usr", "local"]:
        return len(parts) < 3 or parts[2] in ("bin", "lib", "etc", "share", "include") or parts[2].startswith("cuda")
    return True


def is_scratch(path: str) -> bool:
    """Whether the path is by its name a disk of the node itself."""
    return bool(_SCRATCH.match(path))


def is_mounted(path: str, folders: Iterable[str]) -> bool:
    """Whether one of the site's paths holds ``path``; ``/*`` and ``~/*`` hold each folder that a script names."""
    for folder in folders:
        if folder in ("/*", "~/*"):
            if path.startswith(folder[0]) and not on_every_node(path):
                return True
        elif path == folder or path.startswith(folder.rstrip("/") + "/"):
            return True
    return False


def mount_of(path: str) -> str:
    """The folder to mount for a path: never a folder of the system, of unknown parts only what lies before them.

    >>> mount_of("/scratch/$USER/x"), mount_of("/home/me/data/a"), mount_of("~/data/set1"), mount_of("/opt/tool/bin")
    ('/scratch', '/home/me', '~/data', '/opt/tool')
    """
    known = path.split("$", 1)[0]
    if "$" in path and not known.endswith("/"):
        known = known.rpartition("/")[0]
    if known.startswith("~"):
        parts = known.split("/")
        return "/".join(parts[:2]) if len(parts) > 1 and parts[1] else "~"
    parts = known.strip("/").split("/")
    return "/" + "/".join(parts[: 3 if parts[:2] == ["usr", "local"] else 2 if parts[0] in _DEEP else 1])
