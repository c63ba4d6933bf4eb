"""Job records of SkyPilot's managed jobs that slurmsky did not launch."""

from __future__ import annotations

import grp
import os

from ...engines.cloud import ManagedJobInfo
from ...engines.foreign import FOREIGN, site_partition
from ...model.allocation import NodeShare
from ...model.job import Job
from ...model.spec import INFINITE, JobSpec
from ...site import Site
from ..jobs import transitions
from ..jobs.job_table import JobTable
from ..jobs.submitter import Submitter


def foreign_job(job_id: int, sighting: ManagedJobInfo, who: Submitter, cluster: str, now: float) -> Job:
    """A new record of a managed job."""
    submitted = sighting.submit_time or sighting.end_time or now
    return Job(
        job_id=job_id,
        spec=JobSpec(),
        name=sighting.name,
        user=who.user,
        uid=who.uid,
        gid=who.gid,
        group=who.group,
        account=sighting.workspace if sighting.workspace not in ("", "default") else who.account,
        partition="sky",
        cluster=cluster,
        priority=1,
        submit_time=submitted,
        eligible_time=submitted,
        time_limit_min=INFINITE,
        awaits_nodes=True,
        engine=FOREIGN,
        managed_job_id=sighting.managed_job_id,
    )


def fill_in(job: Job, sighting: ManagedJobInfo, table: JobTable, site: Site) -> None:
    """Add values that SkyPilot reports later: partition, nodes and size."""
    choices = [
        (part.name, site.sky_partition(part.name).infra)
        for part in table.cluster.partitions
        if not site.on_this_machine(part.name)
    ]
    if sighting.infra or job.partition == "sky":
        job.partition = site_partition(sighting.infra, choices)
    spec = JobSpec(
        job_name=sighting.name,
        nodes_min=sighting.nodes,
        ntasks=sighting.nodes,
        cpus_per_task=sighting.cpus,
        gpus_per_node=sighting.gpus or None,
        requeue=True,
    )
    job.spec = job.spec if job.spec == spec else spec
    job.num_nodes = job.num_tasks = sighting.nodes
    job.num_cpus = sighting.nodes * sighting.cpus
    transitions.set_foreign_times(job, sighting.submit_time, sighting.start_time)
    details = [sighting.details] if sighting.details else []
    if sighting.recoveries:
        details.append(f"{sighting.recoveries} recoveries")
    job.system_comment = "; ".join([f"SkyPilot managed job {sighting.managed_job_id}, not from sbatch", *details])
    if sighting.over and job.shares:
        return  # SkyPilot forgets the names of terminated nodes
    names = [f"sky-{name}" if name in table.uses else name for name in sighting.node_names]
    if len(names) != sighting.nodes:
        names = [f"sky-{job.job_id}-{rank}" for rank in range(sighting.nodes)]
    devices = {
        f"gpu:{kind}": tuple(range(int(count)))
        for kind, _, count in (item.partition(":") for item in sighting.gpus.split(",") if item)
    }
    cpus = tuple(range(sighting.cpus))
    if [share.name for share in job.shares] != names:
        job.shares = [
            NodeShare(name, cpu_ids=cpus, gres=dict(devices), tasks=1, cpus_on_node=sighting.cpus) for name in names
        ]


def caller(user: str) -> Submitter:
    """Return this process's user as the submitter of managed jobs."""
    gid = os.getegid()
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return Submitter(user, os.geteuid(), group, gid, user, "/", "", 0, "")
