"""Creates and joins a container's mount namespace. Users other than root also need a user namespace."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Callable, Iterable, Mapping

from ...language import image_names as language
from ...protocol.step_plan import ContainerRequest
from .rootfs import Image

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "relatime": 0x200000,
}
_PROPAGATION = {"private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}
_MS_REMOUNT, _MS_BIND, _MS_REC = 0x20, 0x1000, 0x4000
_MNT_DETACH = 2
#: the node's folders that each container has; MPI libraries and debuggers of the tasks share files in /tmp
_SYSTEM = ("/proc", "/sys", "/dev", "/tmp")
_SYSTEM_FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/localtime")


class NamespaceError(Exception):
    """The container cannot be started, for the reason in the text."""


def libc() -> Any:
    """Return the C library, whose errno ``ctypes.get_errno`` reads."""
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def _mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = [os.fsencode(word) if word else None for word in (source, target, kind)]
    _check(libc().mount(*words, ctypes.c_ulong(flags), os.fsencode(data) or None), "mount %s" % target)


def make(
    request: ContainerRequest, image: Image, box: str, env: Mapping[str, str], driver: list[tuple[str, str]]
) -> None:
    """Turn this process's namespaces into the container of an image.

    ``box``: the work folder. ``driver``: files of the GPU's driver as (path on the node, path in the container). Raises
    OSError or ContainerError.
    """
    _own_namespaces(request.root)
    _mount("none", "/", flags=_MS_REC | _PROPAGATION["private"])
    root = os.path.join(box, "root")
    os.mkdir(root)
    if request.name:
        _mount(image.root, root, flags=_MS_BIND | _MS_REC)
    else:
        _overlay(image.root, root, box)
    for path in _SYSTEM:
        _bind(path, root, path, ())
    for path in _SYSTEM_FILES:
        if os.path.exists(path):
            _bind(os.path.realpath(path), root, path, ())
    _add_user(root, box)
    for source, target in driver:
        _bind(source, root, target, ())
    home = env.get("HOME", "")
    if request.home and home.startswith("/"):
        _bind(home, root, home, ())
    for source, target, flags in request.mounts:
        if source == language.TMPFS:
            _mount("tmpfs", _mount_point(root, target, folder=True), "tmpfs")
        elif source == language.UMOUNT:
            _check(libc().umount2(os.fsencode(_node_path(root, target)), _MNT_DETACH), "umount %s" % target)
        else:
            _bind(source, root, target, flags)
    if request.readonly:
        _mount("none", root, flags=_MS_REMOUNT | _MS_BIND | _MS["ro"])
    # pivot_root(".", ".") mounts the old root over the new one; the old root is then unmounted.
    os.chdir(root)
    number = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine)
    if number is None:
        raise NamespaceError("no containers on %s" % os.uname().machine)
    _check(libc().syscall(number, b".", b"."), "pivot_root")
    _check(libc().umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def _own_namespaces(as_root: bool) -> None:
    """Create the mount namespace and, except for root, a user namespace. Raises ContainerError."""
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS if uid == 0 else _CLONE_NEWNS | _CLONE_NEWUSER
    if libc().unshare(flags) != 0:
        raise NamespaceError(
            "this node lets %s make no namespaces (%s)%s"
            % (
                "root" if uid == 0 else "users",
                os.strerror(ctypes.get_errno()),
                ""
                if uid == 0
                else ": see sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces and "
                "kernel.apparmor_restrict_unprivileged_userns",
            )
        )
    if uid:
        inside = (0, 0) if as_root else (uid, gid)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", "%d %d 1" % (inside[0], uid)),
            ("gid_map", "%d %d 1" % (inside[1], gid)),
        ):
            with open("/proc/self/" + name, "w") as file:
                file.write(text)


def _overlay(image: str, root: str, box: str) -> None:
    """Mount an overlay of the image. Changes are stored in the step's folder, or in memory if that fails."""
    # Relative names: full paths may contain commas and colons, which separate the mount options.
    os.chdir(box)
    os.mkdir("image")
    _mount(image, "image", flags=_MS_BIND | _MS_REC)
    os.mkdir("changes")
    for attempt in ("disk", "memory"):
        if attempt == "memory":
            _mount("tmpfs", "changes", "tmpfs")
        for name in ("upper", "work"):
            os.makedirs("changes/" + name, exist_ok=True)
        try:
            _mount("overlay", root, "overlay", 0, "lowerdir=image,upperdir=changes/upper,workdir=changes/work")
            return
        except OSError as error:
            reason = error
    raise NamespaceError("no overlay of the image's files: %s; --container-name keeps a copy instead" % reason)


def _node_path(root: str, path: str) -> str:
    """Convert a path in the container to a path on the node. Links in the image resolve within the image."""
    here, links = root, 0
    parts = [part for part in path.split("/") if part not in ("", ".")]
    while parts:
        part = parts.pop(0)
        if part == "..":
            here = here if here == root else os.path.dirname(here)
            continue
        step = os.path.join(here, part)
        if os.path.islink(step):
            links += 1
            if links > 40:
                raise NamespaceError("too many links in %s" % path)
            target = os.readlink(step)
            here = root if target.startswith("/") else here
            parts[:0] = [word for word in target.split("/") if word not in ("", ".")]
            continue
        here = step
    return here


def _mount_point(root: str, path: str, folder: bool) -> str:
    """Return a path's mount point, created if missing."""
    place = _node_path(root, path)
    if not os.path.exists(place):
        if folder:
            os.makedirs(place)
        else:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "w"):
                pass
    return place


def _bind(source: str, root: str, target: str, flags: Iterable[str]) -> None:
    if not os.path.exists(source):
        raise NamespaceError("failed to mount: %s: No such file or directory" % source)
    place = _mount_point(root, target, folder=os.path.isdir(source))
    words = {flag for flag in flags if not flag.startswith("x-")}
    deep = 0 if "bind" in words else _MS_REC
    _mount(source, place, flags=_MS_BIND | deep)
    for word in words:
        kind = word[1:] if word.startswith("r") and word[1:] in _PROPAGATION else word
        if kind in _PROPAGATION:
            _mount("none", place, flags=_PROPAGATION[kind] | (_MS_REC if kind != word else 0))
    more = [word for word in words if word in _MS]
    if more:
        # Keep the source's flags: a user namespace must not remove flags.
        kept = sum(_MS[word] for word in _MS if word in _mount_options(place))
        flagged = sum({_MS[word] for word in more})
        _mount("none", place, flags=_MS_REMOUNT | _MS_BIND | flagged | kept)
    unknown = words - set(_MS) - set(_PROPAGATION) - {"r" + word for word in _PROPAGATION} - {"rw", "bind", "rbind"}
    if unknown:
        raise NamespaceError("failed to mount: %s: unknown flag %s" % (target, sorted(unknown)[0]))


def _mount_options(place: str) -> list[str]:
    metadata = os.statvfs(place)
    named = {"ro": os.ST_RDONLY, "nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV, "noexec": os.ST_NOEXEC}
    return [name for name, bit in named.items() if metadata.f_flag & bit]


def _add_user(root: str, box: str) -> None:
    """Add this user and group to the container's passwd and group."""
    import grp
    import pwd

    for name, line in (
        ("passwd", _entry(lambda: ":".join(map(str, pwd.getpwuid(os.getuid()))))),
        ("group", _entry(lambda: "%s:x:%d:" % (grp.getgrgid(os.getgid()).gr_name, os.getgid()))),
    ):
        place = _node_path(root, "/etc/" + name)
        try:
            with open(place, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError:
            text = ""
        wanted = line.split(":")
        if not line or any(known.split(":")[2:3] == wanted[2:3] for known in text.splitlines()):
            continue
        copy = os.path.join(box, name)
        with open(copy, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("%s%s\n" % (text if not text or text.endswith("\n") else text + "\n", line))
        _bind(copy, root, "/etc/" + name, ())


def _entry(look_up: Callable[[], str]) -> str:
    try:
        return look_up()
    except KeyError:
        return ""  # a user without a name


def join(holder: int) -> None:
    """Join the holder's namespaces."""
    kinds = (("user", _CLONE_NEWUSER), ("mnt", _CLONE_NEWNS)) if os.geteuid() else (("mnt", _CLONE_NEWNS),)
    opened = [
        (os.open("/proc/%d/ns/%s" % (holder, name), os.O_RDONLY | os.O_CLOEXEC), name, kind) for name, kind in kinds
    ]
    for fd, name, kind in opened:
        _check(libc().setns(fd, kind), "setns %s" % name)
    os.chdir("/")
