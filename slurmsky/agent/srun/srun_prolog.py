"""Runs --prolog and --epilog of srun in the caller's terminal."""

from __future__ import annotations

import os
from typing import Callable, Optional, Sequence

from ...protocol import wire
from ..net.channel import Channel

#: variables of a task's node, which srun's own environment lacks
_OF_A_NODE = ("SLURMD_NODENAME", "SLURM_TOPOLOGY_ADDR", "SLURM_TOPOLOGY_ADDR_PATTERN")


class ClientPrograms:
    """Lets the client run one program at a time."""

    def __init__(
        self, channel: Channel, say: Callable[[str], None], environment: dict[str, str], argv: Sequence[str]
    ) -> None:
        self._channel = channel
        self._say = say
        self._environment = environment
        self._argv = argv
        self._done: Optional[Callable[[int], None]] = None

    def run(self, what: str, path: str, done: Callable[[int], None]) -> None:
        """Run a "prolog" or "epilog"; call ``done`` with its exit code.

        It gets the step's program and arguments. A missing program is reported and counts as run; "none" disables it.
        Source: srun_job.c _run_srun_script.
        """
        if path.lower() == "none":
            done(0)
            return
        if not os.access(path, os.R_OK | os.X_OK):
            reason = "Permission denied" if os.path.exists(path) else "No such file or directory"
            self._say("srun: Access denied for %s: %s\n" % (path, reason))
            done(0)
            return
        self._done = done
        environment = {name: value for name, value in self._environment.items() if name not in _OF_A_NODE}
        environment["SLURM_SCRIPT_CONTEXT"] = what + "_srun"
        fields = [str(len(self._argv) + 1), path, *self._argv]
        fields += ["%s=%s" % item for item in environment.items()]
        self._channel.send(wire.SPAWN, wire.encode_list([field.encode(errors="surrogateescape") for field in fields]))

    def ended(self, payload: bytes) -> None:
        """Handle the client's result: "CODE", "-SIGNAL" or "127 ENAME reason"."""
        done, self._done = self._done, None
        if done is not None:
            code = int(payload.split()[0])
            done(code if code >= 0 else 128 - code)

    def signal(self, number: int) -> None:
        """Send a signal to the running program, if any."""
        if self._done is not None:
            self._channel.send(wire.CHILD_SIGNAL, b"%d" % number)
