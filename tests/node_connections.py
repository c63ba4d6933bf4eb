"""The controller's end of a warm node's connection, and a job on the node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from slurmsky.model.allocation import Launch, NodeShare
from slurmsky.model.spec import JobSpec
from slurmsky.protocol import wire


class Line:
    """The controller's end of a node's connection; the test sends the answers."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.sent: list[dict] = []
        self._frames = wire.FrameReader()

    def write(self, data: bytes) -> None:
        self.sent += [json.loads(frame.payload) for frame in self._frames.feed(data) if frame.kind == wire.JSON]

    def close(self) -> None:
        pass

    def answer(self, **message: object) -> None:
        self.reader.feed_data(wire.encode(wire.JSON, json.dumps(message).encode()))


def remote_job(tmp_path: Path) -> dict:
    tail = [str(tmp_path / "out"), "/there/out", False, 0o22, 0, 0]
    return {"submit_dir": str(tmp_path), "umask": 0o22, "nodes": ["n1"], "given": {}, "tails": [tail]}


def launch(tmp_path: Path) -> Launch:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    words = dict.fromkeys(("name", "user", "group", "account", "partition", "qos", "cluster", "submit_host"), "x")
    folders = dict.fromkeys(("submit_dir", "work_dir", "spool"), "/")
    numbers = {"job_id": 1, "uid": 1, "gid": 1, "ntasks": 1}
    return Launch(**words, **folders, **numbers, spec=JobSpec(), shares=[NodeShare("n1")], script=str(script))
