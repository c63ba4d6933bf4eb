"""The controller without its socket: job table, scheduler, life cycle, engines.

The module exceeds 400 lines because it is the only one that knows all parts and connects them.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import math
import os
import pwd
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..agent.process import process_tree
from ..engines import registry
from ..engines.base import Choice, Engine, OnEvent, Unable, background, cancel_all
from ..engines.cloud import CloudEngine, PriceQuestion
from ..engines.foreign import FOREIGN, ForeignJobs
from ..engines.router import Router
from ..language.jobids import JobId
from ..model.allocation import NodeShare
from ..model.job import Job
from ..model.spec import JobSpec
from ..model.states import JobState
from ..paths import AGENT, ENGINE, HOME, StatePaths
from ..protocol.messages import Event, JobEvent, Power, Started
from ..site.record import AUTO, Site
from .jobs import transitions
from .jobs.followers import ArrayFollowers
from .jobs.job_events import Events
from .jobs.job_spool import Payload
from .jobs.job_table import JobTable
from .jobs.launch_builder import LaunchBuilder
from .jobs.lifecycle import LifeCycle
from .jobs.plan import apply
from .jobs.submitter import Submitter, admit, withdraw
from .rules.demand import Demand
from .rules.job_placement import place
from .rules.node_use import NodeUse
from .rules.submit_checks import partitions_of
from .schedule.scheduler import Scheduler
from .services.budget_policy import BudgetPolicy
from .services.crontab import Crontab
from .services.engine_choice import EngineChoice
from .services.foreign_records import caller
from .services.helper_programs import run_program
from .services.infra_cache import Infra
from .services.job_files import JobFiles
from .services.machine_ledger import Ledger
from .services.machine_share import NEXT_PASS_S, REWRITE_S, MachineShare
from .services.mailer import Mailer
from .services.managed_jobs import ManagedJobs
from .services.power import PowerSaving
from .services.triggers import Triggers
from .slurm_errors import Errno, SlurmError
from .store.accounting_cache import AccountingCache, IdleTime
from .store.database import Store
from .store.database_file import StoreError

log = logging.getLogger("slurmsky.controller")

RETRY_FLUSH_S = 1.0
ORPHAN_POLL_S = 1.0
#: seconds from the controller's start until it searches for folders of old jobs
OLD_FILES_CHECK_S = 65.0

_TOO_LATE = "its deadline passed before it could start"

#: A pass over the pending jobs that takes longer is followed by a pause of _PASS_PAUSE times its length. The
#: controller serves commands in the pause, so that scheduling takes at most a fifth of the time (slurmctld:
#: sched_min_interval).
_SHORT_PASS_S = 0.005
_PASS_PAUSE = 4


class Controller:
    """State and services of the controller, which commands call."""

    def __init__(
        self,
        site: Site,
        paths: StatePaths,
        bin_dir: Path | None,
        environment: dict[str, str],
        clock: Callable[[], float],
        ledger: Ledger | None = None,
        store: Store | None = None,
        local: Callable[[OnEvent], Engine] | None = None,
    ) -> None:
        self._site = self.configured_site = site
        self.paths = paths
        self.bin_dir = bin_dir
        self.environment = environment
        self.clock = clock
        self.host = socket.gethostname()
        self._loop = asyncio.get_running_loop()
        self._kicked = False
        self._next_pass = 0.0  # earliest time of the next pass, on the loop's clock
        self._flushing = False
        self._wake: asyncio.TimerHandle | None = None
        self._forget: asyncio.TimerHandle | None = None
        self._seen: dict[tuple[str, int, int], int] = {}
        self._launches: list[Job] = []  # started jobs, which are launched once their start is committed
        self._reading: asyncio.Task[None] | None = None
        self.store_problem: str | None = None
        self.store = store if store is not None else Store(paths.database)
        self.pages = AccountingCache(self.store, site.cluster)
        self.idle_time = IdleTime(self.store)
        self.job_table = JobTable(site.cluster, self.store, clock, site.accounts, self._check_by_engine, self._touched)
        # As FirstJobId: the counter continues from this id and never decreases.
        self.job_table.next_job_id = max(self.job_table.next_job_id, site.first_job_id)
        if local is None:
            claim = ledger.path if ledger is not None else ""
            local = partial(registry.local_engine, paths.home, bin_dir, environment, claim)
        self.engines: dict[str, Engine] = {"local": local(self._event)}
        #: SkyPilot's engines; None until ``choose_engine``
        self._cloud: registry.Cloud | None = None
        self._cloud_engine: CloudEngine | None = None
        #: reads SkyPilot's managed jobs; None if no partition runs on SkyPilot
        self.managed: ManagedJobs | None = None
        #: power saving for warm nodes; None if no partition has warm nodes
        self.power: PowerSaving | None = None
        #: SkyPilot's infras and their nodes; None if no partition has warm nodes
        self.infra: Infra | None = None
        #: the engine of partitions that name no engine
        self.usual = EngineChoice()
        self.engine = Router(self.engines, self._engine_of)
        self.budget = BudgetPolicy(
            self.job_table, site, self.schedule_soon, self._price_question, self.hourly_price, self._costs
        )
        gpus = len(glob.glob("/dev/nvidia[0-9]*")) if ledger is not None else 0
        self.machine = MachineShare(self.job_table, ledger, len(os.sched_getaffinity(0)), gpus)
        self.scheduler = Scheduler(
            self.job_table,
            self.engine.places_in,
            self.engine.packs,
            budget=self.budget.trial,
            undecided=self._undecided,
            shared=self._shared,
            ready_in=self.engine.ready_in,
            place=self._place,
            place_later=self._place_later,
            neighbourhoods=self._neighbourhoods,
        )
        self.launches = LaunchBuilder(self.job_table, self.engine.of_job, paths.jobs, self.host)
        self.mailer = Mailer(self.job_table, site.cluster.mail_program, self.environment)
        self.job_files = JobFiles(self.job_table, self.store, paths.jobs, site.cluster.job_files_days, clock)
        self.life = LifeCycle(
            self.job_table, self.engine, self.launches, self.schedule_soon, self.mailer, self.job_files.restore
        )
        self.life.listeners.append(self.job_files.on_job_event)
        self.followers = ArrayFollowers(self.job_table, self.engine, self.life, lambda: not self.machine.contended)
        self.events = Events(self.job_table, self.life, self.followers)
        #: sends the text of scontrol notify to the salloc or srun that holds a job, by job id
        self.notices: dict[int, Callable[[str], None]] = {}
        self.started_at = clock()
        self.crontab = Crontab(self.store, self.job_table, self.life, clock)
        self.triggers = Triggers(self.store, self.job_table, self.life, clock, self._run_program)
        #: stops the controller (slurmsky stop)
        self.stop: Callable[[], None] = lambda: None

    @property
    def site(self) -> Site:
        """The site file, with scontrol's changes of partitions."""
        if self._site.cluster is not self.job_table.cluster:
            self._site = replace(self._site, cluster=self.job_table.cluster)
        return self._site

    def _engine_of(self, partition: str) -> str:
        wanted = self.environment.get(ENGINE) or self.site.engine_of(partition)
        return wanted if wanted in self.engines and wanted != FOREIGN else self.usual.engine

    def _undecided(self, partition: str) -> str:
        """Return why a partition's engine is not chosen yet, or ""."""
        if not self.usual.open:
            return ""
        wanted = self.environment.get(ENGINE) or self.site.engine_of(partition)
        return self.usual.reason if wanted in ("", AUTO) else ""

    def _check_by_engine(self, spec: JobSpec, partition: str) -> bool:
        """Validate a job by the engine that creates its nodes (submit_checks.EngineCheck)."""
        if self._undecided(partition):
            return True
        if self.engine.places_in(partition):
            return False
        self.check_runnable([(spec, partition)])
        return True

    def check_runnable(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Raise SlurmError if no engine can ever run this job."""
        try:
            self.engine.check(components)
        except Unable as error:
            errno = next((errno for errno in Errno if errno.text == str(error)), Errno.NODE_CONFIG_UNAVAILABLE)
            raise SlurmError(errno, error.hint) from error

    async def choose_engine(self) -> None:
        """Choose SkyPilot or this machine.

        SLURMSKY_ENGINE takes precedence over the site file, which takes precedence over detection.
        """
        user = pwd.getpwuid(os.geteuid()).pw_name
        cloud = self._cloud = registry.Cloud(self.environment, self.site, user, self.paths.home, self._event)
        wanted = self.environment.get(ENGINE, "")

        def ask() -> Awaitable[Choice]:
            return cloud.choose_engine(wanted, 5.0)

        self.usual.record_choice(await ask())
        self.usual.begin(ask, self.schedule_soon)
        before = {self.job_table.jobs[job_id].engine for job_id in self.job_table.active}  # jobs stay with their engine
        named = {self.usual.engine, *(part.engine for part in self.site.cluster.partitions), *before}
        on_cloud = "sky" in named or self.usual.open
        foreign = self.engines[FOREIGN] = ForeignJobs(self._managed_id, cloud.account if on_cloud else None)
        if on_cloud:
            infra = self.infra = Infra(self.job_table, self.site, cloud.account, self._on_cloud)
            engine = self.engines["sky"] = self._cloud_engine = cloud.jobs_engine(infra.recent_inventory)
            self.managed = ManagedJobs(
                self.job_table, self.life, self.site, engine, foreign, caller(cloud.account.user), self.flush_or_retry,
                lambda job_id: self.engine.adopt(job_id, FOREIGN), infra, self.budget.record_cost, self.budget.recheck,
            )  # fmt: skip
        if self.site.warm_nodes and wanted != "local":
            fleet = self.engines["nodes"] = cloud.warm_engine()
            self.power = PowerSaving(
                self.job_table, dict(self.site.warm_nodes), fleet, self.schedule_soon, self.budget.record_cost
            )
            self.life.listeners.append(self.power.on_job_event)

    def _managed_id(self, job_id: int) -> int | None:
        return self.managed.managed_id(job_id) if self.managed is not None else None

    def _on_cloud(self, partition: str) -> bool:
        return self.engines[self.engine.engine_name(partition)] is self._cloud_engine

    def _price_question(self, job: Job, partition: str) -> PriceQuestion | None:
        """Return the query for a job's price; None: its nodes are free."""
        if self._cloud_engine is None:
            return None
        parts = self.job_table.components(job)
        return self._cloud_engine.price_question(
            [(part.spec, partition if part is job else part.partition) for part in parts]
        )

    def _costs(self, job: Job) -> bool:
        return job.awaits_nodes or not self.engine.of_job(job).this_machine

    def hourly_price(self, shares: Sequence[NodeShare]) -> float | None:
        """Return the price of nodes in dollars an hour; None: unknown."""
        return 0.0 if self.power is None else self.power.prospects.hourly(shares)

    def _place(self, demand: Demand, nodes: Sequence[NodeUse], consume_memory: bool = True) -> list[NodeShare] | None:
        """Place a job, first on nodes that are powered up."""
        chosen = self.power.placement.place if self.power is not None else place
        return chosen(demand, nodes, consume_memory)

    def _place_later(
        self, demand: Demand, nodes: Sequence[NodeUse], consume_memory: bool = True
    ) -> list[NodeShare] | None:
        """Place a job on nodes as they will be at a later time."""
        chosen = self.power.placement.place_later if self.power is not None else place
        return chosen(demand, nodes, consume_memory)

    def _neighbourhoods(self, nodes: Sequence[NodeUse]) -> list[list[NodeUse]]:
        """Groups of nodes with a network connection to each other."""
        return [list(nodes)] if self.power is None else self.power.placement.neighbourhoods(nodes)

    async def recover(self) -> None:
        """Reconnect to the running jobs after a start of the controller."""
        running = [self.job_table.jobs[job_id] for job_id in sorted(self.job_table.active)]
        heads = [job for job in running if not (job.het_job_id and job.het_offset)]
        # The agents report the events that the controller missed and the jobs that they never received. The controller
        # launches the latter again.
        await self.engine.recover(heads)
        for job in heads:
            if job.job_id in self.job_table.active:
                self.life.repeat_requests(job)
                self.mailer.watch_limit(job)
        for job_id in [*self.job_table.pending, *self.job_table.active]:
            job = self.job_table.jobs[job_id]
            if not job.is_batch and not job.state.finished and job.alloc_pid:
                background(self._release_after_exit(job))
        if self.managed is not None:
            self._reading = background(self.managed.run())
        if self.power is not None:
            self.power.begin()
        self._loop.call_later(OLD_FILES_CHECK_S, self.job_files.clean_soon)
        self.schedule_soon()

    def command_called(self) -> None:
        """Refresh old SkyPilot data in the background, at each command."""
        self.usual.query_soon()
        if self.managed is not None:
            self.managed.read_soon()

    async def _release_after_exit(self, job: Job) -> None:
        """Release an allocation whose salloc or srun lost its controller.

        The allocation ends after that process and its steps.
        """
        owner = process_tree.stat(job.alloc_pid) if job.alloc_pid else None
        while not job.state.finished:
            now = process_tree.stat(job.alloc_pid) if owner is not None else None
            gone = now is None or owner is None or now.start_ticks != owner.start_ticks
            if gone and job.state is JobState.PENDING:
                self.life.cancel(job, job.uid)
                return
            if gone and all(step.state.finished for step in job.steps.values()):
                transitions.note_exit_code(job, max((step.exit_code for step in job.steps.values()), default=0))
                self.life.terminate(job, JobState.FAILED if job.exit_code else JobState.COMPLETED)
                return
            await asyncio.sleep(ORPHAN_POLL_S)

    # --- committing

    def _touched(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self._flushing = False
        # A pass that is already scheduled commits these changes together with its starts.
        if not self._kicked or self._loop.time() < self._next_pass:
            self.flush_or_retry()

    def flush_or_retry(self) -> None:
        """Commit now; retry later if the write fails. The changes stay in memory until then."""
        try:
            self.flush()
        except StoreError as error:
            if self.store_problem is None:
                log.error("%s", error)
            self.store_problem = str(error)
            if not self._flushing:
                self._flushing = True
                self._loop.call_later(RETRY_FLUSH_S, self._flush_soon)

    def submit(
        self, specs: Sequence[JobSpec], payload: Payload, who: Submitter, interactive: bool = False, first_id: int = 0
    ) -> Job:
        """Add and commit a job.

        Raises SlurmError; the job does not exist then. ``first_id``: an id that the submitter already has; 0: the next
        free id.
        """
        if len(specs) > 1:
            # All components at once: each component alone is validated as any job is.
            self.check_runnable([(spec, partitions_of(self.job_table.cluster, spec)[0].name) for spec in specs])
        try:
            job = admit(self.job_table, specs, payload, who, self.paths.jobs, interactive, first_id=first_id)
        except OSError as error:
            raise SlurmError(Errno.WRITING_TO_FILE, f"{error.filename}: {error.strerror}") from error
        try:
            self.flush()
        except StoreError as error:
            withdraw(self.job_table, job, self.paths.jobs)
            raise SlurmError(Errno.WRITING_TO_FILE, str(error)) from error
        return job

    def flush(self) -> None:
        """Commit now. Raises StoreError. After an error the changes stay in memory, and the commit is retried."""
        self.job_table.flush()
        self.store_problem = None
        self.idle_time.start_if_due()
        if self._seen:
            acks: dict[str, list[tuple[int, int, int]]] = {}
            for (node, job_id, run), seq in self._seen.items():
                acks.setdefault(node, []).append((job_id, run, seq))
            self._seen.clear()
            for node, several in acks.items():
                self.engine.acks(node, several)
        launches, self._launches = self._launches, []
        for job in launches:
            background(self.life.launch(job))
        if self.followers.chosen:
            self._loop.call_soon(self.followers.send)  # commits after the launches
        if self._forget is None:
            self._forget = self._loop.call_later(
                min(60.0, self.job_table.cluster.min_job_age_s + 1.0), self._forget_old
            )

    def _forget_old(self) -> None:
        self._forget = None
        due = self.job_table.forget_old()
        self.job_files.clean_soon()
        if due is not None:
            self._forget = self._loop.call_later(max(1.0, due - self.clock() + 1.0), self._forget_old)

    # --- scheduling

    def schedule_soon(self) -> None:
        """Schedule a pass over the pending jobs, at once if possible."""
        if not self._kicked:
            self._kicked = True
            self._loop.call_at(max(self._loop.time(), self._next_pass), self._pass)

    def _pass(self) -> None:
        self._kicked = False
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        for over in self.job_table.reservations.advance(self.clock(), self.job_table.jobs.values()):
            self.life.reservation_expired(over)
        self.machine.begin(self.engine.on_this_machine)
        try:
            wake = self._schedule()
        finally:
            self.machine.end()
        if self.machine.contended and self.job_table.pending:
            wake = min(wake, self.clock() + NEXT_PASS_S)
        if not self.machine.entry_current:
            wake = min(wake, self.clock() + REWRITE_S)
        self.flush_or_retry()
        if wake < math.inf:
            self._wake = self._loop.call_later(max(0.01, wake - self.clock()), self.schedule_soon)

    def _shared(self, partition: str, uses: list[NodeUse]) -> list[NodeUse]:
        """Return a partition's nodes without the resources of other users."""
        return self.machine.open(uses, partition) if self.engine.on_this_machine(partition) else uses

    def _schedule(self) -> float:
        """Run one pass and apply its plan. Return the time of the next pass, or infinity."""
        waiting, before = len(self.job_table.pending), time.perf_counter()
        self.job_table.mark_reserved()
        self.followers.release()
        plan = self.scheduler.plan()
        done = apply(plan, self.job_table, self.engine.engine_name, self.engine.ready_in)
        self.followers.plan(plan)
        took = time.perf_counter() - before
        self._next_pass = self._loop.time() + (took * _PASS_PAUSE if took > _SHORT_PASS_S else 0.0)
        self.job_table.counters.cycles.add(int(took * 1e6), waiting)
        self.budget.request_prices(plan.unpriced, plan.over_budget)
        for job, problem in done.broken:
            self.life.hold_after_error(job, problem)
        for job in done.started:
            if job.shares:
                self.life.began(job)
                # A start must be committed before it happens: ``flush`` launches the jobs whose start it has committed.
                self._launches.append(job)
        for job in plan.hopeless:
            self.mailer.notify("INVALID_DEPEND", job)
            never = f"its dependency can never be satisfied: {job.dependency_shown or job.dependency}"
            self.life.end(job, JobState.CANCELLED, 0, 0, comment=never)
            transitions.keep_reason(job, "DependencyNeverSatisfied")
        for job in plan.expired:
            self.life.end(job, JobState.DEADLINE, 0, 0, reason="DeadLine", comment=_TOO_LATE)
        # Dependents of started jobs may start now, and jobs of a reservation with REPLACE on its new nodes.
        if done.awaited or (done.started and self.job_table.replace_reserved()):
            return self.clock()
        return math.inf if plan.wake is None else plan.wake

    def schedule_now(self) -> None:
        """Run a pass at once."""
        self._pass()

    def ready(self, job: Job) -> bool:
        """True if the agents have received the job, or it has ended."""
        return job.state.finished or self.engine.agent_address(job.job_id) is not None

    def job_variables(self, job: Job) -> dict[str, str]:
        """Variables by which commands in an allocation find agent and controller."""
        found = {HOME: str(self.paths.home)}
        address = self.engine.agent_address(job.job_id)
        if address is not None:
            found[AGENT] = address
        return found

    def find_job(self, wanted: JobId) -> Job | None:
        """Return the record in memory for ``N``, ``N_T`` or ``N+H``, or None."""
        job_table = self.job_table
        if isinstance(wanted.task, int):
            return job_table.element(wanted.job_id, wanted.task)
        job = job_table.jobs.get(wanted.job_id)
        if job is not None and wanted.het_offset is not None:
            parts = job_table.components(job)
            return parts[wanted.het_offset] if wanted.het_offset < len(parts) else None
        return job

    def _event(self, event: Event) -> None:
        if isinstance(event, JobEvent) and event.seq and (not isinstance(event, Started) or event.nodes):
            key = (event.node, event.job_id, event.run)
            self._seen[key] = max(self._seen.get(key, 0), event.seq)
            if not self._flushing:
                self._touched()
        if isinstance(event, Power):
            if self.power is not None:
                self.power.apply_power_event(event)
            return
        self.events.apply_event(event)

    # --- the rest

    @property
    def busy(self) -> bool:
        """True if the queue may change without a command. A job runs, or a pending job may start."""
        job_table = self.job_table
        # Jobs that others launched do not keep the controller running: the next controller reads their final state.
        if any(job_table.jobs[job_id].engine != FOREIGN for job_id in job_table.active):
            return True
        return self.engine.holds_nodes() or any(
            job.priority and job.reason != "DependencyNeverSatisfied" and job.engine != FOREIGN
            for job in (job_table.jobs[job_id] for job_id in job_table.pending)
        )

    async def _run_program(self, argv: list[str]) -> None:
        problem = await run_program(argv, self.environment)
        if problem:
            log.warning("trigger: %s", problem)

    async def close(self) -> None:
        """Shut down: commit, and leave the agents running."""
        try:
            self.flush()  # first, so that agents learn which events are committed and discard them
        except StoreError as error:
            log.error("%s", error)
        self.machine.close()
        self.usual.close()
        self.job_files.close()
        await self.idle_time.close()
        if self._reading is not None:
            await cancel_all([self._reading])
        if self.power is not None:
            await self.power.close()
        await self.engine.close()
        if self._cloud is not None:
            self._cloud.close()
        self.store.close()
