"""Sends output files of steps from a cloud node as they grow.

Such as ``srun -o out.%t``. The node's agent records each output file that it opens (``output_files.record_in``);
those in the submit folder are tailed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...protocol.messages import StreamOpened
from ..job import output_files
from . import submit_folder
from .job_log import JobLogWriter, LogTail

if TYPE_CHECKING:
    from .cloud_node import CloudNode

MAX_FILES = 512  # maximum number of tailed files on a node; further files are sent at the end


class StepFiles:
    """Tails of one node. ``excluded``: paths that are sent in another way (the batch scripts' own output)."""

    def __init__(
        self,
        node: CloudNode,
        log: JobLogWriter,
        new_stream: Callable[[], int],
        excluded: Callable[[], set[str]] = lambda: set(),
    ) -> None:
        self._node, self._log, self._new_stream, self._excluded = node, log, new_stream, excluded
        self._note = os.path.join(node.home, output_files.NOTE)
        self._read = 0
        self._tails: dict[str, LogTail] = {}
        self._count = 0

    def send_new(self, final: bool = False) -> None:
        """Send new content."""
        if self._node.same_files:
            return
        for path, start in self._noted():
            self._begin(path, start)
        for tail in self._tails.values():
            tail.send_new(final)

    def completely_sent(self) -> frozenset[str]:
        """Paths in the submit folder whose present content was sent."""
        return frozenset(
            os.path.relpath(path, self._node.shipped_folder)
            for path, tail in self._tails.items()
            if tail.digest is not None and submit_folder.digest(path) == tail.digest.hexdigest()
        )

    def _noted(self) -> list[tuple[str, int]]:
        """Return (path, size) of files opened since the last call."""
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
        relative = os.path.relpath(path, self._node.shipped_folder)
        if (
            relative.startswith("..")
            or path in self._excluded()
            or self._count >= MAX_FILES
            or not os.path.isfile(path)
        ):
            return
        known = self._tails.pop(path, None)
        if known is not None:
            if start:
                self._tails[path] = known  # a further step appends to it
                return
            known.send_new(final=True)
        self._count += 1
        tail = self._tails[path] = LogTail(self._log, self._new_stream(), path, digest=not start)
        tail.position = start
        # The submit host has the earlier content of a file that was shipped and then appended to.
        there = self._node.settings.files.folder or self._node.settings.launch["submit_dir"]
        path = os.path.join(there, relative)
        self._log.event(StreamOpened(stream=tail.stream, path=path, append=bool(start)))
