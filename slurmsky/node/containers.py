"""pyxis' containers: a step's tasks, or a batch script, in the root folder of an image.

As with enroot there is no container daemon and no runtime: a namespace of mounts (and, for anyone but root, of users)
is made once per step and node, and each task joins it just before exec. So a task is our child as ever: CPUs, GPUs,
signals, exit codes, descriptors (PMI), network and process ids are the node's.

    agent ── keeper (finds the image, tidies up) ── holder (its namespaces are the container)
      └── task: forked by the agent, joins the holder's namespaces, executes
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NoReturn, Optional

from ..language import containers as language
from . import wire
from .helper import Helper
from .rootfs import Image, ImageError, Store, remove_tree

if TYPE_CHECKING:
    from ..model.allocation import Launch
    from .loop import Loop

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
_PR_SET_PDEATHSIG = 1
#: of the node, seen in every container. /tmp is where MPI libraries and debuggers of the tasks meet.
_SYSTEM = ("/proc", "/sys", "/dev", "/tmp")
_SYSTEM_FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/localtime")
_NVIDIA_LIBRARIES = re.compile(r"^\s*lib(?:cuda|nvidia-|nvcuvid|nvoptix)\S*\.so\S* .*=> (/\S+)$", re.MULTILINE)
_NVIDIA_PROGRAMS = ("nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server")
_NVIDIA_FOLDER = "/run/slurmsky-nvidia"


class ContainerError(Exception):
    """The container cannot be started; the lines say why."""


def request(options: Iterable[tuple[str, str]], cwd: str, image_of_nodes: str = "") -> Optional[dict[str, Any]]:
    """What pyxis' options ask of a node, JSON-ready; None: no container.

    ``image_of_nodes``: the nodes run in this image already (SkyPilot's image_id): its options change what they can.
    """
    said = dict(options)
    image, name = said.get("container-image"), said.get("container-name")
    if not image and not name:
        return None
    mounts = language.mounts(said["container-mounts"]) if said.get("container-mounts") else ()
    own, flag = language.name(name) if name else ("", "")
    return {
        "image": image,
        "inside": bool(image_of_nodes) and (not image or _same(image, image_of_nodes)),
        "name": own,
        "flag": flag,
        "mounts": [[_absolute(cwd, mount.source), _absolute(cwd, mount.target), list(mount.flags)] for mount in mounts],
        "directory": said.get("container-workdir") or "",
        "keep": list(language.variables(said["container-env"])) if said.get("container-env") else [],
        "home": said.get("container-mount-home") == "yes",
        "root": said.get("container-remap-root") == "yes",
        "entrypoint": said.get("container-entrypoint") == "yes",
        "readonly": said.get("container-writable") == "no",
        "cwd": cwd,
    }


def of_batch(launch: Launch) -> Optional[dict[str, Any]]:
    """What a batch job's own options ask for its script; None: no container."""
    if not launch.spec.site_options or launch.script is None:
        return None
    asked = request(launch.spec.site_options, launch.work_dir, launch.image)
    if asked is not None and not asked["inside"]:
        # The spooled script, which is executed where it is.
        folder = os.path.dirname(launch.script)
        asked["mounts"].append([folder, folder, ["ro"]])
    return asked


def _same(one: str, other: str) -> bool:
    return language.qualified(language.reference(one)) == language.qualified(language.reference(other))


def _absolute(cwd: str, path: str) -> str:
    return path if path in (language.TMPFS, language.UMOUNT) else os.path.normpath(os.path.join(cwd, path))


class Container:
    """The agent's side: one container of a step, or of a batch script, on this node."""

    def __init__(self, loop: Loop, asked: dict[str, Any], store: str, say: Callable[[str], None]) -> None:
        self._loop = loop
        self._asked = asked
        self._store = store
        self._say = say
        self._keeper: Optional[Helper] = None
        self._ready: Callable[[], None] = lambda: None
        self._failed: Callable[[tuple[str, ...]], None] = lambda lines: None
        self._holder = 0
        self._image = Image("")
        self._directory = ""

    def prepare(
        self,
        environment: Mapping[str, str],
        ready: Callable[[], None],
        failed: Callable[[tuple[str, ...]], None],
    ) -> None:
        """Call ready() when tasks may be started in it, or failed(lines)."""
        if self._asked["inside"]:
            self._directory = self._asked["directory"]
            problems = _inside(self._asked["mounts"])
            if problems:
                failed(tuple(problems))
            else:
                ready()
            return
        self._ready, self._failed = ready, failed
        self._keeper = Helper(
            self._loop,
            lambda sock: _keep(sock, self._asked, self._store, environment),
            self._heard,
            lambda: self._fail(("pyxis: the container's keeper has ended",)),
        )

    def _heard(self, message: dict[str, Any]) -> None:
        if "say" in message:
            self._say(message["say"])
        elif "failed" in message:
            self._fail(tuple(message["failed"]))
        else:
            self._holder = message["holder"]
            self._image = Image("", message["environment"], "", message["entrypoint"])
            self._directory = message["directory"]
            self._failed = lambda lines: None
            self._ready()

    def _fail(self, lines: tuple[str, ...]) -> None:
        failed, self._failed = self._failed, lambda lines: None
        failed(lines)

    def argv(self, words: list[str]) -> list[str]:
        """What is executed: behind the image's entry point where that was asked for."""
        return [*self._image.entrypoint, *words] if self._asked["entrypoint"] else words

    def enter(self, environment: dict[str, str]) -> None:
        """In a new process, just before exec: join the container; its variables are put into ``environment``.

        Raises OSError or ContainerError. The process must have one thread, and import nothing from here on.
        """
        if self._holder:
            _join(self._holder)
        for name, value in self._image.environment.items():
            if name not in self._asked["keep"]:
                environment[name] = value
        if self._directory:
            try:
                os.chdir(self._directory)
            except OSError as error:
                raise ContainerError("couldn't chdir to %s: %s" % (self._directory, error.strerror)) from None
            environment["PWD"] = self._directory

    def close(self) -> None:
        """Nothing runs in it any more."""
        self._failed = lambda lines: None
        if self._keeper is not None:
            self._keeper.close()  # it ends the container, and removes what is not to be kept
            self._keeper = None


def _inside(mounts: list[list[Any]]) -> list[str]:
    """Mounts where the node is the image already: a link does where nothing stands in the way."""
    problems = []
    for source, target, _flags in mounts:
        if source in (target, language.TMPFS, language.UMOUNT) or os.path.realpath(target) == os.path.realpath(source):
            continue
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if os.path.isdir(target) and not os.path.islink(target) and not os.listdir(target):
                os.rmdir(target)
            os.symlink(source, target)
        except OSError as error:
            problems.append("pyxis: cannot have %s at %s on this node: %s" % (source, target, error.strerror))
    return problems


# --- the keeper


def _tell(sock: socket.socket, message: dict[str, Any]) -> None:
    sock.sendall(wire.encode(wire.JSON, json.dumps(message).encode()))


def _keep(sock: socket.socket, asked: dict[str, Any], store: str, env: Mapping[str, str]) -> None:
    images = Store(store, env, asked["cwd"], lambda text: _tell(sock, {"say": text}))
    box, holder = "", 0
    try:
        try:
            if asked["name"]:
                image = images.container(asked["name"], asked["flag"], asked["image"])
            else:
                image = images.image(asked["image"])
        except ImageError as error:
            what = "pyxis: failed to import docker image"
            _tell(sock, {"failed": [what, *("pyxis:     %s" % line for line in error.args)]})
            return
        driver = _nvidia()
        if driver:
            _find_nvidia(image.environment)
        os.makedirs(os.path.join(store, "running"), mode=0o700, exist_ok=True)
        box = tempfile.mkdtemp(dir=os.path.join(store, "running"))
        read, write = os.pipe2(os.O_CLOEXEC)
        holder = os.fork()
        if not holder:
            os.close(read)
            _hold(write, lambda: _make(asked, image, box, env, driver))
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        if said != b"ready":
            lines = said.decode(errors="replace").splitlines() or ["the container's process was killed"]
            _tell(sock, {"failed": ["pyxis: couldn't start container", *("pyxis:     %s" % line for line in lines)]})
            return
        _tell(
            sock,
            {
                "holder": holder,
                "environment": image.environment,
                "entrypoint": image.entrypoint,
                "directory": asked["directory"] or image.directory or "/",
            },
        )
        while sock.recv(4096):
            pass  # the agent has nothing to say but that it is over
    except ConnectionError:
        pass  # the agent is gone
    finally:
        if holder:
            os.kill(holder, signal.SIGKILL)
            os.waitpid(holder, 0)
        if box:
            remove_tree(box)


def _hold(write: int, make: Callable[[], None]) -> NoReturn:
    """Make the container around this process, and stay."""
    try:
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        make()
        os.write(write, b"ready")
        os.close(write)
        while True:
            signal.pause()
    except (OSError, ContainerError) as error:
        os.write(write, str(error).encode(errors="replace"))
    finally:
        os._exit(1)


# --- the container itself


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def _mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = [os.fsencode(word) if word else None for word in (source, target, kind)]
    _check(_libc().mount(*words, ctypes.c_ulong(flags), os.fsencode(data) or None), "mount %s" % target)


def _make(
    asked: dict[str, Any], image: Image, box: str, env: Mapping[str, str], driver: list[tuple[str, str]]
) -> None:
    own_namespace(asked["root"])
    _mount("none", "/", flags=_MS_REC | _PROPAGATION["private"])
    root = os.path.join(box, "root")
    os.mkdir(root)
    if asked["name"]:
        _mount(image.root, root, flags=_MS_BIND | _MS_REC)
    else:
        _overlay(image.root, root, box)
    for path in _SYSTEM:
        _bind(path, root, path, ())
    for path in _SYSTEM_FILES:
        if os.path.exists(path):
            _bind(os.path.realpath(path), root, path, ())
    _user(root, box)
    for source, target in driver:
        _bind(source, root, target, ())
    home = env.get("HOME", "")
    if asked["home"] and home.startswith("/"):
        _bind(home, root, home, ())
    for source, target, flags in asked["mounts"]:
        if source == language.TMPFS:
            _mount("tmpfs", _point(root, target, folder=True), "tmpfs")
        elif source == language.UMOUNT:
            _check(_libc().umount2(os.fsencode(_within(root, target)), _MNT_DETACH), "umount %s" % target)
        else:
            _bind(source, root, target, flags)
    if asked["readonly"]:
        _mount("none", root, flags=_MS_REMOUNT | _MS_BIND | _MS["ro"])
    # pivot_root(".", "."): the new root on top of the old one, which is then taken away beneath it.
    os.chdir(root)
    number = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine)
    if number is None:
        raise ContainerError("no containers on %s" % os.uname().machine)
    _check(_libc().syscall(number, b".", b"."), "pivot_root")
    _check(_libc().umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def own_namespace(as_root: bool) -> None:
    """A mount namespace of our own; users who are not root need one of users, too. Raises ContainerError."""
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS if uid == 0 else _CLONE_NEWNS | _CLONE_NEWUSER
    if _libc().unshare(flags) != 0:
        raise ContainerError(
            "this node lets %s make no namespaces (%s)%s"
            % (
                "root" if uid == 0 else "users",
                os.strerror(ctypes.get_errno()),
                "" if uid == 0 else ": see sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces and "
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
    """The image below, changes in a folder that goes with the step, or in memory where that cannot be."""
    # Relative names: those of folders may hold the commas and colons that divide the options.
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
    raise ContainerError("no overlay of the image's files: %s; --container-name keeps a copy instead" % reason)


def _within(root: str, path: str) -> str:
    """A path of the container as one of the node: links in the image lead within the image."""
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
                raise ContainerError("too many links in %s" % path)
            target = os.readlink(step)
            here = root if target.startswith("/") else here
            parts[:0] = [word for word in target.split("/") if word not in ("", ".")]
            continue
        here = step
    return here


def _point(root: str, path: str, folder: bool) -> str:
    """The place in the container where something is to be mounted; made where it is missing."""
    place = _within(root, path)
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
        raise ContainerError("failed to mount: %s: No such file or directory" % source)
    place = _point(root, target, folder=os.path.isdir(source))
    words = {flag for flag in flags if not flag.startswith("x-")}
    deep = 0 if "bind" in words else _MS_REC
    _mount(source, place, flags=_MS_BIND | deep)
    for word in words:
        kind = word[1:] if word.startswith("r") and word[1:] in _PROPAGATION else word
        if kind in _PROPAGATION:
            _mount("none", place, flags=_PROPAGATION[kind] | (_MS_REC if kind != word else 0))
    more = [word for word in words if word in _MS]
    if more:
        # Flags that the source has already must stay: a namespace of users may take none away.
        kept = sum(_MS[word] for word in _MS if word in _mount_options(place))
        asked = 0
        for word in more:
            asked |= _MS[word]
        _mount("none", place, flags=_MS_REMOUNT | _MS_BIND | asked | kept)
    unknown = words - set(_MS) - set(_PROPAGATION) - {"r" + word for word in _PROPAGATION} - {"rw", "bind", "rbind"}
    if unknown:
        raise ContainerError("failed to mount: %s: unknown flag %s" % (target, sorted(unknown)[0]))


def _mount_options(place: str) -> list[str]:
    facts = os.statvfs(place)
    named = {"ro": os.ST_RDONLY, "nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV, "noexec": os.ST_NOEXEC}
    return [name for name, bit in named.items() if facts.f_flag & bit]


def _user(root: str, box: str) -> None:
    """Who we are has a name in the container, too."""
    import grp
    import pwd

    for name, line in (
        ("passwd", _entry(lambda: ":".join(map(str, pwd.getpwuid(os.getuid()))))),
        ("group", _entry(lambda: "%s:x:%d:" % (grp.getgrgid(os.getgid()).gr_name, os.getgid()))),
    ):
        place = _within(root, "/etc/" + name)
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


def _nvidia() -> list[tuple[str, str]]:
    """The driver's libraries and programs, which no image has: they must be those of the node's kernel.

    (path here, path in the container).
    """
    if not os.path.exists("/dev/nvidiactl"):
        return []
    ldconfig = shutil.which("ldconfig", path="/usr/sbin:/sbin:/usr/bin:/bin")
    listed = subprocess.run([ldconfig, "-p"], stdout=subprocess.PIPE, text=True).stdout if ldconfig else ""
    found = [
        (os.path.realpath(path), "%s/lib/%s" % (_NVIDIA_FOLDER, os.path.basename(path)))
        for path in _NVIDIA_LIBRARIES.findall(listed)
    ]
    for name in _NVIDIA_PROGRAMS:
        program = shutil.which(name, path="/usr/bin:/usr/local/bin:/usr/local/nvidia/bin")
        if program:
            found.append((os.path.realpath(program), "%s/bin/%s" % (_NVIDIA_FOLDER, name)))
    return list({target: (source, target) for source, target in found}.values())


def _find_nvidia(environment: dict[str, str]) -> None:
    """Have the image's variables lead to what ``_nvidia`` names."""
    for variable, folder, usual in (
        ("LD_LIBRARY_PATH", "lib", ""),
        ("PATH", "bin", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ):
        before = environment.get(variable, usual)
        ours = "%s/%s" % (_NVIDIA_FOLDER, folder)
        environment[variable] = "%s:%s" % (before, ours) if before else ours


def _join(holder: int) -> None:
    """Become part of the holder's namespaces."""
    kinds = (("user", _CLONE_NEWUSER), ("mnt", _CLONE_NEWNS)) if os.geteuid() else (("mnt", _CLONE_NEWNS),)
    opened = [
        (os.open("/proc/%d/ns/%s" % (holder, name), os.O_RDONLY | os.O_CLOEXEC), name, kind) for name, kind in kinds
    ]
    for fd, name, kind in opened:
        _check(_libc().setns(fd, kind), "setns %s" % name)
    os.chdir("/")
