"""What comes out of a job's log, put where the user expects it: output files as they grow, changed files
at the end.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...protocol.log_frames import Output

Manifest = dict[str, tuple[int, int]]


@dataclass
class Stream:
    """An output file of the job. ``base``: its size here before the job began, when it is appended to."""

    path: str
    base: int = 0
    same: bool = False  # the node wrote the very file: nothing to do


@dataclass
class Incoming:
    """A file on its way back."""

    event: dict[str, Any]
    partial: Path
    received: int = 0


class OutputSync:
    """Writes for one job. ``state`` is the part of the job's record that must outlive us (JSON)."""

    def __init__(
        self,
        folder: Path,
        submit_dir: str,
        manifest: Manifest,
        job_id: int,
        umask: int,
        state: dict[str, Any],
    ) -> None:
        self.folder = folder
        self.submit_dir = submit_dir
        self.manifest = manifest
        self.job_id = job_id
        self.umask = umask
        self.streams: dict[str, Stream] = {key: Stream(**value) for key, value in state.get("streams", {}).items()}
        self.returned: dict[str, str] = dict(state.get("returned", {}))  # path -> sha256
        self.messages: list[str] = list(state.get("messages", []))
        self._incoming: dict[str, Incoming | None] = {}  # None: has come before, in another replay

    def state(self) -> dict[str, Any]:
        """JSON-ready; the inverse of what __init__ takes."""
        return {
            "streams": {key: stream.__dict__ for key, stream in self.streams.items()},
            "returned": self.returned,
            "messages": self.messages,
        }

    # --- output

    def open_stream(self, key: str, event: dict[str, Any]) -> None:
        """A stream's name has come. Seen before (a replay): nothing happens."""
        if key in self.streams:
            return
        path = str(event["path"])
        stream = self.streams[key] = Stream(path, same=bool(event.get("same")))
        if stream.same:
            return
        if event.get("append"):
            try:
                stream.base = os.stat(path).st_size
            except FileNotFoundError:
                stream.base = 0
        descriptor = self._open(path, os.O_CREAT | (0 if event.get("append") else os.O_TRUNC))
        os.close(descriptor)

    def output(self, key: str, item: Output) -> bool:
        """Write bytes of a stream; False when the stream is not known."""
        if key in self._incoming:
            incoming = self._incoming[key]
            if incoming is None:
                return True
            with incoming.partial.open("ab") as file:
                file.write(item.data)
            incoming.received += len(item.data)
            return True
        stream = self.streams.get(key)
        if stream is None:
            return False
        if not stream.same:
            descriptor = self._open(stream.path, os.O_CREAT)
            try:
                data, offset = item.data, stream.base + item.offset
                while data:
                    count = os.pwrite(descriptor, data, offset)
                    data, offset = data[count:], offset + count
            finally:
                os.close(descriptor)
        return True

    def append(self, text: str) -> None:
        """A line of our own at the end of the job's first output file."""
        for stream in self.streams.values():
            if stream.path != "/dev/null":
                descriptor = self._open(stream.path, os.O_CREAT | os.O_APPEND)
                os.write(descriptor, text.encode())
                os.close(descriptor)
                return

    def _open(self, path: str, flags: int) -> int:
        previous = os.umask(self.umask)
        try:
            return os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o666)
        finally:
            os.umask(previous)

    # --- files

    def begin_file(self, key: str, event: dict[str, Any]) -> None:
        """A changed file is about to come."""
        if self.returned.get(os.path.normpath(str(event["path"]))) == event["sha256"]:
            self._incoming[key] = None
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self.folder / f"in-{key}"
        partial.write_bytes(b"")
        self._incoming[key] = Incoming(event, partial)

    def end_file(self, key: str) -> None:
        """It has come whole: put it in its place, unless that would destroy what the user did meanwhile."""
        incoming = self._incoming.pop(key, None)
        if incoming is None:
            return
        event, partial = incoming.event, incoming.partial
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        path = os.path.normpath(str(event["path"]))
        if digest != event["sha256"] or path.startswith(("/", "..")):
            self.say(f"{event['path']} did not come back whole")
            partial.unlink()
            return
        target = Path(self.submit_dir) / path
        if not target.parent.resolve().is_relative_to(Path(self.submit_dir).resolve()):
            self.say(f"{path} lies outside of the submit folder and was not brought back")
            partial.unlink()
            return
        if self._changed_here(path, target, digest):
            kept = target.with_name(f"{target.name}.slurm-{self.job_id}")
            self.say(f"{path} was changed here while the job ran; the job's is {kept.name}")
            target = kept
        target.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(partial, int(event["mode"]))
        os.utime(partial, (event["mtime"], event["mtime"]))
        try:
            partial.replace(target)
        except OSError:  # another file system
            target.write_bytes(partial.read_bytes())
            os.chmod(target, int(event["mode"]))
            partial.unlink()
        facts = target.stat()
        self.manifest[path] = (facts.st_size, facts.st_mtime_ns)
        self.returned[path] = digest

    def _changed_here(self, path: str, target: Path, digest: str) -> bool:
        try:
            facts = target.lstat()
        except FileNotFoundError:
            return False
        if self.manifest.get(path) == (facts.st_size, facts.st_mtime_ns):
            return False
        if any(stream.path == str(target) for stream in self.streams.values()):
            return False  # it is we who have written there, as a step's output came
        return not (target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == digest)

    def kept(self, event: dict[str, Any]) -> None:
        """A file that was too large to come."""
        place = f"it is at {event['at']}" if event.get("at") else "[sky] bucket of the site file would keep it"
        self.say(f"{event['path']} ({event['size']} bytes) was not brought back: more than [sky] return_mib; {place}")

    def say(self, text: str) -> None:
        if text not in self.messages:
            self.messages.append(text)
