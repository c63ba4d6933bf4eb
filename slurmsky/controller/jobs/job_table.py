"""The queue in memory: jobs and the use of the nodes.

Memory has active jobs, jobs within MinJobAge, and ended jobs on which others depend. Code that changes a job calls
``touch``; ``flush`` commits all touched jobs in one transaction. Jobs that ended longer than MinJobAge ago remain only
in the store; slurmctld drops them from memory, too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ...language import licenses
from ...model.cluster import ClusterConfig
from ...model.job import Job, Step
from ...model.spec import JobSpec
from ...model.states import JobFlag, JobState
from ...report.text.controller_statistics import Counters
from ..rules.dependencies import Targets
from ..store.database import Store
from . import transitions
from .cluster_table import ClusterTable


class JobTable(ClusterTable):
    """The state of the queue, and the methods that change it."""

    def __init__(
        self,
        cluster: ClusterConfig,
        store: Store,
        clock: Callable[[], float] = time.time,
        accounts: tuple[str, ...] = (),
        engine_check: Callable[[JobSpec, str], bool] = lambda spec, partition: False,
        on_touch: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(cluster, store, clock, accounts)
        self.members: dict[int, set[int]] = {}  # array base id -> ids of its records
        self.pending: set[int] = set()
        self.licenses_used: dict[str, int] = {}
        self.next_job_id = store.counter("next_job_id")
        self.next_priority = store.counter("next_priority")
        self._touched: dict[int, Job] = {}
        self._steps: list[tuple[Job, Step]] = []
        self._superseded: list[Job] = []
        self._dropped: list[int] = []  # dropped from memory once they are committed
        self._finished: deque[tuple[float, int]] = deque()  # (end time, job id) in order of ending
        self._targets = Targets()
        self._kept: list[tuple[float, int]] = []  # as _finished: older than MinJobAge, but other jobs need them
        #: called at submit for partitions whose nodes an engine makes (submit_checks.EngineCheck)
        self.engine_check = engine_check
        self._on_touch = on_touch
        self.counters = Counters(since=clock())
        for job in store.current(clock() - self.cluster.min_job_age_s):
            self._index(job)
            if job.state.finished and not holds_allocation(job):
                self._finished.append((job.end_time, job.job_id))
            elif holds_allocation(job):
                self.book_shares(job)
        self._load_targets()
        self.assume(name for job_id in (*self.pending, *self.active) for name in self.jobs[job_id].partition.split(","))
        self._finished = deque(sorted(self._finished))

    def _load_targets(self) -> None:
        """Load the ended jobs that others need: targets of dependencies, and components of het jobs."""
        wanted = {*self._targets, *(part for job in self.jobs.values() for part in job.het_ids)} - self.jobs.keys()
        while wanted:
            found = [job for job in self.store.history(0, self.clock(), wanted) if job.job_id not in self.jobs]
            for job in found:
                self._index(job)
                self._finished.append((job.end_time, job.job_id))
            wanted = {part for job in found for part in job.het_ids} - self.jobs.keys()

    def jobs_with_ids(self, ids: Iterable[int]) -> list[Job]:
        """Return the jobs with these ids, from memory or the store."""
        wanted = set(ids)
        for job in self.store.history(0, self.clock(), wanted - self.jobs.keys()) if wanted - self.jobs.keys() else ():
            self._index(job)
            self._finished.append((job.end_time, job.job_id))
        return [self.jobs[job_id] for job_id in sorted(wanted & self.jobs.keys())]

    def change_licenses(self, job: Job, text: str) -> None:
        """Replace the licences of a running job without a check."""
        for name, count in job_licenses(job):
            self.licenses_used[name] = max(0, self.licenses_used.get(name, 0) - count)
        job.spec, job.licenses_alloc = job.spec.evolve(licenses=text or None), ""
        for name, count in job_licenses(job):
            self.licenses_used[name] = self.licenses_used.get(name, 0) + count

    # --- ids

    def take_job_id(self) -> int:
        """Return a new job id. The counter is committed with the job, so no id is used twice."""
        self.next_job_id += 1
        return self.next_job_id - 1

    def take_priority(self) -> int:
        """Return the next priority of priority/basic, which decreases."""
        self.next_priority -= 1
        return self.next_priority

    # --- records

    def _index(self, job: Job) -> None:
        self.jobs[job.job_id] = job
        if job.array_job_id:
            self.members.setdefault(job.array_job_id, set()).add(job.job_id)
        (self.pending.add if job.state is JobState.PENDING else self.pending.discard)(job.job_id)
        (self.active.add if holds_allocation(job) else self.active.discard)(job.job_id)
        released = self._targets.record_state(job) or (job.het_job_id and job.state.finished)
        if released and self._kept:
            self._finished.extendleft(reversed(self._kept))
            self._kept.clear()

    def touch(self, job: Job) -> None:
        """Mark a job as new or changed."""
        transitions.keep_pending_reason(job)
        self._index(job)
        if not self._touched and not self._steps:
            self._on_touch()
        self._touched[job.job_id] = job

    def remove_uncommitted(self, job: Job) -> None:
        """Remove a pending job that was never committed."""
        self.jobs.pop(job.job_id, None)
        self.pending.discard(job.job_id)
        self._targets.forget(job.job_id)
        self._touched.pop(job.job_id, None)
        members = self.members.get(job.array_job_id)
        if members is not None:
            members.discard(job.job_id)
            if not members:
                del self.members[job.array_job_id]

    def touch_step(self, job: Job, step: Step) -> None:
        """Mark a step as new or changed."""
        if not self._touched and not self._steps:
            self._on_touch()
        self._steps.append((job, step))

    def supersede(self, job: Job) -> None:
        """Store the ended run of a requeued job (sacct --duplicates)."""
        self._superseded.append(job)

    def drop(self, job: Job) -> None:
        """Drop a finished job from memory after the next commit."""
        self._dropped.append(job.job_id)

    def finished(self, job: Job) -> None:
        """Register an ended job, which leaves memory after MinJobAge."""
        self._finished.append((job.end_time, job.job_id))

    def flush(self) -> None:
        """Commit all touched jobs and steps. Raises StoreError. After an error all stay touched."""
        if not (self._touched or self._steps or self._superseded):
            return
        self.store.write(
            self._touched.values(),
            self._steps,
            self._superseded,
            {"next_job_id": self.next_job_id, "next_priority": self.next_priority},
        )
        self._touched.clear()
        for job_id in self._dropped:
            job = self.jobs.pop(job_id, None)
            if job is not None:
                self.members.get(job.array_job_id, set()).discard(job_id)
        self._dropped.clear()
        self._steps.clear()
        self._superseded.clear()

    def forget_old(self) -> float | None:
        """Drop jobs that ended longer than MinJobAge ago.

        Return the epoch second at which the next job is due, or None.
        """
        horizon = self.clock() - self.cluster.min_job_age_s
        while self._finished:
            ended, job_id = self._finished[0]
            if ended > horizon:
                return ended + self.cluster.min_job_age_s
            self._finished.popleft()
            job = self.jobs.get(job_id)
            if job is None or not job.state.finished or job.end_time > horizon:
                continue
            leader = self.jobs.get(job.het_job_id)  # a het job is dropped as a whole (job_mgr.c)
            if self._targets.has_dependents(job) or (leader is not None and not leader.state.finished):
                self._kept.append((ended, job_id))
                continue
            del self.jobs[job_id]
            members = self.members.get(job.array_job_id)
            if members is not None:
                members.discard(job_id)
                if not members:
                    del self.members[job.array_job_id]
        return None

    # --- lookups

    def array(self, base: int) -> Iterator[Job]:
        """All records of an array."""
        for job_id in sorted(self.members.get(base, ())):
            yield self.jobs[job_id]

    def element(self, base: int, task: int) -> Job | None:
        """Return an array element's own record, or None."""
        for job in self.array(base):
            if job.array_task_id == task:
                return job
        return None

    def referenced(self, job_id: int, task: int | str | None) -> list[Job]:
        """Jobs in memory to which a dependency refers."""
        if job_id in self.members:
            records = list(self.array(job_id))
            if isinstance(task, int):
                return [
                    job
                    for job in records
                    if job.array_task_id == task or any(task in part for part in job.pending_tasks)
                ]
            return records
        job = self.jobs.get(job_id)
        if job is None:
            return []
        return self.components(job) if job.het_job_id == job_id else [job]

    def has_dependents(self, job: Job) -> bool:
        """True if a pending job depends on this job, array or het job."""
        return self._targets.has_dependents(job)

    def running_elements(self, base: int) -> int:
        """The number of an array's elements that hold an allocation."""
        return sum(1 for job_id in self.members.get(base, ()) if job_id in self.active)

    def components(self, job: Job) -> list[Job]:
        """All components of a het job, in order; else the job alone."""
        if not job.het_job_id:
            return [job]
        leader = self.jobs.get(job.het_job_id)
        ids: Iterable[int] = leader.het_ids if leader else (job.job_id,)
        return [self.jobs[job_id] for job_id in ids if job_id in self.jobs]

    def unfinished_components(self, job: Job) -> list[Job]:
        """``components`` without those that were cancelled alone."""
        return [part for part in self.components(job) if not part.state.finished]

    # --- use of nodes

    def book_shares(self, job: Job) -> None:
        """Book nodes, CPUs, devices and licences of a starting job."""
        exclusive = job.spec.whole_nodes
        for share in self.virtual.book_real_nodes(job, self.uses):
            use = self.uses.get(share.name)
            if use is not None:
                use.allocate(job.job_id, share, exclusive, job.partition)
                self.refresh_node(self.nodes[share.name])
        if job.spec.licenses and not job.licenses_alloc:
            wanted = licenses.parse(job.spec.licenses)
            job.licenses_alloc = str(wanted.first_available(self.free_licenses) or "") if wanted.any else ""
        for name, count in job_licenses(job):
            self.licenses_used[name] = self.licenses_used.get(name, 0) + count

    def free_licenses(self, name: str) -> int:
        """The free count of a licence."""
        return dict(self.cluster.licenses).get(name, 0) - self.licenses_used.get(name, 0)

    def free_shares(self, job: Job) -> None:
        """Release the resources that ``book_shares`` booked for the job."""
        for share in self.virtual.release(job):
            use = self.uses.get(share.name)
            if use is not None and job.job_id in use.jobs:
                use.release(job.job_id, share, job.partition)
                node = self.nodes[share.name]
                node.last_busy_time = self.clock()
                self.refresh_node(node)
        for name, count in job_licenses(job):
            self.licenses_used[name] = max(0, self.licenses_used.get(name, 0) - count)

    def shrink(self, job: Job, nodes: frozenset[str], failed: bool = False) -> None:
        """Release a running job's other nodes; the job keeps its licences."""
        with self.rebook_resources(job):
            transitions.shrink(job, nodes, self.clock(), failed)

    @contextmanager
    def rebook_resources(self, job: Job) -> Iterator[None]:
        """Release an active job's resources, and book them again afterwards."""
        self.free_shares(job)
        yield
        self.book_shares(job)
        self.touch(job)


def holds_allocation(job: Job) -> bool:
    """True while nodes are booked for the job. The job is running, suspended, or ended but not yet cleaned up."""
    return bool(job.shares) and (job.state.active or job.awaits_nodes or JobFlag.COMPLETING in job.flags)


def job_licenses(job: Job) -> list[tuple[str, int]]:
    """Licences a job holds, as (name, count)."""
    text = job.licenses_alloc or job.spec.licenses
    return list(licenses.parse(text).counts) if text else []
