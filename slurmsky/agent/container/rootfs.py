"""Root folders of images on this node: imported, unpacked once, cached.

A tool like podman is needed only to import the image, not to run it: namespaces.py creates the container, so that a
task in the container is still a child of the agent, with its CPUs, devices, signals, descriptors and exit code.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Callable, Iterator, Mapping, Optional

from ...language import image_names as language

Say = Callable[[str], None]


class ImageError(Exception):
    """The image cannot be imported, for the reason in the lines."""


@dataclass
class Image:
    """A root folder with environment, working folder and entry point."""

    root: str
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = ""
    entrypoint: list[str] = field(default_factory=list)


class ImageStore:
    """Images of one user on one node. ``environment``: the environment of the tools that import images."""

    def __init__(self, folder: str, environment: Mapping[str, str], cwd: str, say: Say) -> None:
        self.folder = folder
        self._environment = dict(environment)
        self._cwd = cwd
        self._say = say

    def image(self, text: str) -> Image:
        """Return the image with this name, file or folder. Raises ImageError."""
        if language.is_path(text):
            return self._file(os.path.join(self._cwd, text))
        return self._named_image(language.reference(text))

    def container(self, name: str, flag: str, image: Optional[str]) -> Image:
        """Return the named container, created if missing. Raises ImageError."""
        place = os.path.join(self.folder, "named", name)
        with self._locked("named-" + name):
            there = os.path.isdir(place)
            if flag == "create" and there:
                raise ImageError('"create" flag was passed to --container-name but the container already exists')
            if not there:
                if image is None or flag == "exec":
                    raise ImageError("there is no container named %s on this node" % name)
                found = self.image(image)
                self._place(place, lambda made: self._copy(found, made))
            return self._read(place)

    # --- import of images
    def _file(self, path: str) -> Image:
        try:
            inspected = os.stat(path)
        except OSError as error:
            raise ImageError("%s: %s" % (path, error.strerror)) from None
        key = "%s-%d-%d-%d-%d" % (path, inspected.st_dev, inspected.st_ino, inspected.st_size, inspected.st_mtime_ns)
        if os.path.isdir(path):
            if os.geteuid() in (0, inspected.st_uid):
                return Image(path, _enroot_environment(path))
            # In a user namespace this user cannot change another user's files, or create mount points: copy.
            return self._cached(key, path, lambda made: self._copy(Image(path, _enroot_environment(path)), made))
        with open(path, "rb") as file:
            magic = file.read(4)
        if magic == b"hsqs":
            program = self._program("unsquashfs")
            if program is None:
                raise ImageError("a squashfs image needs unsquashfs (Debian: squashfs-tools) on this node")

            def unpack(made: str) -> None:
                self._run([str(program), "-no-progress", "-no-xattrs", "-d", os.path.join(made, "root"), path])

            return self._cached(key, path, unpack)
        program = self._program("apptainer", "singularity")
        if program is None:
            raise ImageError("%s is no squashfs file, and there is no apptainer to read it" % path)
        return self._cached(key, path, lambda made: self._apptainer(str(program), path, made))

    def _named_image(self, name: str) -> Image:
        whole = language.qualified(name)
        failures: list[str] = []
        for tool in ("podman", "docker"):
            program = self._program(tool)
            if program is None:
                continue
            try:
                inspected = self._inspect(program, name) or self._inspect(program, whole)
                if inspected is None:
                    self._say("pyxis: importing docker image: %s" % name)
                    self._run([program, "pull", "-q", whole])
                    inspected = self._inspect(program, whole)
                if inspected is None:
                    raise ImageError("%s has pulled %s, and does not show it" % (tool, whole))
                return self._cached(str(inspected["Id"]), name, partial(self._export, program, inspected))
            except ImageError as error:
                failures += ["%s: %s" % (tool, line) for line in error.args]
        program = self._program("apptainer", "singularity")
        if program is not None:
            source = "docker://" + whole
            try:
                return self._cached(source, name, lambda made: self._apptainer(str(program), source, made))
            except ImageError as error:
                failures += ["%s: %s" % (os.path.basename(program), line) for line in error.args]
        raise ImageError(*(failures or ["there is no podman, docker or apptainer on this node to fetch %s" % name]))

    def _inspect(self, program: str, name: str) -> Optional[dict[str, object]]:
        done = self._call([program, "image", "inspect", name])
        try:
            found = json.loads(done.stdout) if done.returncode == 0 else []
        except ValueError:
            return None
        return found[0] if found and isinstance(found[0], dict) and "Id" in found[0] else None

    def _export(self, program: str, inspected: dict[str, object], made: str) -> None:
        # The tool requires a command for an image without one; the command is never run.
        box = self._run([program, "create", str(inspected["Id"]), "/bin/true"]).strip().splitlines()[-1]
        root = os.path.join(made, "root")
        os.mkdir(root)
        own = [] if os.geteuid() == 0 else ["--no-same-owner", "--exclude=dev/*", "--delay-directory-restore"]
        try:
            sent = subprocess.Popen(
                [program, "export", box],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                env=self._environment,
            )
            with sent:
                unpacked = subprocess.run(
                    ["tar", "-x", "--numeric-owner", *own, "-C", root],
                    stdin=sent.stdout,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=self._environment,
                )
            if sent.returncode or unpacked.returncode:
                raise ImageError("cannot unpack: %s" % _last_line(unpacked.stderr))
        finally:
            self._call([program, "rm", "-f", box])
        config = inspected.get("Config")
        config = config if isinstance(config, dict) else {}
        environment = dict(str(item).split("=", 1) for item in config.get("Env") or () if "=" in str(item))
        entrypoint = [str(word) for word in config.get("Entrypoint") or ()]
        self._note(made, Image("", environment, str(config.get("WorkingDir") or ""), entrypoint))

    def _apptainer(self, program: str, source: str, made: str) -> None:
        self._say("pyxis: importing docker image: %s" % source)
        root = os.path.join(made, "root")
        self._run([program, "-q", "build", "--sandbox", root, source])
        self._note(made, Image("", _apptainer_environment(root)))

    # --- cached root folders
    def _cached(self, key: str, name: str, unpack: Callable[[str], None]) -> Image:
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]
        place = os.path.join(self.folder, "images", digest)
        if not os.path.isdir(place):
            with self._locked(digest):
                if not os.path.isdir(place):
                    self._say("pyxis: creating container filesystem: %s" % name)
                    self._place(place, unpack)
        return self._read(place)

    def _place(self, place: str, unpack: Callable[[str], None]) -> None:
        """Create a folder atomically: unpack beside it and rename."""
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        made = tempfile.mkdtemp(prefix=".making.", dir=os.path.dirname(place))
        try:
            unpack(made)
            os.rename(made, place)
        except OSError as error:
            raise ImageError(str(error)) from None
        finally:
            if os.path.isdir(made):
                remove_tree(made)

    def _copy(self, image: Image, made: str) -> None:
        self._run(["cp", "-a", "--reflink=auto", image.root, os.path.join(made, "root")])
        self._note(made, image)

    @staticmethod
    def _note(made: str, image: Image) -> None:
        inspected = {
            "environment": image.environment,
            "directory": image.directory,
            "entrypoint": image.entrypoint,
        }
        with open(os.path.join(made, "image.json"), "w", encoding="utf-8") as file:
            json.dump(inspected, file)

    @staticmethod
    def _read(place: str) -> Image:
        root = os.path.join(place, "root")
        try:
            with open(os.path.join(place, "image.json"), encoding="utf-8") as file:
                return Image(root, **json.load(file))
        except FileNotFoundError:
            return Image(root, _enroot_environment(root))

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        folder = os.path.join(self.folder, "locks")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    # --- programs
    def _program(self, *names: str) -> Optional[str]:
        path = self._environment.get("PATH") or os.defpath
        return next((found for name in names if (found := shutil.which(name, path=path))), None)

    def _call(self, argv: list[str]) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._environment,
                cwd="/",
            )
        except OSError as error:
            return subprocess.CompletedProcess(argv, 127, b"", str(error).encode())

    def _run(self, argv: list[str]) -> str:
        done = self._call(argv)
        if done.returncode:
            raise ImageError(_last_line(done.stderr) or "%s ended with code %d" % (argv[0], done.returncode))
        return done.stdout.decode(errors="replace")


def remove_tree(folder: str) -> None:
    """Remove a root folder, also without write permission. Files that cannot be removed stay."""
    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.isdir(folder):
        return
    for root, folders, _files in os.walk(folder):
        for path in (root, *(os.path.join(root, name) for name in folders)):
            if not os.path.islink(path):
                try:
                    os.chmod(path, 0o700)
                except OSError:
                    continue
    shutil.rmtree(folder, ignore_errors=True)


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:500] if lines else ""


def _enroot_environment(root: str) -> dict[str, str]:
    """Return the environment of an enroot image, from /etc/environment."""
    try:
        with open(os.path.join(root, "etc/environment"), encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Za-z_]\w*=", line))


def _apptainer_environment(root: str) -> dict[str, str]:
    """Return the environment of an apptainer image, from its shell file."""
    path = os.path.join(root, ".singularity.d/env/10-docker2singularity.sh")
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return {}
    plain = re.findall(r'^export (\w+)="([^"$`\\]*)"$', text, re.MULTILINE)
    default = re.findall(r'^export (\w+)="\$\{\1:-"?([^"$`\\}]*)"?\}"$', text, re.MULTILINE)
    return dict(plain + default)
