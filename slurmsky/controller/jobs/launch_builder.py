"""Builds launch messages from the job's record, its spool and the cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ...agent.process import resource_limits
from ...engines.base import Engine
from ...model.allocation import HetComponent, Launch
from ...model.codec import job_to_json
from ...model.job import Job
from ...model.spec import INFINITE
from .job_spool import Surroundings, file_path, read_surroundings
from .job_table import JobTable

#: jobs whose surroundings are cached
_MAX_CACHED = 64


def spool_id(job: Job) -> int:
    """The id under which script and environment are spooled."""
    return job.array_job_id or job.het_job_id or job.job_id


class LaunchBuilder:
    """Builds launches, with a cache for the elements of an array."""

    def __init__(self, job_table: JobTable, engine_of: Callable[[Job], Engine], jobs_dir: Path, host: str) -> None:
        self.job_table = job_table
        self._engine_of = engine_of
        self.jobs_dir = jobs_dir
        self.host = host
        self._jobs = str(jobs_dir)
        self._surroundings: dict[int, Surroundings] = {}

    def surroundings(self, job: Job) -> Surroundings:
        """Return environment and limits of the submitter, from a cache."""
        spool = spool_id(job)
        known = self._surroundings.get(spool)
        if known is None:
            if len(self._surroundings) > _MAX_CACHED:
                self._surroundings.clear()
            known = self._surroundings[spool] = read_surroundings(self.jobs_dir / str(spool))
        return known

    def launch_of(self, job: Job) -> Launch:
        """Return the launch message of a job."""
        job_table = self.job_table
        # The first time limit that expires ends all components.
        spans = [part.time_limit_min for part in job_table.components(job) if part.time_limit_min is not None]
        limit = min(spans, default=None)
        over = self.over_time_limit_min(job)
        node = job.nodes[0] if job.nodes else ""
        stdout = file_path(job, job.stdout, node) if job.is_batch else ""
        stderr = file_path(job, job.stderr, node) if job.is_batch and job.stderr else ""
        components = job_table.components(job) if job.het_job_id else []
        around = self.surroundings(job)
        engine = self._engine_of(job)
        return Launch(
            job_id=job.job_id,
            reservation=job.spec.reservation or "",
            name=job.name,
            user=job.user,
            uid=job.uid,
            gid=job.gid,
            group=job.group,
            account=job.account,
            partition=job.partition,
            qos=job.qos,
            cluster=job.cluster,
            spec=job.spec.evolve(licenses=job.licenses_alloc) if job.licenses_alloc else job.spec,
            shares=job.shares,
            ntasks=job.num_tasks,
            submit_dir=job.submit_dir,
            submit_host=self.host,
            work_dir=job.work_dir,
            spool=f"{self._jobs}/{job.job_id}/run{job.restarts}",
            script=f"{self._jobs}/{spool_id(job)}/slurm_script" if job.is_batch else None,
            argv=job.argv,
            environment=around.environment,
            stdin=file_path(job, job.stdin, node) if job.is_batch else "/dev/null",
            stdout=stdout,
            stderr="" if stderr == stdout else stderr,
            umask=around.umask,
            rlimits=resource_limits.propagated(around.rlimits, job.spec.propagate),
            start_time=job.start_time,
            time_limit_s=None if limit is None or limit >= INFINITE else (limit + over) * 60,
            kill_wait_s=job_table.cluster.kill_wait_s,
            restart_count=job.restarts,
            array_job_id=job.array_job_id,
            array_task_id=job.array_task_id,
            array_count=job.array_count,
            array_min=job.array_min,
            array_max=job.array_max,
            array_step=job.array_step,
            het_job_id=job.het_job_id,
            het_offset=job.het_offset,
            het=[
                HetComponent(part.job_id, part.name, part.account, part.partition, part.qos, part.spec, part.shares)
                for part in components
            ],
            task_prolog=job_table.cluster.task_prolog,
            task_epilog=job_table.cluster.task_epilog,
            declared_options=job_table.cluster.declared_options,
            exclusive=job.spec.whole_nodes,
            elastic=job_table.cluster.open and engine.this_machine,
            constrain_ram_space=job_table.cluster.constrain_ram_space and engine.places,
            task_affinity=self._affinity(engine),
            record=[json.loads(job_to_json(part)) for part in components or [job]] if job.awaits_nodes else [],
        )

    def _affinity(self, engine: Engine) -> bool:
        """Return whether TaskPlugin=task/affinity holds for a job; several nodes of one machine have the same CPUs."""
        cluster = self.job_table.cluster
        alone = not engine.this_machine or len(cluster.nodes) == 1
        return engine.places and alone and "affinity" in cluster.parameter("TaskPlugin")

    def over_time_limit_min(self, job: Job) -> int:
        """Minutes a job may run beyond its limit (OverTimeLimit)."""
        partition = self.job_table.cluster.partition(job.partition)
        if partition is not None and partition.over_time_limit_min is not None:
            return partition.over_time_limit_min
        return self.job_table.cluster.over_time_limit_min
