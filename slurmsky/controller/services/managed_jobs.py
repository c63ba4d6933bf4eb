"""Shows foreign managed jobs in the queue, and reads costs.

A background task reads from SkyPilot at intervals; commands answer from the last read. Each command requests a read
(``read_soon``). Between commands reads are frequent only while a job of ours waits for a result. A foreign job is a Job
of the engine "foreign" with its own id above those of sbatch, so that squeue, sacct, scontrol and dependencies need no
special case for it.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from ...engines.base import EngineError, wait_and_clear
from ...engines.cloud import CloudEngine, ManagedJobInfo
from ...engines.foreign import FOREIGN, ForeignJobs
from ...model.job import Job
from ...model.states import JobFlag, JobState
from ...site import Site
from ..jobs import transitions
from ..jobs.job_table import JobTable
from ..jobs.lifecycle import LifeCycle
from ..jobs.submitter import Submitter
from ..store.database_file import StoreError
from ..store.record_codec import Managed
from .foreign_records import fill_in, foreign_job
from .infra_cache import Infra

log = logging.getLogger("slurmsky.managed")

#: managed job 63 is shown as 60000063: above the ids of sbatch, below Slurm's largest id (67108863)
FIRST_ID = 60_000_000
_SPARE_ID = 65_000_000  # first id for jobs whose own id is used by another server's job

LEAST_GAP_S = 20.0  # minimum seconds between two reads
#: seconds for each HTTP request if there are warm nodes and no job of ours waits for a result: one such pace for the
#: queue, another one for inventory and costs, which may need many requests and must not delay the states of jobs
PACE_S = 60.0
PACE_POLL_S = 5.0  # delay of the next read once a job of ours waits for a result
IDLE_GAP_S = 600.0  # maximum seconds between two reads
QUERIED_S = 600.0  # seconds after a command in which reads are frequent, while a job of ours waits for a result
QUIET_GAP_S = 300.0  # seconds between reads after a command if no job of ours waits for a result
RUNNING_BILL_S = 120.0  # seconds between reads of the cost of our running jobs
FOREIGN_BILL_S = 300.0  # ... of foreign running jobs
ENDED_BILL_S = 45.0  # ... of ended jobs that still have their cluster
NO_BILL_S = 600.0  # seconds after its end at which a job without a bill counts as free

#: name of a launch by SkyEngine: the id of our job, eight hex digits, and a suffix for later attempts
_OURS = re.compile(r"-s(\d+)-[0-9a-f]{8}(?:_\d+)*$")


class ManagedJobs:
    """Reads managed jobs and their costs. ``run`` is its background task."""

    def __init__(
        self,
        job_table: JobTable,
        life: LifeCycle,
        site: Site,
        cloud: CloudEngine,
        foreign: ForeignJobs,
        who: Submitter,
        commit: Callable[[], None],
        adopt: Callable[[int], None],
        infra: Infra,
        on_cost: Callable[[Job], None],
        on_round: Callable[[], None],
    ) -> None:
        self.job_table = job_table
        self.life = life
        self.site = site
        self.cloud = cloud
        self.account = cloud.account
        self.foreign = foreign
        self.who = who
        self._commit = commit
        self._adopt = adopt  # assigns a job to the foreign engine in the router
        self._on_cost = on_cost  # called with each job whose cost has changed
        self._on_round = on_round  # called after each round
        self._infra = infra  # read in the same round
        self.server = self.account.key
        self.rows = job_table.store.managed(self.server)
        self._taken = job_table.store.managed_ids()
        self._live: dict[int, list[Job]] = {}
        self._requested = asyncio.Event()
        self._shown_at = time.monotonic()
        self._billed: dict[int, float] = {}  # managed job id -> when its cost was read
        self.problem = ""  # why the last read failed
        self.read_at = 0.0  # epoch second of the last successful read
        for row in self.rows.values():
            if row.job_id and not row.over:
                adopt(row.job_id)

    def managed_id(self, job_id: int) -> int | None:
        """SkyPilot's id of a foreign job."""
        job = self.job_table.jobs.get(job_id)
        return job.managed_job_id if job is not None and job.engine == FOREIGN else None

    def read_soon(self) -> None:
        """Read again soon, after a command that shows the queue. A recent read is not repeated."""
        self._shown_at = time.monotonic()
        self._requested.set()

    async def run(self) -> None:
        """Read at intervals until cancelled."""
        queue_from = others_from = 0.0  # monotonic times of the next reads where requests are limited
        while True:
            self._requested.clear()
            sent = self.account.requests
            try:
                await self._read_queue()
                queue_from, sent = self._paced(sent), self.account.requests
                if not self._is_limited() or time.monotonic() >= others_from:
                    await self._infra.refresh()
                    await self._read_costs()
                self.problem = ""
            except (EngineError, StoreError) as error:
                if str(error) != self.problem:
                    log.warning("managed jobs: %s", error)
                self.problem = str(error)
                queue_from = max(queue_from, self._paced(sent))
            except Exception:  # an unexpected answer, for example of another release, must not stop the reads
                log.exception("managed jobs")
                self.problem = "internal error"
            others_from = max(others_from, self._paced(sent))
            self._on_round()
            await asyncio.sleep(LEAST_GAP_S)
            while self._is_limited() and time.monotonic() < queue_from:
                await asyncio.sleep(PACE_POLL_S)
            await wait_and_clear(self._requested, self._gap())

    def _is_limited(self) -> bool:
        """True if idle warm nodes must cause few requests. Users may call squeue and sinfo often."""
        return bool(self.site.warm_nodes) and not self._needs_read()

    def _paced(self, sent: int) -> float:
        """Monotonic time of the next read of a sort. Its latest one began at this number of requests."""
        return time.monotonic() + PACE_S * (self.account.requests - sent)

    def _gap(self) -> float:
        """Seconds to wait beyond the least gap while no command runs."""
        if time.monotonic() - self._shown_at >= QUERIED_S or all(row.cost_final for row in self.rows.values()):
            return IDLE_GAP_S
        return max(0.0, self.site.sky.queue_poll_s - LEAST_GAP_S) if self._needs_read() else QUIET_GAP_S

    def _needs_read(self) -> bool:
        """True if a job of ours needs the next read. It is a managed job, or waits for a foreign job or a budget."""
        if any(not row.job_id and not row.cost_final for row in self.rows.values()):
            return True
        if self.site.budgets and self.job_table.pending:
            return True
        foreign = (self.job_table.jobs.get(row.job_id) for row in self.rows.values() if not row.over)
        return any(
            job is not None and (JobFlag.COMPLETING in job.flags or self.job_table.has_dependents(job))
            for job in foreign
        )

    async def read(self) -> None:
        """Read the queue and the due costs once. Raises EngineError, StoreError."""
        await self._read_queue()
        await self._read_costs()

    async def _read_queue(self) -> None:
        await self.foreign.retry()
        known = dict(self.rows)
        open_ids = {number for number, row in known.items() if number > 0 and not row.over}
        newest = max((number for number in known if number > 0), default=0)
        found = await self.account.jobs(open_ids, newest)
        self._find_live()
        changed = []
        for count, sighting in enumerate(found):
            row = self._apply_sighting(sighting)
            if row is not None:
                changed.append(row)
            if count % 20 == 19:
                await asyncio.sleep(0)  # a first read may return a thousand jobs: let commands run in between
        for number in open_ids - {sighting.managed_job_id for sighting in found}:
            changed.append(self._end_unlisted(self.rows[number]))
        changed += self._clusters()
        self._commit()
        self.job_table.store.put_managed(self.server, changed)
        self.read_at = self.job_table.clock()

    # --- from managed jobs to records

    def _apply_sighting(self, sighting: ManagedJobInfo) -> Managed | None:
        """Apply the values of one managed job. Return its row if the row changed."""
        number = sighting.managed_job_id
        row = self.rows.get(number)
        if row is not None and row.over:
            return None  # the first end counts: SkyPilot may show FAILED_CONTROLLER over a success
        if row is None:
            shown = self.site.sky.foreign and not self._is_ours(sighting)
            row = Managed(number, self._new_id(number) if shown else 0, sighting.name, clusters=sighting.clusters)
            self.rows[number] = row
            before = None
        else:
            before = replace(row)
        row.status = sighting.status
        if sighting.over:
            row.over = sighting.end_time or self.job_table.clock()
            self._billed.pop(number, None)
        if row.job_id:
            self._update_record(row, sighting)
        return row if row != before else None

    def _is_ours(self, sighting: ManagedJobInfo) -> bool:
        """True if our own engine launched it. Another user's slurmsky may have given the same name."""
        if sighting.name in self.cloud.names():
            return True
        named = _OURS.search(sighting.name)
        return named is not None and bool(self._members(int(named[1]), sighting.managed_job_id))

    def _members(self, base: int, managed_job_id: int) -> list[Job]:
        """Jobs of ours that ran as one managed job.

        A job, the components of a het job, or the packed elements of the array ``base``.
        """
        if managed_job_id < 0:  # a cluster, not a managed job
            live = self.job_table.jobs.get(-managed_job_id)
            return self.job_table.components(live) if live else self._history(-managed_job_id)
        found = {
            (job.job_id, job.restarts): job for job in self._history(base, True) if job.managed_job_id == managed_job_id
        }
        for job in self._live.get(managed_job_id, ()):
            found[job.job_id, job.restarts] = job
        return list(found.values())

    def _history(self, base: int, duplicates: bool = False) -> list[Job]:
        """Return a job from the store, with its elements or components."""
        store, now = self.job_table.store, self.job_table.clock()
        found = list(store.history(0, now, {base}, duplicates))
        others = {job_id for job in found for job_id in job.het_ids} - {base}
        return [*found, *store.history(0, now, others, duplicates)] if others else found

    def _find_live(self) -> None:
        """Index our jobs in memory by SkyPilot's id, once per round."""
        self._live.clear()
        for job in self.job_table.jobs.values():
            if job.managed_job_id is not None and job.engine != FOREIGN:
                self._live.setdefault(job.managed_job_id, []).append(job)

    def _new_id(self, number: int) -> int:
        wanted = FIRST_ID + number
        if wanted in self._taken or wanted >= _SPARE_ID:
            wanted = max((*self._taken, _SPARE_ID - 1)) + 1
        self._taken.add(wanted)
        return wanted

    def _update_record(self, row: Managed, sighting: ManagedJobInfo) -> None:
        """Update the job's record from the last read."""
        known = self.job_table.jobs.get(row.job_id)
        job = known or next(iter(self.job_table.store.history(0, self.job_table.clock(), {row.job_id})), None)
        if job is None:
            job = foreign_job(row.job_id, sighting, self.who, self.job_table.cluster.name, self.job_table.clock())
        elif job.state.finished and JobFlag.COMPLETING not in job.flags:
            return
        self._adopt(job.job_id)
        before = None if known is None else replace(job)
        fill_in(job, sighting, self.job_table, self.site)
        seen = sighting.seen
        if sighting.over:
            if not job.start_time:
                job.shares = []
            at, code = row.over, seen.exit_code or 0
            if known is not None:
                self.life.end(job, seen.state, code, 0, reason=seen.reason, at=at, comment=job.system_comment)
                return
            transitions.show_foreign_end(job, seen.state, code, seen.reason, at)
            self.job_table.touch(job)
            self.job_table.drop(job)  # history: for sacct, not for squeue
            return
        if JobFlag.COMPLETING in job.flags and job.state.finished:
            pass  # we cancelled it, and it has not ended yet
        elif seen.state is JobState.CANCELLED:
            transitions.show_foreign_cancel(job, self.job_table.clock())
        elif seen.state is JobState.RUNNING or JobFlag.CONFIGURING in seen.flags:
            since = sighting.start_time or job.start_time or self.job_table.clock()
            transitions.show_foreign_run(job, seen.flags, since)
        else:
            transitions.show_foreign_pending(job, seen.reason)
        if job != before:
            self.job_table.touch(job)
            self.life.wake_waiting_commands(job)

    def _end_unlisted(self, row: Managed) -> Managed:
        """End an active job that SkyPilot no longer lists."""
        row.status, row.over, row.cost_final = "FAILED_CONTROLLER", self.job_table.clock(), True
        job = self.job_table.jobs.get(row.job_id)
        if job is not None and row.job_id and (not job.state.finished or JobFlag.COMPLETING in job.flags):
            self.life.end(job, JobState.NODE_FAIL, 0, 0, reason="SystemFailure",
                          comment=f"SkyPilot does not know managed job {row.managed_job_id} any more")  # fmt: skip
        return row

    def _clusters(self) -> list[Managed]:
        """Return rows for the clusters of salloc and srun.

        These have no managed job; their key is the negative job id.
        """
        changed = []
        for job_id, name in self.cloud.clusters().items():
            if -job_id not in self.rows:
                row = self.rows[-job_id] = Managed(-job_id, 0, name, "RUNNING", clusters=(name,))
                changed.append(row)
        for number, row in self.rows.items():
            if number < 0 and not row.over:
                job = next(iter(self._members(-number, number)), None)
                if job is None or (job.state.finished and JobFlag.COMPLETING not in job.flags):
                    row.over, row.status = (job.end_time if job else 0.0) or self.job_table.clock(), "SUCCEEDED"
                    self._billed.pop(number, None)
                    changed.append(row)
        return changed

    # --- costs

    def _due(self, row: Managed) -> bool:
        if row.cost_final or row.status in ("", "PENDING", "SUBMITTED"):
            return False
        since = time.monotonic() - self._billed.get(row.managed_job_id, -1e9)
        return since >= (ENDED_BILL_S if row.over else FOREIGN_BILL_S if row.job_id else RUNNING_BILL_S)

    async def _read_costs(self) -> None:
        # One request per round: the remaining rows are due again in the next round.
        due = [row for row in self.rows.values() if self._due(row)][: self.account.bills_at_once // 2]
        for row in due:
            self._billed[row.managed_job_id] = time.monotonic()
        if not due:
            return
        bills = await self.account.bills([name for row in due for name in row.clusters])
        self._find_live()
        changed = []
        for row in due:
            before = replace(row)
            mine = [bills[name] for name in row.clusters if name in bills]
            row.cost = sum(bill.dollars for bill in mine)
            row.hourly = sum(bill.hourly for bill in mine if bill.open)
            if row.over:
                gone = bool(mine) and not any(bill.open for bill in mine)
                row.cost_final = (
                    gone or not row.clusters or (not mine and self.job_table.clock() - row.over > NO_BILL_S)
                )
            if row != before:
                changed.append(row)
                self._write_cost(row)
        self._commit()
        self.job_table.store.put_managed(self.server, changed)

    def _write_cost(self, row: Managed) -> None:
        """Write the cost of a managed job to its jobs. The elements of a pack share it by their time."""
        if row.job_id:
            live = self.job_table.jobs.get(row.job_id)
            jobs = [live] if live else list(self.job_table.store.history(0, self.job_table.clock(), {row.job_id}))
        else:
            named = _OURS.search(row.name)
            base = int(named[1]) if named else 0
            jobs = self._members(base, row.managed_job_id) if base or row.managed_job_id < 0 else []
        away = []
        for job, part in divide_cost(jobs, self.job_table.clock()):
            job.cost, job.hourly_cost = round(row.cost * part, 6), round(row.hourly * part, 6)
            self._on_cost(job)
            if self.job_table.jobs.get(job.job_id) is job:
                self.job_table.touch(job)
            else:
                away.append((job.job_id, job.restarts, job.cost))
        self.job_table.store.charge(away)


def divide_cost(jobs: Iterable[Job], now: float) -> list[tuple[Job, float]]:
    """Divide a common cost among jobs: (job, fraction).

    The fraction depends on the number of a job's nodes (the nodes of a het job's components have one size) and on the
    seconds that it ran, at least one.
    """
    weights = []
    for job in jobs:
        until = job.end_time if job.state.finished and job.end_time else now
        seconds = max(1.0, until - job.start_time) if job.start_time else 1.0
        weights.append((job, seconds * max(1, job.num_nodes)))
    whole = sum(weight for _, weight in weights)
    return [(job, weight / whole) for job, weight in weights]
