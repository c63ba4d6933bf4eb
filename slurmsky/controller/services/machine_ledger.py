"""Ledger of this machine's resources that all users' jobs hold.

It has one small file per controller and advisory locks, and no daemon. Each controller writes the CPUs, memory and GPUs
of its local jobs into its entry file, and keeps a shared lock on the file. Its agents keep a lock, too, so that the
entry remains valid while jobs run without a controller. An entry without a lock belongs to a dead controller. A
controller holds the lock of the file ``lock`` from reading the others' entries to writing its own, so that two
controllers do not assign the same GPU. No entry is trusted: an entry counts only in a file owned by the user in its
name, and a wait for the lock has a time limit.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

log = logging.getLogger("slurmsky.controller")

#: candidate folders that all users share; the first existing one is used
FOLDERS = ("/run/lock", "/dev/shm", "/tmp")
_NAME = re.compile(r"(\d{1,10})-[0-9a-f]{12}")
_MAX_ENTRY_BYTES = 1 << 16
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK_S = 0.02
_NO_WAIT_S = 5.0  # seconds without a further wait for a lock that was not released
_REWRITE_S = 0.25  # shortest interval between two writes that shrink an entry


@dataclass(frozen=True)
class Held:
    """Resources of the machine that are in use. ``cpu_ids``: the CPUs, if known."""

    cpus: int = 0
    memory_mib: int = 0
    gpus: frozenset[int] = frozenset()
    cpu_ids: frozenset[int] = frozenset()

    def __add__(self, other: Held) -> Held:
        return Held(
            self.cpus + other.cpus,
            self.memory_mib + other.memory_mib,
            self.gpus | other.gpus,
            self.cpu_ids | other.cpu_ids,
        )

    def dump(self) -> bytes:
        """Serialise for an entry file."""
        data = {
            "cpus": self.cpus,
            "memory_mib": self.memory_mib,
            "gpus": sorted(self.gpus),
            "cpu_ids": sorted(self.cpu_ids),
        }
        return json.dumps(data).encode()

    @classmethod
    def load(cls, data: bytes) -> Held:
        """Parse an entry. Raises ValueError. Any user may have written it."""
        try:
            found = json.loads(data)
            ids = [frozenset(int(number) for number in found.get(name, ())) for name in ("gpus", "cpu_ids")]
            return cls(max(0, int(found["cpus"])), max(0, int(found["memory_mib"])), *ids)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(str(error)) from error


NOTHING = Held()


@lru_cache(maxsize=256)
def _parsed(data: bytes) -> Held:
    """Return ``Held.load``, from a cache: most entries rarely change."""
    return Held.load(data)


@dataclass
class Ledger:
    """Entries of all controllers on this machine. ``home``: this controller's state folder."""

    home: str
    folder: str
    uid: int = field(default_factory=os.geteuid)
    _lock: int = -1
    _own: int = -1
    _locked: bool = False
    _written: Held | None = None
    _written_at: float = 0.0
    _unavailable_at: float = 0.0  # when the lock was last unavailable
    _listed: tuple[int, frozenset[str]] = (0, frozenset())  # mtime of the folder, and its entries at that time
    _files: dict[str, int] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Path of this controller's entry."""
        return os.path.join(self.folder, f"{self.uid}-{hashlib.sha256(self.home.encode()).hexdigest()[:12]}")

    def open(self) -> None:
        """Create and lock this controller's entry. Raises OSError if the folder is not shared, or not writable."""
        try:
            os.mkdir(self.folder)
            os.chmod(self.folder, 0o1777)
        except FileExistsError:
            pass  # another user usually created it
        metadata = os.lstat(self.folder)
        if not stat.S_ISDIR(metadata.st_mode) or metadata.st_mode & 0o1777 != 0o1777:
            raise OSError(errno.EPERM, "not a folder for all users", self.folder)
        self._lock = _opened(os.path.join(self.folder, "lock"), os.O_RDONLY)
        self.enter()
        try:
            if self._locked:
                self._remove_dead()
            self._own = _opened(self.path, os.O_RDWR)
            if os.fstat(self._own).st_uid != self.uid:
                raise OSError(errno.EPERM, "another user's", self.path)
            fcntl.flock(self._own, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            self._unlock()

    def _remove_dead(self) -> None:
        """Remove entries of this user's killed controllers.

        Otherwise every pass of every controller would read them.
        """
        for name in os.listdir(self.folder):
            if _NAME.fullmatch(name) and name.startswith(f"{self.uid}-"):
                path = os.path.join(self.folder, name)
                try:
                    descriptor = os.open(path, _READ)
                    try:
                        if not _is_held(descriptor):
                            os.unlink(path)
                    finally:
                        os.close(descriptor)
                except OSError:
                    continue  # another user's file

    def close(self, held: Held) -> None:
        """Close the ledger. ``held``: resources of jobs that continue."""
        self.enter()
        self.leave(held, at_once=True)
        for descriptor in (self._own, self._lock, *self._files.values()):
            if descriptor >= 0:
                os.close(descriptor)
        if held == NOTHING:
            try:
                os.unlink(self.path)
            except OSError:
                pass  # the entry no longer counts
        self._own = self._lock = -1
        self._files.clear()

    def enter(self) -> None:
        """Lock all entries until leave(). Continue without the lock if its holder takes too long."""
        end = time.monotonic() + _LOCK_S
        if self._unavailable_at and end < self._unavailable_at + _NO_WAIT_S:
            return
        self._unavailable_at = 0.0
        while not self._locked:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._locked = True
            except BlockingIOError:
                if time.monotonic() > end:
                    self._unavailable_at = end
                    return
                time.sleep(0.002)

    def leave(self, held: Held, at_once: bool = False) -> bool:
        """Write this controller's entry and unlock.

        Return False if the write is postponed, because the jobs hold less than the entry has. Not every end of a short
        job is written: the next job may reuse its resources.
        """
        now = time.monotonic()
        current = held == self._written
        if not current and (at_once or now - self._written_at > _REWRITE_S or not self._covers(held)):
            data = held.dump()
            os.ftruncate(self._own, 0)
            os.pwrite(self._own, data, 0)
            self._written, self._written_at, current = held, now, True
        self._unlock()
        return current

    def _unlock(self) -> None:
        if self._locked:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._locked = False

    def _covers(self, held: Held) -> bool:
        known = self._written
        return (
            known is not None
            and held.cpus <= known.cpus
            and held.memory_mib <= known.memory_mib
            and held.gpus <= known.gpus
        )

    def others(self) -> tuple[Held, Held]:
        """Resources of other users, and of this user's other controllers."""
        theirs, ours = NOTHING, NOTHING
        for name, held in self._entries():
            if name.startswith(f"{self.uid}-"):
                ours += held
            else:
                theirs += held
        return theirs, ours

    def _entries(self) -> Iterator[tuple[str, Held]]:
        """Yield the valid entries with resources. The lock is checked last, because this check is the slowest."""
        changed = os.stat(self.folder).st_mtime_ns
        if changed != self._listed[0]:
            own = os.path.basename(self.path)
            names = frozenset(name for name in os.listdir(self.folder) if _NAME.fullmatch(name) and name != own)
            for name in [name for name in self._files if name not in names]:
                os.close(self._files.pop(name))
            self._listed = changed, names
        names = self._listed[1]
        for name in sorted(names):
            try:
                descriptor = self._files.get(name, -1)
                if descriptor < 0:
                    descriptor = self._files[name] = os.open(os.path.join(self.folder, name), _READ)
                metadata = os.fstat(descriptor)
                if metadata.st_nlink == 0:
                    os.close(self._files.pop(name))  # the file was removed and created again
                elif (
                    stat.S_ISREG(metadata.st_mode)
                    and metadata.st_size
                    and metadata.st_uid == int(name.partition("-")[0])
                ):
                    held = _parsed(os.pread(descriptor, _MAX_ENTRY_BYTES, 0))
                    if held != NOTHING and _is_held(descriptor):
                        yield name, held
            except (OSError, ValueError):
                continue  # another user's file


def _is_held(descriptor: int) -> bool:
    """True if a process holds a lock on the entry."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _opened(path: str, flags: int) -> int:
    """Open a file, and create it if missing.

    O_CREAT is not used on another user's file, which kernels refuse in such folders.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(2):
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
                os.chmod(path, 0o644)
            except FileExistsError:
                pass  # another process created it at the same moment
    return os.open(path, flags)


def ledger(home: str) -> Ledger | None:
    """Open the ledger for a state folder; None: no shared folder exists."""
    for place in FOLDERS:
        try:
            if os.stat(place).st_mode & 0o1777 != 0o1777:
                continue
            found = Ledger(home, os.path.join(place, "slurmsky"))
            found.open()
            return found
        except OSError as error:
            log.info("machine-wide count: %s: %s", error.filename or place, error.strerror)
    return None
