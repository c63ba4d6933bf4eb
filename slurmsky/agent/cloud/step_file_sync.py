"""Output files of steps on a cloud node, sent as they grow: ``srun -o out.%t`` can be followed at home.

The node's agent notes each output file that it opens (``output.note_in``); what lies in the submit folder is tailed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..job import output_files
from . import submit_folder
from .job_log import JobLogWriter, Tail

if TYPE_CHECKING:
    from .cloud_node import CloudNode

MOST = 512  # files followed on a node; those beyond come at the end, as every other file


class StepFiles:
    """The tails of one node. ``theirs``: paths that travel otherwise (the batch scripts' own output)."""

    def __init__(
        self,
        node: CloudNode,
        log: JobLogWriter,
        new_stream: Callable[[], int],
        theirs: Callable[[], set[str]] = lambda: set(),
    ) -> None:
        self._node, self._log, self._new_stream, self._theirs = node, log, new_stream, theirs
        self._note = os.path.join(node.home, output_files.NOTE)
        self._read = 0
        self._tails: dict[str, Tail] = {}
        self._count = 0

    def look(self, final: bool = False) -> None:
        """Send what is new."""
        if self._node.same_files:
            return
        for path, start in self._noted():
            self._begin(path, start)
        for tail in self._tails.values():
            tail.look(final)

    def whole(self) -> frozenset[str]:
        """Paths in the submit folder of which everything was sent, as it is now."""
        return frozenset(
            os.path.relpath(path, self._node.submit_dir)
            for path, tail in self._tails.items()
            if tail.digest is not None and submit_folder.digest(path) == tail.digest.hexdigest()
        )

    def _noted(self) -> list[tuple[str, int]]:
        """(path, size at the time) of files that were opened since the last look."""
        try:
            with open(self._note, "rb") as file:
                file.seek(self._read)
                data = file.read()
        except OSError:
            return []
        end = data.rfind(b"\n") + 1
        self._read += end
        return [(str(path), int(size)) for path, size in map(json.loads, data[:end].splitlines())]

    def _begin(self, path: str, start: int) -> None:
        relative = os.path.relpath(path, self._node.submit_dir)
        if relative.startswith("..") or path in self._theirs() or self._count >= MOST or not os.path.isfile(path):
            return
        known = self._tails.pop(path, None)
        if known is not None:
            if start:
                self._tails[path] = known  # appended to by a further step
                return
            known.look(final=True)
        self._count += 1
        tail = self._tails[path] = Tail(self._log, self._new_stream(), path, digest=not start)
        tail.position = start
        # At home the same content is there already when the file was appended to and had travelled.
        self._log.event(
            ev="stream",
            stream=tail.stream,
            path=os.path.join(self._node.settings["launch"]["submit_dir"], relative),
            same=False,
            append=bool(start),
            step=True,
        )
