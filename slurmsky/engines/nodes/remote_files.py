"""Files of jobs whose submit folder is not mounted on their nodes."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...model.allocation import Launch
from ...protocol.file_messages import OutputOpened
from ..base import EngineError, background
from ..files.launch_needs import folder_above
from ..files.output_sync import OutputSync
from .folder_listing import FolderListing
from .folder_sync import FolderSync, OutputTail, outputs
from .node_lines import ConnectionLost, Streams
from .run_records import Given, Key, RunRecords
from .shared_calls import SharedCalls

log = logging.getLogger("slurmsky.nodes")

RETRY_S = 0.5
#: most tailed files of steps of a job; further files arrive at its end
STEP_FILES = 512
_LOST = "node %s was lost with the files that the job wrote there"


@dataclass
class RemoteJob:
    """A run of a job whose files are on nodes.

    ``shipped_folder``: the submit folder, or a folder above it that the script names; ``given``: size and mtime of each
    file in it when the job began; ``listing``: digest of its listing then; ``note``: a message about files that
    were not sent.
    """

    job_id: int
    run: int
    shipped_folder: str
    umask: int
    nodes: list[str]
    given: Given
    listing: str = ""
    note: str = ""
    tails: list[OutputTail] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # numbers of the followed files, on ``followed``
    followed: FolderSync | None = None  # the connection over which they are followed
    follow_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ending: bool = False
    #: output files of steps, by node and path, with the connection and number under which they are followed
    steps: dict[tuple[str, str], tuple[FolderSync, int]] = field(default_factory=dict)

    def holds(self, path: str) -> bool:
        """True if a path of this machine is in the sent folder."""
        return path.startswith(self.shipped_folder.rstrip("/") + "/")


class RemoteFiles:
    """Files of jobs on nodes.

    ``folder`` keeps records of jobs across a restart; ``connect`` opens a file connection to a node.
    """

    def __init__(self, folder: Path, home: Path, limit: int, connect: Callable[[str], Awaitable[Streams]]) -> None:
        self._folder, self._home, self._limit = folder, home, limit
        self._listing = FolderListing(folder.parent / "digests", home, limit)
        self._connect = connect
        self._records = RunRecords(folder)
        self._jobs: dict[Key, RemoteJob] = {}
        self._syncs: dict[str, FolderSync] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._above = SharedCalls(self._find_above)
        self._closed = False

    def has(self, job_id: int, run: int) -> bool:
        """True if a run's files have not been received yet."""
        return (job_id, run) in self._jobs

    async def _sync(self, node: str) -> FolderSync:
        """Return the file connection to a node. Raises EngineError."""
        async with self._opening.setdefault(node, asyncio.Lock()):
            known = self._syncs.get(node)
            if known is None or not known.alive:
                try:
                    streams = await self._connect(node)
                    known = self._syncs[node] = FolderSync(streams, self._listing, partial(self._opened, node))
                except OSError as error:
                    raise ConnectionLost(str(error)) from error
            return known

    # --- one job

    async def folder_above(self, launch: Launch) -> tuple[str, str]:
        """Return the folder above the submit folder that the script names.

        "": none. Second: a message if it is not sent.
        """
        home, user = launch.environment.get("HOME"), launch.environment.get("USER")
        return await self._above.call((launch.script, launch.submit_dir, launch.work_dir, home, user), launch)

    async def _find_above(self, _key: Any, launches: Sequence[Launch]) -> tuple[str, str]:
        return await asyncio.to_thread(folder_above, launches[0], self._limit, self._home)

    async def prepare(self, launch: Launch, nodes: Sequence[str], folder: str, note: str) -> dict[str, str]:
        """Copy a folder to nodes; return its path on each.

        The submit folder or one above. Raises EngineError. ``note``: a message for the user at the job's end.
        """
        outputs_in = (os.path.dirname(path) for path in (launch.stdout, launch.stderr))
        paths = {launch.submit_dir, launch.work_dir, *outputs_in}
        absolute = sorted(path for path in paths if path.startswith("/"))
        places = {}
        for node in nodes:
            sync = await self._sync(node)
            places[node], listing = await sync.fill(folder, launch.submit_dir, absolute, self._written)
        run = RemoteJob(launch.job_id, launch.restart_count, folder, launch.umask, list(nodes), listing.files)
        run.listing, run.note = listing.digest, note
        self._jobs[run.job_id, run.run] = run
        return places

    def _written(self) -> set[str]:
        """Output files of running jobs. They grow on a node, so the local copy must not replace them."""
        batch = {tail.path for job in self._jobs.values() for tail in job.tails}
        return batch | {path for job in self._jobs.values() for _, path in job.steps}

    async def follow(self, launch: Launch, there: Launch) -> None:
        """Tail the job's output on its first node. Raises EngineError. Called before the job is sent."""
        job = self._jobs[launch.job_id, launch.restart_count]
        job.tails, job.followed = list(outputs(launch, there)), None  # a restored connection followed none of them
        try:
            await self._follow(job)
        except OSError as error:
            log.warning("job %d: %s", launch.job_id, error)  # the job runs nevertheless, as with a full disk
        self._save(job)

    async def _follow(self, job: RemoteJob) -> FolderSync:
        """Tail a job's output over the current connection, and return it. Raises EngineError, OSError."""
        async with job.follow_lock:  # the job's end and a restored connection may call this at the same time
            sync = await self._sync(job.nodes[0])
            if job.followed is not sync:
                numbers = [await sync.follow(tail) for tail in job.tails]
                job.followed, job.numbers = sync, numbers
            return sync

    async def resume(self, node: str) -> None:
        """Tail the output files over a restored connection."""
        for job in list(self._jobs.values()):
            if job.nodes[0] == node and not job.ending:
                try:
                    await self._follow(job)
                except (EngineError, OSError) as error:
                    log.info("job %d: %s", job.job_id, error)

    def _opened(self, node: str, sync: FolderSync, opened: OutputOpened) -> None:
        """Tail an output file that a step has opened (``srun -o``)."""
        path = os.path.join(opened.folder, opened.path)
        jobs = [job for job in self._jobs.values() if job.holds(path) and node in job.nodes and not job.ending]
        if jobs and not any(tail.path == path for job in self._jobs.values() for tail in job.tails):
            newest = max(jobs, key=lambda job: job.job_id)
            background(self._follow_step(newest, node, sync, path, opened.there, opened.from_))

    async def _follow_step(
        self, job: RemoteJob, node: str, sync: FolderSync, path: str, there: str, start: int
    ) -> None:
        earlier = job.steps.get((node, path))
        if earlier is not None and start and earlier[0] is sync:
            return  # a further step appends to it
        if earlier is None and len(job.steps) >= STEP_FILES:
            return  # the file is received at the job's end
        tail = OutputTail(path, there, bool(start), job.umask)
        try:
            if earlier is not None:
                await earlier[0].finish(earlier[1])
            tail.begin(start)
            job.steps[node, path] = (sync, await sync.follow(tail))
        except (EngineError, OSError) as error:
            log.info("job %d: %s: %s", job.job_id, path, error)

    async def _finish_steps(self, job: RemoteJob) -> None:
        """Stop tailing the steps' files. They are received like all files: the job may have replaced them."""
        for sync, number in job.steps.values():
            if sync.alive:
                await sync.finish(number)

    async def receive_changes(self, job_id: int, run: int, there: Callable[[str], bool]) -> tuple[bool, str]:
        """Receive all output and changed files of a run.

        Return True if the first node still had them, and messages. Retried if a connection breaks, while its node is
        ``there``. Once closed, the record stays for the next controller.
        """
        job = self._jobs.get((job_id, run))
        if job is None or job.ending:
            return True, ""
        job.ending = True
        state = {"messages": [job.note] if job.note else []}
        partial = self._folder / "in" / f"{job_id}-{run}"  # jobs on other nodes receive files at the same time
        target = OutputSync(partial, job.shipped_folder, dict(job.given), job_id, job.umask, state)
        target.extra_paths = {path for _, path in job.steps}
        over = [tail.there for tail in job.tails]
        left, whole = list(job.nodes), True
        while there(job.nodes[0]):
            if self._closed:
                return True, ""
            try:
                followed = await self._follow(job)
                for number in job.numbers:
                    await followed.finish(number)
                await self._finish_steps(job)
                while left:
                    if there(left[0]):
                        sync = await self._sync(left[0])
                        await sync.receive_changes(job.shipped_folder, self._tailed, over, target)
                    else:
                        target.messages.append(_LOST % left[0])
                    del left[0]
                break
            except (EngineError, OSError) as error:
                log.info("job %d: %s", job_id, error)
                await asyncio.sleep(RETRY_S)
            except Exception as fault:  # the job ends nevertheless
                log.exception("job %d", job_id)
                target.messages.append(f"its files could not be brought back: {fault}")
                break
        else:
            whole = False
            target.messages += [_LOST % node for node in left or job.nodes[:1]]
        self.forget(job_id, run)
        if partial.exists():  # most jobs of large arrays change no file
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
        return whole, "; ".join(target.messages)

    def _tailed(self) -> list[str]:
        """Paths on nodes of the tailed output files."""
        return [tail.there for job in self._jobs.values() for tail in job.tails]

    def forget(self, job_id: int, run: int) -> None:
        """Remove the run's files on the node and its record here."""
        if self._jobs.pop((job_id, run), None) is not None:
            self._records.remove((job_id, run))

    # --- across a restart

    def _save(self, job: RemoteJob) -> None:
        tails = [[tail.path, tail.there, tail.append, tail.umask, tail.base, tail.start] for tail in job.tails]
        data: dict[str, Any] = {
            "shipped_folder": job.shipped_folder,
            "note": job.note,
            "umask": job.umask,
            "nodes": job.nodes,
            "tails": tails,
        }
        self._records.save((job.job_id, job.run), data, job.listing, job.given)

    def load(self, runs: Iterable[Key]) -> None:
        """Load the records of these runs from an earlier controller."""
        for (job_id, run), (data, given) in self._records.load(runs).items():
            folder = data.get("shipped_folder") or data["submit_dir"]  # the key of earlier versions
            job = RemoteJob(job_id, run, folder, data["umask"], data["nodes"], given)
            job.listing, job.note = data.get("listing", ""), data.get("note", "")
            for path, there, append, umask, base, start in data["tails"]:
                tail = OutputTail(path, there, append, umask, base, 0, start)
                try:
                    tail.received = max(0, os.stat(path).st_size - base)
                except OSError:
                    tail.received = 0
                job.tails.append(tail)
            self._jobs[job_id, run] = job

    def drop(self, node: str) -> None:
        """Close the connection to a node that is lost or powers down."""
        sync = self._syncs.pop(node, None)
        if sync is not None:
            sync.close()

    def close(self) -> None:
        """Close the connections; nodes keep running."""
        self._closed = True
        for sync in self._syncs.values():
            sync.close()
