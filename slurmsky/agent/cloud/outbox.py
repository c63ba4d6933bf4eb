"""Sends a cloud job's requests to an unreachable controller.

The controller cannot connect to the nodes of most clouds, and a log carries data in one direction only. So the first
node answers a job's request if it can do so correctly, and sends the request sealed in the log: ``sbatch`` gets one of
the job ids reserved for the job, ``scancel`` and ``scontrol requeue`` of the job itself take effect at once, and the
controller applies the rest when it reads the request. A request whose answer only the controller has is refused as
Slurm does when slurmctld does not respond.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Optional

from ... import paths
from ...protocol import wire
from ...protocol.log_frames import MAX_FRAME
from ...protocol.messages import SealedBegun, SealedEnded
from ...protocol.seal import seal
from ..core.client_requests import end_session, parse_context
from ..net.channel import Channel
from .job_log import JobLogWriter

MAX_STDIN = 4 << 20  # Slurm's max_script_size
WINDOW = 1 << 18
#: subcommands of scontrol that change state and print nothing
_SCONTROL = frozenset(("requeue", "requeuehold", "hold", "uhold", "release", "update", "suspend", "resume"))
_JOB = re.compile(r"(?:(?i:jobid|job|job_id)=)?(\d+)$")


def with_script(request: wire.CommandRequest) -> wire.CommandRequest:
    """Add sbatch's script to the request, if it is a file here.

    The process id is removed: the controller would search for it on its own machine.
    """
    request = replace(request, pid=0)
    if request.command != "sbatch" or paths.SCRIPT in request.env:
        return request
    from ...options.submit import find_script
    from ...options.usage_errors import CommandError

    try:
        choice = find_script(request.args, parse_context(request))
    except CommandError:
        return request  # the controller reports the error
    if choice.wrap is not None or not choice.path:
        return request
    for place in _places(request, choice.path):
        try:
            with open(place, "rb") as file:
                data = file.read(MAX_STDIN + 1)
        except OSError:
            continue
        return _with_script(request, data)
    return request


def _places(request: wire.CommandRequest, name: str) -> Iterator[str]:
    yield os.path.join(request.cwd, name)
    if "/" not in name:
        for folder in request.env.get("PATH", "").split(os.pathsep):
            yield os.path.join(request.cwd, folder, name)


def _with_script(request: wire.CommandRequest, script: bytes) -> wire.CommandRequest:
    return replace(request, env={**request.env, paths.SCRIPT: script.decode("utf-8", "surrogateescape")})


class Outbox:
    """Writes sealed requests to the log of the first node.

    ``ids``: (first, count) of the reserved job ids; ``own``: returns True for a job that runs here; ``end``: ends such
    a job with a state; ``after_s``: seconds for which a client waits for the controller first.
    """

    def __init__(
        self,
        log: JobLogWriter,
        new_stream: Callable[[], int],
        key: bytes,
        ids: tuple[int, int],
        own: Callable[[int], bool],
        end: Callable[[int, str], None],
        after_s: float,
    ) -> None:
        self.log, self.new_stream, self.key = log, new_stream, key
        self.own, self.end, self.after_s = own, end, after_s
        self._next, self._last = ids[0], ids[0] + ids[1]

    def accepts_request(self, request: wire.CommandRequest) -> bool:
        """True for a request that can be sent through the log."""
        words = _words(request)
        if request.command == "scontrol":
            return bool(words) and words[0] in _SCONTROL
        return request.command in ("sbatch", "scancel")

    def answer_request(self, request: wire.CommandRequest, channel: Channel) -> None:
        """Answer a client whose request passed ``accepts_request``."""
        if request.command == "sbatch":
            self._sbatch(request, channel)
            return
        self.send(request)
        end_session(channel, 0)
        words = _words(request)
        if request.command == "scancel":
            if not _options(request):
                for job_id in self._named(words):
                    self.end(job_id, "CANCELLED")
        elif words[0].startswith("requeue"):
            for job_id in self._named(words[1:]):
                self.end(job_id, "REQUEUED")

    def _named(self, words: list[str]) -> list[int]:
        """Ids of this node's jobs among the words."""
        found = [_JOB.match(part) for word in words for part in word.split(",")]
        return [int(match[1]) for match in found if match and self.own(int(match[1]))]

    def send(self, request: wire.CommandRequest) -> None:
        """Write a sealed request to the log."""
        stream = self.new_stream()
        place = "%d.%d.%d" % (self.log.encoder.session, self.log.encoder.rank, stream)
        sealed = seal(self.key, zlib.compress(request.to_payload()), place)
        self.log.event(SealedBegun(stream=stream, size=len(sealed)))
        for start in range(0, len(sealed), MAX_FRAME):
            self.log.write(self.log.encoder.data(stream, sealed[start : start + MAX_FRAME]))
        self.log.write(self.log.encoder.flush(stream))
        self.log.event(SealedEnded(stream=stream))

    # --- sbatch

    def _sbatch(self, request: wire.CommandRequest, channel: Channel) -> None:
        from ...options.submit import find_script
        from ...options.usage_errors import CommandError

        try:
            choice = find_script(request.args, parse_context(request))
        except CommandError as error:
            end_session(channel, error.exit_code, _lines(error), error.stdout)
            return
        if choice.wrap is not None or paths.SCRIPT in request.env:
            self._submit(request, channel)
        elif choice.path and choice.path != "/dev/stdin":
            end_session(channel, 1, "sbatch: error: Unable to open file %s\n" % choice.path)
        else:
            self._read_script(request, channel)

    def _read_script(self, request: wire.CommandRequest, channel: Channel) -> None:
        """Read the script from the client's standard input."""
        got: list[bytes] = []

        def frame(kind: bytes, payload: bytes) -> None:
            if kind == wire.STDIN:
                got.append(payload)
                channel.send(wire.GRANT, b"%d" % len(payload))
            if kind == wire.STDIN_EOF or sum(map(len, got)) > MAX_STDIN:
                channel.on_frame = lambda kind, payload: None
                self._submit(_with_script(request, b"".join(got)), channel)

        channel.on_frame = frame
        channel.resume()
        channel.send(wire.GRANT, b"%d" % WINDOW)

    def _submit(self, request: wire.CommandRequest, channel: Channel) -> None:
        from ...options.submit import ScriptText, find_script, parse_sbatch
        from ...options.usage_errors import CommandError

        context = parse_context(request)
        try:
            choice = find_script(request.args, context)
            data = request.env.get(paths.SCRIPT, "").encode("utf-8", "surrogateescape")
            script = None if choice.wrap is not None else ScriptText(choice.path or "", data)
            requested = parse_sbatch(request.args, script, context)
        except CommandError as error:
            end_session(channel, error.exit_code, _lines(error), error.stdout)
            return
        warnings = "".join("%s\n" % line for line in requested.warnings)
        if requested.flags.test_only or requested.flags.wait or self._next + len(requested.components) > self._last:
            end_session(channel, 1, warnings + UNREACHABLE)
            return
        job_id = self._next
        self._next += len(requested.components)
        self.send(replace(request, env={**request.env, paths.GIVEN_ID: str(job_id)}))
        answer = "%d\n" if requested.flags.parsable else "Submitted batch job %d\n"
        end_session(channel, 0, warnings, "" if requested.flags.quiet else answer % job_id)


UNREACHABLE = "slurm_receive_msg: error: Unable to contact slurm controller (connect failure)\n"


def _lines(error: Any) -> str:
    return "".join("%s\n" % line for line in error.lines)


def _words(request: wire.CommandRequest) -> list[str]:
    return [word for word in request.args if not word.startswith("-")]


def _options(request: wire.CommandRequest) -> Optional[str]:
    """Return the first option, which may change the command's meaning."""
    return next((word for word in request.args if word.startswith("-") and word not in ("-Q", "--quiet")), None)
