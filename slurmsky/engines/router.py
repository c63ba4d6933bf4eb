"""Dispatches jobs to engines, by partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..model.allocation import Launch
from ..model.job import Job
from ..model.spec import JobSpec
from .base import Engine, EngineError, Unable

NOT_SUPPORTED = "Requested operation not supported on this system"  # ESLURM_NOT_SUPPORTED


class Router:
    """Engine that forwards to ``engines``; implements base.Engine.

    ``choose`` returns the name of a partition's engine.
    """

    name = "router"
    places = True
    this_machine = False

    def __init__(self, engines: Mapping[str, Engine], choose: Callable[[str], str]) -> None:
        self._engines = engines
        self._choose = choose
        self._of: dict[int, str] = {}

    def engine_name(self, partition: str) -> str:
        """Return the engine of a partition; of a list the first counts."""
        return self._choose(partition.split(",")[0])

    def places_in(self, partition: str) -> bool:
        """True if the controller selects the nodes of the partition's jobs."""
        return self._engines[self.engine_name(partition)].places

    def of_job(self, job: Job) -> Engine:
        """Return the engine that runs a started job."""
        name = job.engine if job.engine in self._engines else self.engine_name(job.partition)
        return self._engines[name]

    def on_this_machine(self, partition: str) -> bool:
        """True if the partition's nodes are this machine."""
        return self._engines[self.engine_name(partition)].this_machine

    def adopt(self, job_id: int, engine: str) -> None:
        """Assign an engine to a job that it did not start."""
        self._of[job_id] = engine

    def packs(self, spec: JobSpec, partition: str) -> bool:
        """True if the engine starts all elements of an array at once. The engine then enforces %N."""
        return self._engines[self.engine_name(partition)].packs(spec, partition.split(",")[0])

    def _engine(self, job_id: int) -> Engine:
        name = self._of.get(job_id)
        if name is None:
            raise EngineError(f"job {job_id} is not known to any engine")
        return self._engines[name]

    async def start(self, launch: Launch) -> None:
        name = self._of[launch.job_id] = self.engine_name(launch.partition)
        await self._engines[name].start(launch)

    def follow(self, launch: Launch, behind: int) -> bool:
        name = self._of.get(behind)
        return name is not None and self._engines[name].follow(launch, behind)

    def drop_followers(self, node: str) -> None:
        for engine in self._engines.values():
            engine.drop_followers(node)

    def check(self, components: Sequence[tuple[JobSpec, str]]) -> None:
        """Raise Unable for a job that its engine can never run. Its partitions must have one engine."""
        names = {self.engine_name(partition) for _, partition in components}
        if len(names) > 1:
            hint = "components of one job in partitions of this machine and of SkyPilot do not reach each other"
            raise Unable(NOT_SUPPORTED, hint)
        self._engines[names.pop()].check(components)

    async def signal(self, job_id: int, signal: int, target: str) -> None:
        await self._engine(job_id).signal(job_id, signal, target)

    async def terminate(self, job_id: int, state: str, signal: int, kill_wait_s: int) -> None:
        await self._engine(job_id).terminate(job_id, state, signal, kill_wait_s)

    async def end_component(self, job_id: int, component: int, kill_wait_s: int) -> None:
        await self._engine(job_id).end_component(job_id, component, kill_wait_s)

    async def suspend(self, job_id: int) -> None:
        await self._engine(job_id).suspend(job_id)

    async def resume(self, job_id: int) -> None:
        await self._engine(job_id).resume(job_id)

    async def shrink(self, job_id: int, nodes: Sequence[str], failed: bool = False) -> None:
        await self._engine(job_id).shrink(job_id, nodes, failed)

    async def limit(self, job_id: int, end_time: float | None, step_id: str = "") -> None:
        await self._engine(job_id).limit(job_id, end_time, step_id)

    def acks(self, node: str, acks: list[tuple[int, int, int]]) -> None:
        by_engine: dict[str, list[tuple[int, int, int]]] = {}
        for ack in acks:
            known = self._of.get(ack[0])
            # The end is repeated after our restart: any engine may have sent it.
            for name in [known] if known is not None else self._engines:
                by_engine.setdefault(name, []).append(ack)
        for name, theirs in by_engine.items():
            self._engines[name].acks(node, theirs)

    async def recover(self, jobs: Iterable[Job]) -> None:
        by_engine: dict[str, list[Job]] = {name: [] for name in self._engines}
        for job in jobs:
            name = job.engine if job.engine in self._engines else self.engine_name(job.partition)
            self._of[job.job_id] = name
            by_engine[name].append(job)
        for name, theirs in by_engine.items():  # also without jobs: an engine may find remaining nodes
            await self._engines[name].recover(theirs)

    def agent_address(self, job_id: int) -> str | None:
        name = self._of.get(job_id)
        return self._engines[name].agent_address(job_id) if name is not None else None

    async def node_socket(self, node: str) -> str | None:
        found = [await engine.node_socket(node) for engine in self._engines.values()]
        return next(filter(None, found), None)

    def out_of_reach(self, job_id: int) -> str:
        name = self._of.get(job_id)
        return self._engines[name].out_of_reach(job_id) if name is not None else ""

    def missing_connections(self, job_id: int) -> str:
        name = self._of.get(job_id)
        return self._engines[name].missing_connections(job_id) if name is not None else ""

    async def problem(self, partition: str = "") -> str:
        """Return the problem that prevents the partition's starts, or ""."""
        return await self._engines[self.engine_name(partition)].problem()

    async def describe(self) -> list[tuple[bool, str]]:
        return [line for engine in self._engines.values() for line in await engine.describe()]

    def holds_nodes(self) -> bool:
        return any(engine.holds_nodes() for engine in self._engines.values())

    def ready_in(self, nodes: Iterable[str], partition: str = "") -> float:
        """Seconds until a partition's nodes are expected up; 0.0: up."""
        return self._engines[self.engine_name(partition)].ready_in(nodes)

    async def close(self) -> None:
        for engine in reversed([*self._engines.values()]):  # warm nodes use connections of the first engine
            await engine.close()
