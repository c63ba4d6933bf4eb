"""Determines the folder to mount for a path. Some paths exist on every node."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..shell.word_sets import words

#: folders of every Linux image, whose subfolders need no mount
_SYSTEM = words(
    """
    bin usr etc dev tmp proc sys var lib lib32 lib64 sbin run root boot srv media lost+found
    """
)
#: folders with one subfolder per tool, which is the folder to mount
_DEEP = words(
    """
    opt home users user mnt nfs net global projects project appl apps sw software n p u export g
    """
)
#: parts of a home directory that SkyPilot's nodes have, or that programs create
_HOME = re.compile(
    r"~/(\.bashrc|\.bash_profile|\.profile|\.bash_login|\.zshrc|\.cache|\.config|\.ssh|\.local|\.conda|\.ray|\.triton|"
    r"\.jupyter|\.aws|\.netrc|\.matplotlib|miniconda3|sky_workdir)(/|$)"
)
#: folders that clusters provide on each node for a job
_SCRATCH = re.compile(r"/(local[-_]?scratch|scratch[-_]?local|lscratch|local|ssd|nvme|raid/scratch|"
                      r"mnt/([\w-]*[_-])?(resource|nvme|local|ssd)([_-]\w*)?|"
                      r"worker\w*|state/partition1|jobfs|tmpdir|ramdisk|shm)(/|$)")  # fmt: skip


def on_every_node(path: str) -> bool:
    """Return whether every node has this path, with any image."""
    if path.startswith("~"):
        return path in ("~", "~/") or bool(_HOME.match(path))
    parts = path.strip("/").split("/")
    if parts[0] not in _SYSTEM:
        return False
    if parts[0] in ("bin", "sbin") and len(parts) > 2:
        return False  # a folder of an old cluster's software
    if parts[0] in ("srv", "media") and len(parts) > 1:
        return False
    if parts[0] == "usr" and len(parts) > 1 and parts[1] in ("users", "home", "people", "work", "data"):
        return False
    if parts[:2] == ["usr", "local"]:
        return len(parts) < 3 or parts[2] in ("bin", "lib", "etc", "share", "include") or parts[2].startswith("cuda")
    return True


def is_scratch(path: str) -> bool:
    """Return whether the path's name means a node's local disk."""
    return bool(_SCRATCH.match(path))


def is_mounted(path: str, folders: Iterable[str]) -> bool:
    """Return whether a path of the site contains ``path``. ``/*``, ``~/*`` contain each folder that a script names."""
    for folder in folders:
        if folder in ("/*", "~/*"):
            if path.startswith(folder[0]) and not on_every_node(path):
                return True
        elif path == folder or path.startswith(folder.rstrip("/") + "/"):
            return True
    return False


def known_part(path: str) -> str:
    """Path up to its first unknown component. Such a component is a variable, or GNU parallel's ``{1}``."""
    known = re.split(r"\$|\{", path, maxsplit=1)[0]
    return known if known == path or known.endswith("/") else known.rpartition("/")[0]


def mount_of(path: str) -> str:
    """Folder to mount for a path.

    It is never a system folder, and ends before the path's unknown components.

    >>> mount_of("/scratch/$USER/x"), mount_of("/home/me/data/a"), mount_of("~/data/set1"), mount_of("/opt/tool/bin")
    ('/scratch', '/home/me', '~/data', '/opt/tool')
    """
    known = known_part(path)
    if known.startswith("~"):
        parts = known.split("/")
        return "/".join(parts[:2]) if len(parts) > 1 and parts[1] else "~"
    parts = known.strip("/").split("/")
    return "/" + "/".join(parts[: 3 if parts[:2] == ["usr", "local"] else 2 if parts[0] in _DEEP else 1])


def checkpoint_folder(path: str) -> str:
    """Mount point of a bucket for checkpoints below a path."""
    first = "/" + path.strip("/").split("/")[0]
    if re.search("ckpt|checkpoint", first.lower()):
        return first
    folder, _, name = path.rstrip("/").rpartition("/")
    return folder if re.search(r"\.[A-Za-z][\w.]{0,8}$", name) and folder else path.rstrip("/")


def top_of(path: str) -> str:
    """First two folders of a path, which are its mount point.

    >>> top_of("/work/{1}/x.txt"), top_of("/data/set/a")
    ('/work', '/data/set')
    """
    if path.startswith("~"):
        return mount_of(path)
    parts = (
        path.strip("/").split("/") if known_part(path) == path else [*known_part(path).strip("/").split("/")[:2], ""]
    )
    return "/" + "/".join(parts[:2] if len(parts) > 2 else parts[:1])
