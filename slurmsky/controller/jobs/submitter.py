"""Admission of jobs: turns a submission's specs into job records. Raises Slurm's errors."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...language import arrayspec, dependency, hostlist
from ...language.syntax_errors import LanguageError
from ...model.cluster import ClusterConfig, PartitionConfig
from ...model.job import Job
from ...model.spec import INFINITE, JobSpec
from ..rules.demand import demand_of
from ..rules.dependencies import requires_unknown_result
from ..rules.job_placement import consumes_memory, partition_nodes, place
from ..rules.node_use import NodeUse
from ..rules.partition_access import check_caller
from ..rules.provisional_shares import cloud_shares
from ..rules.reservation_access import reserved_spec
from ..rules.submit_checks import check, check_features, partitions_of
from ..slurm_errors import Errno, SlurmError
from .job_spool import Payload, spool
from .job_table import JobTable


@dataclass(frozen=True)
class Submitter:
    """User, host and folder from which a job is submitted."""

    user: str
    uid: int
    group: str
    gid: int
    account: str
    cwd: str
    host: str
    sid: int
    submit_line: str
    groups: frozenset[str] = frozenset()  # names of all groups of the user


def time_limit(spec: JobSpec, partition: PartitionConfig) -> int | None:
    """Effective limit of a job in a partition, in minutes; INFINITE: none.

    Source: job_mgr.c _job_create: the partition's default, else its maximum.
    """
    if spec.time_limit_min not in (None, 0):
        return spec.time_limit_min
    if spec.time_limit_min == 0:
        return INFINITE
    if partition.default_time_min is not None:
        return partition.default_time_min
    return partition.max_time_min


def limit_in(job_table: JobTable, job: Job, partition: PartitionConfig) -> int | None:
    """Effective limit in minutes, including that of the QOS. The QOS limits only jobs without a limit of their own."""
    limit = time_limit(job.spec, partition)
    if job.spec.time_limit_min is not None:
        return limit
    wall = job_table.policy.wall_limit_min(job, partition)
    return wall if limit is None else min(limit, wall)


def admit(
    job_table: JobTable,
    specs: Sequence[JobSpec],
    payload: Payload,
    who: Submitter,
    jobs_dir: Path,
    interactive: bool = False,
    first_id: int = 0,
) -> Job:
    """Create the job records (one per het component) and spool the payload.

    Return the first record. Raises SlurmError; nothing is created then.
    """
    jobs = draft(job_table, specs, payload, who, interactive, first_id)
    first_id = jobs[0].job_id
    try:
        spool(jobs_dir / str(first_id), payload)
    except OSError:
        shutil.rmtree(jobs_dir / str(first_id), ignore_errors=True)
        raise
    for job in jobs:
        job_table.touch(job)
    job_table.counters.submitted += len(jobs)
    return jobs[0]


def draft(
    job_table: JobTable,
    specs: Sequence[JobSpec],
    payload: Payload,
    who: Submitter,
    interactive: bool = False,
    first_id: int = 0,
) -> list[Job]:
    """Return the records of a submission, with new ids. Raises SlurmError if the submission is refused."""
    now = job_table.clock()
    cluster = job_table.cluster
    array: arrayspec.ArraySpec | None = None
    unusable: SlurmError | None = None
    try:
        specs = [_in_reservation(job_table, spec, who) for spec in specs]
    except SlurmError as error:
        unusable = error  # of several errors slurmctld reports the reservation's last
    for spec in specs:
        check_features(cluster, spec.constraint or "", Errno.INVALID_FEATURE)
    specs = [to_open_partitions(job_table, spec) for spec in specs]
    specs = [_with_memory(cluster, _exclusive_by_partition(cluster, spec)) for spec in specs]
    for spec in specs:
        if spec.array:
            try:
                array = arrayspec.parse(spec.array, cluster.max_array_size)
            except LanguageError as error:
                raise SlurmError(Errno.INVALID_ARRAY) from error
            if len(specs) > 1:
                raise SlurmError(Errno.INVALID_ARRAY)
        account = account_of(job_table, spec, who)
        names = job_table.policy.qos_list(spec.qos, account, who.user)
        qos = names[0]
        for name in names:
            job_table.policy.check_reserved(name, spec.reservation)
        for partition in partitions_of(cluster, spec):
            check_caller(partition, who.uid, who.groups)
        check(cluster, spec.evolve(qos=qos) if cluster.qos else spec, now, job_table.engine_check, account)
        if spec.dependency and requires_unknown_result(spec.dependency, job_table.referenced):
            raise SlurmError(Errno.DEPENDENCY)
    if unusable is not None:
        raise unusable
    job_table.assume(part.name for spec in specs for part in partitions_of(cluster, spec))
    jobs: list[Job] = []
    promised = bool(first_id)
    first_id = first_id or job_table.next_job_id
    ids = tuple(first_id + offset for offset in range(len(specs)))
    for offset, spec in enumerate(specs):
        job_id = first_id + offset if promised else job_table.take_job_id()
        job = _record(job_table, job_id, spec, payload, who, now, interactive)
        if len(specs) > 1:
            job = replace(job, het_job_id=first_id, het_offset=offset, het_ids=ids)
        if array is not None and len(array):
            _make_array(job, array)
        _expand_files(job, spec)
        jobs.append(job)
    try:
        job_table.policy.refuse(
            jobs, job_table.jobs.values(), lambda job: cloud_shares(demand_of(job.spec), job.job_id)
        )
    except SlurmError:
        job_table.next_job_id = min(job_table.next_job_id, first_id) if not promised else job_table.next_job_id
        raise
    return jobs


def _make_array(job: Job, array: arrayspec.ArraySpec) -> None:
    """Turn a record into that of an array with pending elements only."""
    job.array_job_id = job.job_id
    job.pending_tasks = array.ranges
    job.array_max_running = array.max_running or None
    job.array_count = len(array)
    job.array_min, job.array_max = array.ranges[0][0], array.ranges[-1][-1]
    # The number after the first colon of the list as typed. Source: job_mgr.c _create_job_array.
    step = re.search(r":(\d+)", job.spec.array or "")
    job.array_step = int(step[1]) if step else 1


def to_open_partitions(job_table: JobTable, spec: JobSpec) -> JobSpec:
    """Remove partitions that accept no jobs.

    Raises SlurmError if none is left. Source: job_mgr.c _get_job_parts.
    """
    parts = partitions_of(job_table.cluster, spec)
    left = [part.name for part in parts if job_table.partition_state(part) not in ("DRAIN", "INACTIVE")]
    if not left:
        raise SlurmError(Errno.PARTITION_DOWN)
    return spec if len(left) == len(parts) else spec.evolve(partition=",".join(left))


def _exclusive_by_partition(cluster: ClusterConfig, spec: JobSpec) -> JobSpec:
    """Make a job exclusive if its partition has OverSubscribe=EXCLUSIVE."""
    first = partitions_of(cluster, spec)[0]
    return spec.evolve(exclusive="") if first.oversubscribe == "EXCLUSIVE" and spec.exclusive is None else spec


def _with_memory(cluster: ClusterConfig, spec: JobSpec) -> JobSpec:
    """Apply the default memory of the first partition, else of the cluster.

    Source: slurm.conf DefMemPerCPU and DefMemPerNode; job_mgr.c _get_mem_cpu.
    """
    if spec.mem_mib is not None or spec.mem_per_cpu_mib is not None or spec.mem_per_gpu_mib is not None:
        return spec
    partition = partitions_of(cluster, spec)[0]
    if partition.def_mem_per_cpu_mib:
        return spec.evolve(mem_per_cpu_mib=partition.def_mem_per_cpu_mib, memory_by_default=True)
    if partition.def_mem_per_node_mib:
        return spec.evolve(mem_mib=partition.def_mem_per_node_mib, memory_by_default=True)
    parameters = dict(cluster.parameters)
    for key, field in (("DefMemPerCPU", "mem_per_cpu_mib"), ("DefMemPerNode", "mem_mib")):
        if parameters.get(key, "").isdecimal() and int(parameters[key]):
            return spec.evolve(memory_by_default=True, **{field: int(parameters[key])})
    return spec


def _record(
    job_table: JobTable, job_id: int, spec: JobSpec, payload: Payload, who: Submitter, now: float, interactive: bool
) -> Job:
    cluster = job_table.cluster
    parts = partitions_of(cluster, spec)
    demand = demand_of(spec)
    held = spec.hold or spec.priority == 0
    priority = _priority(job_table, spec)
    requeue = spec.requeue if spec.requeue is not None else cluster.batch_requeue
    fit = job_table.virtual.fit(demand)
    largest = max((node.cpus for node in partition_nodes(cluster, parts[0])), default=1)
    spec = _canonical(spec).evolve(mail_user=spec.mail_user or cluster.mail_address(who.user))
    limited = spec.time_limit_min is not None or parts[0].default_time_min is not None
    if spec.deadline and not limited and spec.time_min_min is None:
        spec = spec.evolve(time_min_min=1)  # the limit may be shortened. Source: job_mgr.c _job_create
    begin = max(now, spec.begin or 0)
    waits = begin <= now and (held or bool(spec.dependency))
    shares = None
    if fit.shares:
        shares = list(fit.shares)
    elif not held and (spec.dependency or begin > now):
        # slurmctld tests such a job on idle nodes and shows the result. Source: select_nodes, node_cnt_wag.
        idle = [NodeUse(node) for node in partition_nodes(cluster, parts[0])]
        shares = place(demand.limited_to(parts[0]), idle, consumes_memory(cluster))
    account = account_of(job_table, spec, who)
    qos = job_table.policy.qos_of(spec.qos, account, who.user)
    job = Job(
        job_id=job_id,
        spec=replace(spec, requeue=requeue and not interactive),
        name=spec.job_name or ("interactive" if interactive else "sbatch"),
        user=who.user,
        uid=who.uid,
        gid=who.gid,
        group=who.group,
        account=account,
        partition=",".join(part.name for part in parts),
        qos=qos,
        cluster=cluster.name,
        priority=0 if held else priority,
        nice=spec.nice or 0,
        reason="JobHeldUser" if held else "None",
        dependency=spec.dependency or "",
        dependency_shown=dependency.format_with_state(dependency.parse(spec.dependency)) if spec.dependency else "",
        submit_time=now,
        last_sched_eval=now,
        eligible_time=0.0 if waits else begin,
        start_time=float(spec.begin or 0) if begin > now else 0.0,
        accrue_time=0.0 if held or spec.dependency else begin,
        num_nodes=len(shares) if shares else demand.nodes_shown(largest),
        untested=not shares and (waits or begin > now),
        max_nodes=demand.max_nodes if demand.max_nodes < INFINITE else 0,
        num_cpus=demand.num_cpus,
        num_tasks=demand.ntasks,
        is_batch=not interactive,
        command=payload.script_path,
        argv=payload.argv,
        work_dir=spec.chdir or who.cwd,
        submit_dir=who.cwd,
        submit_line=who.submit_line,
        alloc_node=who.host,
        alloc_sid=who.sid,
        comment=spec.comment or "",
        admin_comment=spec.admin_comment or "",
    )
    job.time_limit_min = limit_in(job_table, job, parts[-1] if shares else parts[0])  # of the one tested last
    return job


def _priority(job_table: JobTable, spec: JobSpec) -> int:
    """Priority of a new job. An explicit priority ignores nice."""
    following = job_table.take_priority()
    if spec.priority is not None and spec.priority > 0:
        return spec.priority
    return max(1, following - spec.nice) if spec.nice else following


def _in_reservation(job_table: JobTable, spec: JobSpec, who: Submitter) -> JobSpec:
    if not spec.reservation:
        return spec
    account = account_of(job_table, spec, who)
    qos = partial(job_table.policy.qos_list, spec.qos, account, who.user)
    return reserved_spec(job_table.reservations.all, job_table.cluster, spec, who.user, account, qos)


def account_of(job_table: JobTable, spec: JobSpec, who: Submitter) -> str:
    """Return the account that a job charges.

    Without enforcement an unknown account is replaced by the default. Raises SlurmError if the site describes its
    accounts and the requested account is none of them.
    """
    users = job_table.overrides.users.get(who.user)
    default = users[0] if users else who.account
    if job_table.policy.accounts:
        return job_table.policy.account_of(spec.account, default)
    if spec.account and (not job_table.accounts or spec.account in job_table.accounts):
        return spec.account
    if spec.account and "associations" in job_table.cluster.parameter("AccountingStorageEnforce"):
        raise SlurmError(Errno.INVALID_ACCOUNT)
    return default


def _canonical(spec: JobSpec) -> JobSpec:
    """Convert node lists to the form in which slurmctld shows them."""
    changes = {}
    if spec.nodelist and not (spec.distribution or "").startswith("arbitrary"):
        changes["nodelist"] = hostlist.compress_sorted(dict.fromkeys(hostlist.expand(spec.nodelist)))
    if spec.exclude:
        changes["exclude"] = hostlist.compress_sorted(dict.fromkeys(hostlist.expand(spec.exclude)))
    return spec.evolve(**changes) if changes else spec


def _expand_files(job: Job, spec: JobSpec) -> None:
    """Set StdOut, StdErr and StdIn. Given paths become absolute; the agent expands their patterns."""
    if not job.is_batch:
        return
    default = "slurm-%A_%a.out" if job.array_job_id else "slurm-%j.out"

    def absolute(path: str) -> str:
        return path if path.startswith("/") else f"{job.work_dir.rstrip('/')}/{path}"

    job.stdout = absolute(spec.output) if spec.output else default
    job.stderr = absolute(spec.error) if spec.error else ""
    job.stdin = absolute(spec.input) if spec.input else "/dev/null"


def withdraw(job_table: JobTable, job: Job, jobs_dir: Path) -> None:
    """Undo an ``admit`` whose commit failed. The client received an error, so the job must not start."""
    for part in job_table.components(job):
        job_table.remove_uncommitted(part)
    shutil.rmtree(jobs_dir / str(job.job_id), ignore_errors=True)


def split_element(job_table: JobTable, base: Job, task: int, cancels: bool = False, job_id: int = 0) -> Job:
    """Move one pending element of an array to its own record.

    The last element takes the base record. Slurm lists the last pending element as ``7_3``, but as ``7_[3]`` if all
    others were cancelled while they were pending (``cancels``). ``job_id``: the id of the element's record; 0: the next
    free id. Source: job_mgr.c job_array_split, job_array_post_sched.
    """
    left = tuple(part for whole in base.pending_tasks for part in _without(whole, task))
    if not left:
        _take(base, task)
        job_table.touch(base)
        return base
    element = base.copy(
        job_id=job_id or job_table.take_job_id(),
        array_task_id=task,
        pending_tasks=(),
        followers=(),
        shares=[],
        steps={},
    )
    base.pending_tasks = left
    if base.pending_count == 1 and not cancels:
        _take(base, left[0][0])
    job_table.touch(base)
    job_table.touch(element)
    return element


def _take(base: Job, task: int) -> None:
    base.pending_tasks, base.array_task_id = (), task


def _without(whole: range, task: int) -> list[range]:
    if task not in whole:
        return [whole]
    position = whole.index(task)
    return [part for part in (whole[:position], whole[position + 1 :]) if part]
