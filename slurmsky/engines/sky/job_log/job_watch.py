"""Tracks a job on SkyPilot: record on disk, and events in its log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....model import plain
from ....protocol.log_frames import Decoder, LogEvent, Output, log_key
from ....protocol.messages import (
    Done,
    Ended,
    Event,
    FileBegun,
    FileEnded,
    FileKept,
    JobEvent,
    LastRecord,
    NodeBroken,
    OutputNote,
    SealedEnded,
    SessionBegun,
    Started,
    StreamOpened,
    StreamRecord,
)
from ...files.output_sync import OutputSync
from .inbox import Inbox

log = logging.getLogger("slurmsky.sky")


@dataclass
class Member:
    """One job of a run, or an element of a packed array."""

    started: bool = False
    ended: bool = False  # the controller has received its end
    cancel: str = ""  # the state requested by terminate(), "" = none
    acked: int = 0  # agent's sequence number that the controller has committed
    end: dict[str, Any] = field(default_factory=dict)  # the event that reported the end, encoded
    outputs: dict[str, str] = field(default_factory=dict)  # output files: name in the job -> resolved path


@dataclass
class Record:
    """State of a run that survives a restart. One JSON file per run of a job or pack."""

    job_id: int  # of an array: its base id
    name: str  # unique at the API server
    restart: int = 0
    managed_job_id: int = 0
    blob_id: str = ""
    pool: str = ""
    kind: str = ""  # kind of its nodes, as in reachability.kind
    submit_dir: str = "/"
    shipped_folder: str = ""  # folder above the submit folder that was sent instead, "" for none
    umask: int = 0o022
    secret: str = ""  # shared with the job's nodes, hexadecimal: authenticates their lines in the log
    requeue: bool = True
    note: str = ""  # text for the job's comment
    phase: str = "new"  # new | launching | launched | ending (ended in slurmsky, not yet at SkyPilot) | over
    status: str = ""  # SkyPilot's latest status
    status_text: str = ""  # SkyPilot's text for that status
    failure: str = ""  # SkyPilot's reason for the end
    status_time: str = ""  # server time of the latest status before the job ended
    ended_at: float = 0.0  # epoch second of the phase "ending"
    control: str = ""  # host:port of the first node
    batch_folder: str = ""  # folder that the jobs of one launch request share, "" = launched alone
    rank: int = 0  # rank in that launch request
    cluster: bool = False  # the nodes are a cluster (an allocation), not a managed job (a batch job)
    request_id: str = ""  # of the cluster's launch
    session: int = -1
    session_restart: int = 0  # the restart count at the begin of that session
    sessions: list[int] = field(default_factory=list)  # all known sessions; those before the current one are history
    members: dict[str, Member] = field(default_factory=dict)  # job id -> state of that member
    positions: dict[str, Any] = field(default_factory=dict)
    sync_state: dict[str, Any] = field(default_factory=dict)
    slots_taken: bool = False  # the first elements of a pack have started, the others wait for a slot
    delivered: list[str] = field(default_factory=list)  # keys of the delivered in-job requests

    def member(self, job_id: int) -> Member:
        """Return the member with that id."""
        return self.members[str(job_id)]

    @property
    def open(self) -> list[int]:
        """Ids of the members that have not ended."""
        return [int(job_id) for job_id, member in self.members.items() if not member.ended]

    @property
    def started(self) -> bool:
        """True if any member has started."""
        return any(member.started for member in self.members.values())

    def write(self, folder: Path) -> None:
        """Write the record into the run's folder, created if missing."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = folder / "record.part"
        partial.write_text(json.dumps(plain.write(self)))
        os.replace(partial, folder / "record.json")

    @property
    def must_end(self) -> bool:
        """True if all running members must be ended."""
        return all(member.cancel for member in self.members.values() if not member.ended)


#: names of fields in records that earlier versions wrote
_FORMER_FIELDS = {
    "heard_at": "status_time",
    "letters": "delivered",
    "returns": "sync_state",
    "said": "status_text",
    "together": "batch_folder",
}


def _is_final_end(event: Event) -> bool:
    """True for an end that the job caused. Such an end is final, even if another run follows."""
    return isinstance(event, Ended) and not event.by_signal


class JobWatch:
    """Record, log decoder and output files of a job. ``report`` sends events to the engine."""

    def __init__(
        self,
        folder: Path,
        record: Record,
        manifest: dict[str, tuple[int, int]],
        report: Callable[[JobEvent], None],
    ) -> None:
        self.folder = folder
        self.record = record
        self.report = report
        outputs = {named: real for member in record.members.values() for named, real in member.outputs.items()}
        self.output_sync = OutputSync(
            folder / "incoming", record.shipped_folder or record.submit_dir, manifest, record.job_id, record.umask,
            record.sync_state, outputs,
        )  # fmt: skip
        secret = bytes.fromhex(record.secret)
        self.inbox = Inbox(secret, record.delivered)
        #: set by the engine; called when the log shows a recovery that no status has shown
        self.recovered: Callable[[], object] = lambda: None
        #: set by the engine; runs an in-job request as a local command
        self.post: Callable[[bytes, str], None] = lambda message, key: None
        # Events are replayed from the start (they rebuild the state that is not stored); bytes continue at their
        # stored offsets.
        self.last_news, self.silent_reads = 0.0, 0
        self.status_since = 0.0  # monotonic time of SkyPilot's latest change of status
        self.decoder = Decoder(log_key(secret), {"streams": record.positions.get("streams", {})})
        self.done = False  # the log is complete
        self.following = False
        self.reading: asyncio.Task[None] | None = None  # task that reads the log
        self.mail: asyncio.Task[None] | None = None  # delivery of the latest in-job request
        self.last_poll = 0.0
        self._saving: asyncio.TimerHandle | None = None
        self.broken: list[str] = []
        self._early_output: list[tuple[str, Output]] = []
        # Lines of several nodes arrive interleaved: report an end only after every node's last line.
        self._ranks = 1
        self._finished_ranks: set[tuple[int, int]] = set()  # (session, rank)
        self._expected: set[tuple[int, int]] | None = None
        self._nodes_reclaimed = False  # the log ended because SkyPilot took the nodes
        self._held_ends: list[Ended] = []

    @classmethod
    def load(cls, folder: Path, report: Callable[[JobEvent], None]) -> JobWatch:
        """Load a watch from disk."""
        data = json.loads((folder / "record.json").read_text())
        record = plain.read(Record, {_FORMER_FIELDS.get(name, name): value for name, value in data.items()})
        manifest_file = folder / "manifest.json"
        manifest = json.loads(manifest_file.read_text()) if manifest_file.exists() else {}
        return cls(folder, record, {path: (entry[0], entry[1]) for path, entry in manifest.items()}, report)

    def save(self) -> None:
        """Write the record, for the bytes written to output files until now."""
        # Only offsets of bytes that are in their files: bytes in transit are read from the log again after a restart.
        self.record.positions = {
            "streams": {
                key: position
                for key, position in self.decoder.positions["streams"].items()
                if key in self.output_sync.streams
            }
        }
        self.record.sync_state = self.output_sync.state()
        self.record.write(self.folder)

    def save_soon(self) -> None:
        """Schedule a write of the record, one for several changes."""
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(0.2, self._save_now)

    def _save_now(self) -> None:
        self._saving = None
        self.save()

    def close(self) -> None:
        """Write the record if a write is due; cancel pending requests."""
        if self.mail is not None:
            self.mail.cancel()
        if self._saving is not None:
            self._saving.cancel()
            self._save_now()

    # --- the log

    def feed(self, chunk: bytes) -> None:
        """Decode a chunk of the log."""
        self._take(self.decoder.feed(chunk))

    def finish(self) -> None:
        """Process the end of the log, or its present end."""
        self._take(self.decoder.finish())

    def _take(self, items: list[LogEvent | Output]) -> None:
        for item in items:
            if isinstance(item, Output):
                key = f"{item.session}.{item.rank}.{item.stream}"
                if not self._write_output(key, item):
                    self._early_output.append((key, item))
            else:
                try:
                    self._event(item, Event.decode(item.body))
                except (KeyError, TypeError, ValueError) as error:  # written by another slurmsky version
                    log.warning("job %d: an event of its nodes was put aside: %r", self.record.job_id, error)
        if items:
            self.last_news, self.silent_reads = time.monotonic(), 0
            self.save_soon()

    def _event(self, item: LogEvent, event: Event) -> None:
        record = self.record
        if isinstance(event, SessionBegun):
            if item.session in record.sessions and item.session != record.session:
                return  # a duplicate launch replays an earlier session; ignore it
            if item.session != record.session:
                self.done, self._expected = False, None
                record.sessions.append(item.session)
                if record.session != -1 and record.restart == record.session_restart:
                    self.recovered()
                record.session_restart = record.restart
                # A later session: SkyPilot has started the job again on other nodes. The state of the former run is
                # obsolete, except for members that have ended.
                for member in record.members.values():
                    if not member.ended:
                        member.acked, member.started = 0, False
            record.session, record.control = item.session, event.control
            self._ranks = event.ranks
            self._held_ends.clear()
            self.save()  # at once: a restarted controller must recognise the next session as another run
        elif isinstance(event, StreamRecord):
            self._stream(f"{item.session}.{item.rank}.{event.stream}", event)
        elif isinstance(event, FileKept):
            self.output_sync.record_large_file(event)
        elif isinstance(event, OutputNote):
            self.output_sync.add_message(event.text)
        elif isinstance(event, NodeBroken):
            self.broken.append(event.text)
        elif isinstance(event, LastRecord):
            self._finished_ranks.add((item.session, item.rank))
            self._check_done()
        elif isinstance(event, Done):
            self._finished_ranks.add((item.session, item.rank))
            if item.session == record.session:
                self._expected = {(item.session, rank) for rank in event.ranks}
                # SkyPilot took the nodes for another reason: another run may follow.
                self._nodes_reclaimed = event.by_signal and not record.must_end
                self._check_done()
        elif isinstance(event, JobEvent) and (item.session == record.session or _is_final_end(event)):
            self._job_event(event)

    def _stream(self, key: str, event: StreamRecord) -> None:
        """Process the begin or end of a stream. The stream is output, a file, or a request."""
        if isinstance(event, FileEnded):
            self.output_sync.end_file(key)
        elif isinstance(event, SealedEnded):
            message = self.inbox.end(key)
            if message is not None:
                self.post(message, key)
        else:
            if isinstance(event, StreamOpened):
                self.output_sync.open_stream(key, event)
            elif isinstance(event, FileBegun):
                self.output_sync.begin_file(key, event)
            else:
                self.inbox.begin(key)
            self._write_early_output()

    def _job_event(self, event: JobEvent) -> None:
        known = self.record.members.get(str(event.job_id))
        # An end of an open member was not processed, even if it was acknowledged.
        committed = 0 if known is None or (isinstance(event, Ended) and not known.ended) else known.acked
        if known is not None and event.seq > committed:
            if isinstance(event, Started):
                known.started = True
            if isinstance(event, Ended) and self._ranks > 1:
                self._held_ends.append(event)
            else:
                self.report(event)

    def _check_done(self) -> None:
        if self._expected is not None and self._expected <= self._finished_ranks:
            self.done = not self._nodes_reclaimed
            self.report_held_ends()

    def report_held_ends(self) -> bool:
        """Report the held ends; return True if there were any.

        They were held until the log was complete. The files of nodes whose last line is missing did not all arrive.
        """
        held, self._held_ends = self._held_ends, []
        session = self.record.session
        expected = {(session, rank) for rank in range(self._ranks)} if self._expected is None else self._expected
        for _, rank in sorted(expected - self._finished_ranks) if held else ():
            self.output_sync.add_message(f"node {rank} of the job was lost with the files that the job wrote there")
        for event in held:
            self.report(event)
        return bool(held)

    def _write_output(self, key: str, item: Output) -> bool:
        return self.inbox.output(key, item) or self.output_sync.output(key, item)

    def _write_early_output(self) -> None:
        waiting, self._early_output = self._early_output, []
        for key, output in waiting:
            if not self._write_output(key, output):
                self._early_output.append((key, output))
