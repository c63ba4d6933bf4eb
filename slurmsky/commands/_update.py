"""scontrol update: one table row per key of a job; nodes and partitions of the local cluster.

Source: src/scontrol/update_job.c scontrol_update_job, update_node.c, update_part.c; slurmctld/job_mgr.c _update_job.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..controller.context import Context
from ..controller.errors import Errno, SlurmError
from ..controller.submit import check, partitions_of
from ..language import dependency, jobids, nodecount
from ..language.errors import LanguageError
from ..model.job import Job
from ..model.spec import INFINITE
from ..model.states import JobState
from . import _reservations, _targets
from . import _update_read as read
from ._verbs import details, report_array

Set = Callable[[Context, Job, Any], None]


@dataclass(frozen=True)
class Key:
    """How a key of ``update JobId=`` is read and what it changes."""

    reader: Callable[[Context, str], Any]
    apply: Set
    pending_only: bool = True


# --- changing the job


def _spec(field: str) -> Set:
    def apply(ctx: Context, job: Job, value: Any) -> None:
        changed = job.spec.evolve(**{field: value if value != "" else None})
        if not job.state.finished and field in (
            "constraint",
            "nodelist",
            "exclude",
            "gres",
            "licenses",
            "mem_mib",
            "mem_per_cpu_mib",
            "cpus_per_task",
            "mincpus",
            "tmp_mib",
        ):
            check(ctx.queue.book.cluster, changed, ctx.queue.clock(), ctx.queue.book.judge)
        job.spec = changed

    return apply


def _field(name: str) -> Set:
    def apply(ctx: Context, job: Job, value: Any) -> None:
        setattr(job, name, value)

    return apply


def _both(field: str, spec_field: str) -> Set:
    def apply(ctx: Context, job: Job, value: Any) -> None:
        setattr(job, field, value)
        job.spec = job.spec.evolve(**{spec_field: value})

    return apply


def _time_limit(ctx: Context, job: Job, value: tuple[str, int]) -> None:
    sign, minutes = value
    now = job.time_limit_min if job.time_limit_min is not None else INFINITE
    if sign == "+":
        minutes = INFINITE if now >= INFINITE else now + minutes
    elif sign == "-":
        if now >= INFINITE or minutes > now:
            raise SlurmError(Errno.INVALID_TIME_LIMIT)
        minutes = now - minutes
    if job.state is JobState.RUNNING or os.geteuid() == 0 or minutes <= now or job.state is JobState.PENDING:
        ctx.queue.life.set_time_limit(job, minutes)
        job.spec = job.spec.evolve(time_limit_min=minutes)


def _nice(ctx: Context, job: Job, value: int) -> None:
    if value < 0 and os.geteuid() != 0:
        raise SlurmError(Errno.ACCESS_DENIED)
    if job.priority:
        job.priority = max(1, job.priority + job.nice - value)
    job.nice = value
    job.spec = job.spec.evolve(nice=value)


def _priority(ctx: Context, job: Job, value: int) -> None:
    if value == 0:
        ctx.queue.life.hold(job, by_user=os.geteuid() != 0)
        return
    # A priority of its own leaves nothing of --nice (job_mgr.c _update_job).
    job.priority, job.nice = value, 0
    job.spec = job.spec.evolve(nice=None)
    if job.reason.startswith("JobHeld"):
        job.reason = "None"
        job.eligible_time = max(ctx.queue.clock(), job.spec.begin or 0)


def _partition(ctx: Context, job: Job, value: str) -> None:
    changed = job.spec.evolve(partition=value)
    try:
        parts = partitions_of(ctx.queue.book.cluster, changed)
    except SlurmError as error:
        raise SlurmError(error.errno) from None  # which one it was is said by sbatch alone
    job.spec = changed
    job.partition = ",".join(part.name for part in parts)


def _qos(ctx: Context, job: Job, value: str) -> None:
    job.qos = ctx.queue.book.policy.qos_of(value or None, job.account)
    job.spec = job.spec.evolve(qos=value or None)


def _account(ctx: Context, job: Job, value: str) -> None:
    policy = ctx.queue.book.policy
    account = policy.account_of(value or None, job.user)
    job.qos = policy.qos_of(job.spec.qos, account)
    job.account = account
    job.spec = job.spec.evolve(account=value or None)


def _dependency(ctx: Context, job: Job, value: str) -> None:
    book = ctx.queue.book
    check(book.cluster, job.spec.evolve(dependency=value or None, hold=True), ctx.queue.clock(), book.judge)
    job.spec = job.spec.evolve(dependency=value or None)
    job.dependency = value
    job.dependency_shown = dependency.format_with_state(dependency.parse(value))


def _nodes(ctx: Context, job: Job, value: nodecount.NodeCount) -> None:
    spec = job.spec.evolve(nodes=str(value), nodes_min=value.min, nodes_max=value.max)
    parts = partitions_of(ctx.queue.book.cluster, spec)
    if not ctx.queue.book.judge(spec, job.partition) and not any(value.min <= len(part.nodes) for part in parts):
        raise SlurmError(Errno.PART_CONFIG_UNAVAILABLE if len(parts) == 1 else Errno.INVALID_NODE_COUNT)
    job.spec = spec
    job.num_nodes, job.max_nodes = value.min, value.max if value.max and value.max > value.min else 0
    if spec.ntasks is None:
        job.num_tasks = value.min * (spec.ntasks_per_node or 1)
    job.num_cpus = max(job.num_cpus, value.min)


def _tasks(ctx: Context, job: Job, value: int) -> None:
    job.spec = job.spec.evolve(ntasks=value)
    job.num_tasks = value
    job.num_cpus = value * (job.spec.cpus_per_task or 1)


def _cpus(ctx: Context, job: Job, value: tuple[int, int]) -> None:
    job.num_cpus, job.max_cpus = value[0], value[1] or job.max_cpus


def _deadline(ctx: Context, job: Job, value: int) -> None:
    if value < ctx.queue.clock():
        raise SlurmError(Errno.INVALID_TIME)
    job.spec = job.spec.evolve(deadline=value)


def _end_time(ctx: Context, job: Job, value: int) -> None:
    if job.state is not JobState.RUNNING:
        raise SlurmError(Errno.IS_NOT_RUNNING)
    if value < ctx.queue.clock():
        raise SlurmError(Errno.INVALID_TIME)
    _time_limit(ctx, job, ("", max(1, -int((job.start_time + job.suspended_s - value) // 60))))


def _reset_accrue(ctx: Context, job: Job, value: str) -> None:
    if job.accrue_time:
        job.accrue_time = ctx.queue.clock()


def _share(ctx: Context, job: Job, value: bool) -> None:
    # As --oversubscribe and --exclusive: whoever shares with nobody has whole nodes.
    job.spec = job.spec.evolve(oversubscribe=value, exclusive=None if value else "")


def _prefer(ctx: Context, job: Job, value: str) -> None:
    book = ctx.queue.book
    wished = job.spec.evolve(constraint=value or None)
    try:
        check(book.cluster, wished, ctx.queue.clock(), book.judge)
    except SlurmError as error:
        raise SlurmError(Errno.INVALID_PREFER) if error.errno is Errno.INVALID_FEATURE else error from None
    job.spec = job.spec.evolve(prefer=value or None)


def _refused(errno: Errno) -> Set:
    def apply(ctx: Context, job: Job, value: Any) -> None:
        raise SlurmError(errno)

    return apply


def _begin(ctx: Context, job: Job, value: int) -> None:
    job.spec = job.spec.evolve(begin=value)
    job.eligible_time = job.start_time = float(max(value, int(job.submit_time)))


def _reservation(ctx: Context, job: Job, value: str) -> None:
    changed = job.spec.evolve(reservation=value or None)
    checked = ctx.queue.book.reservations.check(changed, job.user, job.account)
    if job.state is not JobState.PENDING:
        raise SlurmError(Errno.NO_LONGER_PENDING)
    job.spec = checked


def _throttle_set(ctx: Context, job: Job, value: int) -> None:
    if not job.array_job_id:
        raise SlurmError(Errno.INVALID_ARRAY)
    for member in ctx.queue.book.array(job.array_job_id):
        member.array_max_running = value or None
        ctx.queue.book.touch(member)


def _requeue(ctx: Context, job: Job, value: bool) -> None:
    job.spec = job.spec.evolve(requeue=value)


#: counts by the name that scontrol calls them by when one cannot be read
_COUNTS = {
    "CPUsPerTask": "cpus_per_task",
    "CPUs/Task": "cpus_per_task",
    "MinCPUsNode": "mincpus",
    "MinMemoryNode": "mem_mib",
    "MinMemoryCPU": "mem_per_cpu_mib",
    "MinTmpDiskNode": "tmp_mib",
    "ReqCores": "cores_per_socket",
    "ReqSockets": "sockets_per_node",
    "ReqThreads": "threads_per_core",
    "TasksPerNode": "ntasks_per_node",
}

KEYS: dict[str, Key] = {
    "account": Key(read.text, _account),
    "admincomment": Key(read.text, _both("admin_comment", "admin_comment"), pending_only=False),
    "arraytaskthrottle": Key(read.throttle, _throttle_set, pending_only=False),
    "begintime": Key(read.moment("No changes specified"), _begin),
    "starttime": Key(read.moment("No changes specified"), _begin),
    "comment": Key(read.text, _both("comment", "comment"), pending_only=False),
    "contiguous": Key(read.yes_no("Contiguous"), _spec("contiguous")),
    "burstbuffer": Key(read.text, _refused(Errno.NOT_SUPPORTED)),
    # Cores for the system are the site's: nobody is let change them (AllowSpecResourcesUsage).
    "corespec": Key(read.text, _refused(Errno.ACCESS_DENIED)),
    "threadspec": Key(read.text, _refused(Errno.ACCESS_DENIED)),
    "deadline": Key(read.moment("No changes specified"), _deadline),
    "delayboot": Key(read.minutes("DelayBoot"), lambda ctx, job, value: _spec("delay_boot_min")(ctx, job, value[1])),
    "eligibletime": Key(read.moment("No changes specified"), _begin),
    "endtime": Key(read.moment(), _end_time, pending_only=False),
    "prefer": Key(read.text, _prefer),
    "resetaccruetime": Key(read.text, _reset_accrue),
    "switches": Key(read.switches, _spec("switches")),
    "dependency": Key(read.text, _dependency),
    "excnodelist": Key(read.text, _spec("exclude")),
    "features": Key(read.text, _spec("constraint")),
    "gres": Key(read.text, _spec("gres")),
    "tres-per-node": Key(read.text, _spec("gres")),
    "trespernode": Key(read.text, _spec("gres")),
    "jobname": Key(read.text, _both("name", "job_name"), pending_only=False),
    "name": Key(read.text, _both("name", "job_name"), pending_only=False),
    "licenses": Key(read.text, _spec("licenses")),
    "mailtype": Key(read.mail_types, _spec("mail_type"), pending_only=False),
    "mailuser": Key(read.text, _spec("mail_user"), pending_only=False),
    "network": Key(read.text, _spec("network")),
    "nice": Key(read.loose_number, _nice, pending_only=False),
    "nodelist": Key(read.text, _spec("nodelist")),
    "reqnodelist": Key(read.text, _spec("nodelist")),
    "numcpus": Key(read.cpu_count, _cpus),
    "numnodes": Key(read.node_count, _nodes),
    "numtasks": Key(read.number("NumTasks", 1), _tasks),
    "oversubscribe": Key(read.yes_no("OverSubscribe"), _share),
    "shared": Key(read.yes_no("OverSubscribe"), _share),
    "partition": Key(read.text, _partition),
    "priority": Key(read.number("Priority"), _priority),
    "qos": Key(read.text, _qos),
    "requeue": Key(
        read.number("Requeue"), lambda ctx, job, value: _requeue(ctx, job, bool(value)), pending_only=False
    ),
    "reservationname": Key(read.text, _reservation, pending_only=False),
    # priority/basic, as here, adds nothing to a priority
    "sitefactor": Key(read.site_factor, lambda ctx, job, value: None, pending_only=False),
    "stderr": Key(read.text, _both("stderr", "error")),
    "stdin": Key(read.text, _both("stdin", "input")),
    "stdout": Key(read.text, _both("stdout", "output")),
    "timelimit": Key(read.minutes("TimeLimit"), _time_limit, pending_only=False),
    "timemin": Key(read.minutes("TimeMin"), lambda ctx, job, value: _spec("time_min_min")(ctx, job, value[1])),
    "wckey": Key(read.text, _spec("wckey")),
    "workdir": Key(read.text, _both("work_dir", "chdir")),
    "extra": Key(read.text, _spec("extra"), pending_only=False),
    **{name.lower(): Key(read.number(name, 0), _spec(field)) for name, field in _COUNTS.items()},
}


#: keys that need no value
_BARE = ("nice", "resetaccruetime")


def find_key(name: str) -> Key | None:
    """A key by name in any case, or by a prefix of three letters and more that names one."""
    word = name.lower()
    if word in KEYS:
        return KEYS[word]
    found = {id(KEYS[key]): KEYS[key] for key in KEYS if len(word) >= 3 and key.startswith(word)}
    return next(iter(found.values())) if len(found) == 1 else None


def update(ctx: Context, words: Sequence[str]) -> int:
    """``scontrol update WORDS``."""
    if not words:
        ctx.err("too few arguments for update keyword")
        return 1
    pairs = []
    if len(words) > 1 and "=" not in words[0] and words[0].lower() in ("job", "jobid", "node", "partition"):
        # "update job 7 ..." is "update jobid=7 ..."
        entity = {"job": "jobid", "node": "nodename", "partition": "partitionname"}.get(
            words[0].lower(), words[0]
        )
        words = [f"{entity}={words[1]}", *words[2:]]
    for word in words:
        key, equals, value = word.partition("=")
        sign = ""
        if equals and key[-1:] in "+-":
            key, sign = key[:-1], key[-1]
        pairs.append((key, sign + value, word, bool(equals)))
    kinds = {key.lower() for key, *_ in pairs}
    # A job may be given another reservation, and a reservation another partition.
    if not kinds & {"jobid", "job"} and any("reservationname".startswith(key) and len(key) >= 3 for key in kinds):
        return _reservations.update(ctx, words)
    for names, act in (
        (("nodename", "node"), _update_nodes),
        (("partitionname",), _update_partition),
        (("jobid", "job", "jobname"), update_job),
    ):
        if kinds & set(names):
            return act(ctx, pairs)
    ctx.err("No valid entity in update command")
    ctx.err(
        'Input line must include "NodeName", "PartitionName", "Reservation", "JobId", or "SlurmctldDebug"'
    )
    return 1


Pairs = Sequence[tuple[str, str, str, bool]]


def update_job(ctx: Context, pairs: Pairs) -> int:
    """update JobId=IDS KEY=VALUE..."""
    ids = ""
    changes: list[tuple[Key, Any]] = []
    name_filter = None
    for key, value, word, equals in pairs:
        lower = key.lower()
        if lower in ("jobid", "job"):
            ids = value
            continue
        if lower == "userid":
            continue
        if lower in ("jobname", "name") and not ids and not any(k.lower() == "jobid" for k, *_ in pairs):
            name_filter = value
            continue
        found = find_key(key) if equals or lower in _BARE else None
        if found is None:
            ctx.err(f"Update of this parameter is not supported: {word}")
            ctx.err("Request aborted")
            return 1
        try:
            changes.append((found, found.reader(ctx, value)))
        except read.Unreadable as problem:
            for line in problem.lines:
                ctx.err(line)
            return problem.code
    if not changes:
        ctx.err("No changes specified")
        return 1
    if name_filter is not None:
        ids = ",".join(
            str(job.job_id)
            for job in ctx.queue.book.jobs.values()
            if job.name == name_filter and not job.state.finished
        )
    code = 0
    for text in jobids.split(ids):
        code = max(code, _change(ctx, text, changes))
    ctx.queue.kick()
    return code


def _change(ctx: Context, text: str, changes: Sequence[tuple[Key, Any]]) -> int:
    try:
        records = _targets.records(ctx.queue, _targets.parse(text), split=True)
    except SlurmError as error:
        ctx.err(f"{error.text} for job {text}")
        return 1
    results: list[tuple[Job, SlurmError | None]] = []
    for job in records:
        try:
            for key, value in changes:
                if job.state.finished:
                    raise SlurmError(Errno.JOB_FINISHED)
                if key.pending_only and job.state is not JobState.PENDING:
                    raise SlurmError(Errno.NO_LONGER_PENDING)
                key.apply(ctx, job, value)
            ctx.queue.book.touch(job)
            results.append((job, None))
        except SlurmError as error:
            results.append((job, error))
    problems = [problem for _, problem in results if problem is not None]
    if not problems:
        return 0
    details(ctx, problems)
    if records[0].array_job_id and (len(records) > 1 or records[0].pending_count):
        report_array(ctx, results)
    else:
        ctx.err(f"{problems[0].text} for job {text}")
    return 1


_NODE_STATES = ("NoResp", "DRAIN", "FAIL", "FUTURE", "RESUME", "POWER_DOWN", "POWER_UP", "UNDRAIN")


def _update_nodes(ctx: Context, pairs: Pairs) -> int:
    """update NodeName=LIST State=... Reason=..."""
    from ..language import hostlist

    names: list[str] = []
    state = reason = None
    comment = None
    weight = None
    for key, value, word, _ in pairs:
        lower = key.lower()
        if lower in ("nodename", "node"):
            try:
                names = list(ctx.queue.book.nodes) if value.upper() == "ALL" else hostlist.expand(value)
            except LanguageError:
                names = [value]
        elif lower == "reason":
            reason = value.strip("'\"")
        elif lower == "comment":
            comment = value
        elif lower == "weight" and value.isdigit():
            weight = int(value)
        elif lower == "state":
            upper = value.upper()
            matches = [
                name
                for name in (*_NODE_STATES, "DOWN", "IDLE", "DRAINED", "DRAINING")
                if len(upper) >= 3 and name.upper().startswith(upper)
            ]
            if not matches:
                ctx.err(f"Invalid input: {word}")
                ctx.err("Request aborted")
                ctx.err("Valid states are: " + " ".join(_NODE_STATES))
                ctx.err("Not all states are valid given a node's prior state")
                return 1
            state = matches[0].upper()
        else:
            ctx.err(f"Update of this parameter is not supported: {word}")
            ctx.err("Request aborted")
            return 1
    if state in ("DRAIN", "DRAINED", "DRAINING", "DOWN", "FAIL") and not reason:
        ctx.err("You must specify a reason when DOWNING or DRAINING a node. Request denied")
        return 1
    if state in ("POWER_DOWN", "POWER_UP", "FUTURE", "NORESP"):
        ctx.err(f"slurm_update error: {Errno.NOT_SUPPORTED.text}")
        return 1
    unknown = [name for name in names if name not in ctx.queue.book.nodes]
    if unknown or not names:
        ctx.err("slurm_update error: Invalid node name specified")
        return 1
    if state is None and reason is None and comment is None and weight is None:
        ctx.err("No changes specified")
        return 1
    from ._surroundings import user_name

    for name in names:
        node = ctx.queue.book.nodes[name]
        if comment is not None:
            node.comment = comment
        if weight is not None:
            node.config = replace(node.config, weight=weight)
            ctx.queue.book.uses[name].config = node.config
        ctx.queue.life.node_state(name, state or "", reason or "", user_name(os.geteuid()))
    return 0


def _update_partition(ctx: Context, pairs: Pairs) -> int:
    """update PartitionName=NAME State=UP|DOWN|DRAIN|INACTIVE."""
    name = next(value for key, value, _, _ in pairs if key.lower() == "partitionname")
    state = None
    for key, value, word, _ in pairs:
        lower = key.lower()
        if lower == "partitionname":
            continue
        if lower != "state":
            ctx.err(f"Update of this parameter is not supported: {word}")
            ctx.err("Request aborted")
            return 1
        if value.upper() not in ("UP", "DOWN", "DRAIN", "INACTIVE"):
            ctx.err(f"Invalid input: {word}")
            ctx.err("Acceptable State values are UP, DOWN, DRAIN and INACTIVE")
            return 1
        state = value.upper()
    if ctx.queue.book.cluster.partition(name) is None:
        ctx.err(f"slurm_update error: {Errno.INVALID_PARTITION.text}")
        return 1
    if state is None:
        ctx.err("No changes specified")
        return 1
    ctx.queue.book.partition_states[name] = state
    ctx.queue.book.keep_states()
    ctx.queue.kick()
    return 0
