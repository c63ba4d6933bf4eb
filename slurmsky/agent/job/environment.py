"""``SLURM_*`` variables of batch scripts, salloc's command and tasks.

Pure functions. Names are from Slurm 25.11, and values are computed as Slurm does; the oracle's captures are in the
tests. Slurm's values override variables of the same names in the user's environment (env_array_overwrite).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Callable, Iterable, Optional, Sequence

from ...model.allocation import HetComponent, Launch, NodeShare
from ...model.spec import DeclaredOption, JobSpec

#: variables by which mpirun of Open MPI and PRRTE pass arguments to srun (23.11 and later)
LAUNCHER_HOOKS = ("OMPI_MCA_plm_slurm_args", "PRTE_MCA_plm_slurm_args")

Environment = dict[str, str]

#: slurm_protocol_common.h SLURM_25_11_PROTOCOL_VERSION, the fourth word of SLURM_WORKING_CLUSTER
_PROTOCOL = 44 << 8
_SELECT_CONS_TRES = 109


def run_lengths(values: Iterable[int]) -> str:
    """Slurm's compact form of per-node counts.

    >>> run_lengths([2, 2, 1])
    '2(x2),1'
    """
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return ",".join("%d(x%d)" % (value, times) if times > 1 else str(value) for value, times in runs)


@lru_cache(maxsize=256)
def node_list(names: tuple[str, ...]) -> str:
    """Return names as one hostlist, in order. A single name is returned without importing the hostlist parser."""
    if len(names) == 1:
        return names[0]
    from ...language.hostlist import compress

    return compress(names)


def _number(field: str) -> Callable[[JobSpec], Optional[str]]:
    def value(spec: JobSpec) -> Optional[str]:
        number = getattr(spec, field)
        return None if number is None else str(number)

    return value


def _distribution(spec: JobSpec) -> Optional[str]:
    text = spec.distribution
    return text.split("=", 1)[0].lower() if text else None


def _plane_size(spec: JobSpec) -> Optional[str]:
    text = spec.distribution or ""
    return text.split("=", 1)[1].split(",")[0] if text.lower().startswith("plane=") else None


def _export(spec: JobSpec) -> Optional[str]:
    return spec.export if spec.export is not None and spec.export.upper() != "ALL" else None


def _threads_per_core(spec: JobSpec) -> Optional[str]:
    return None if spec.threads_requested is None else str(spec.threads_requested)


def _mem_bind_verbose(spec: JobSpec) -> Optional[str]:
    if spec.mem_bind is None:
        return None
    return "verbose" if "verbose" in spec.mem_bind.lower().split(",") or "v" in spec.mem_bind.split(",") else "quiet"


def _hosts_of_tasks(spec: JobSpec) -> Optional[str]:
    """Return each task's host with --distribution=arbitrary, in slurm_opt_create_job_desc's form."""
    from ...language import hostlist

    if not spec.nodelist or not (spec.distribution or "").startswith("arbitrary"):
        return None
    return hostlist.compress(hostlist.expand(spec.nodelist))


def _capital(field: str) -> Callable[[JobSpec], Optional[str]]:
    def value(spec: JobSpec) -> Optional[str]:
        text = getattr(spec, field)
        return ",".join(word[:1].upper() + word[1:].lower() for word in text.split(",")) if text else None

    return value


#: variables that repeat an option, set only when the option is given. Source: sbatch opt.c, env.c; see
#: tests/data/env_output.csv.
FROM_OPTIONS: tuple[tuple[str, Callable[[JobSpec], Optional[str]]], ...] = (
    ("SLURM_ACCTG_FREQ", _number("acctg_freq")),
    ("SLURM_CPUS_PER_GPU", _number("cpus_per_gpu")),
    ("SLURM_CPUS_PER_TASK", _number("cpus_per_task")),
    ("SLURM_CPU_FREQ_REQ", _capital("cpu_freq")),
    ("SLURM_DISTRIBUTION", _distribution),
    ("SLURM_DIST_PLANESIZE", _plane_size),
    ("SLURM_EXPORT_ENV", _export),
    (
        "SLURM_GET_USER_ENV",
        lambda spec: "1" if spec.get_user_env is not None or _export(spec) else None,
    ),
    ("SLURM_GPUS", _number("gpus")),
    ("SLURM_GPUS_PER_NODE", _number("gpus_per_node")),
    ("SLURM_GPUS_PER_SOCKET", _number("gpus_per_socket")),
    ("SLURM_GPUS_PER_TASK", _number("gpus_per_task")),
    ("SLURM_GPU_BIND", _number("gpu_bind")),
    ("SLURM_GPU_FREQ", _number("gpu_freq")),
    ("SLURM_ARBITRARY_NODELIST", _hosts_of_tasks),
    ("SLURM_HINT", _number("hint")),
    ("SLURM_JOB_DEPENDENCY", _number("dependency")),
    ("SLURM_JOB_LICENSES", _number("licenses")),
    ("SLURM_JOB_SEGMENT_SIZE", _number("segment")),
    ("SLURM_MEM_BIND", _number("mem_bind")),
    ("SLURM_MEM_BIND_VERBOSE", _mem_bind_verbose),
    ("SLURM_MEM_PER_CPU", _number("mem_per_cpu_mib")),
    ("SLURM_MEM_PER_GPU", _number("mem_per_gpu_mib")),
    ("SLURM_MEM_PER_NODE", _number("mem_mib")),
    ("SLURM_NETWORK", _number("network")),
    ("SLURM_NTASKS_PER_CORE", _number("ntasks_per_core")),
    ("SLURM_NTASKS_PER_GPU", _number("ntasks_per_gpu")),
    ("SLURM_NTASKS_PER_NODE", _number("ntasks_per_node")),
    ("SLURM_NTASKS_PER_SOCKET", _number("ntasks_per_socket")),
    ("SLURM_OOM_KILL_STEP", _number("oom_kill_step")),
    ("SLURM_OPEN_MODE", lambda spec: spec.open_mode[0] if spec.open_mode else None),
    ("SLURM_OVERCOMMIT", lambda spec: "1" if spec.overcommit else None),
    ("SLURM_PROFILE", _capital("profile")),
    ("SLURM_THREADS_PER_CORE", _threads_per_core),
    ("SLURM_TRES_BIND", _number("tres_bind")),
    ("SLURM_TRES_PER_TASK", _number("tres_of_task")),
    ("SLURM_CONTAINER", _number("container")),
    ("SLURM_CONTAINER_ID", _number("container_id")),
)
#: variables that only sbatch sets; salloc's command does not get them
_BATCH_ONLY = frozenset({"SLURM_OPEN_MODE", "SLURM_EXPORT_ENV", "SLURM_GET_USER_ENV"})


def gpu_indices(gres: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Device numbers of all GPUs in a share, ascending."""
    return tuple(sorted(index for name, ids in gres.items() if name.split(":", 1)[0] == "gpu" for index in ids))


LOOPBACK = "127.0.0.1"
#: variables from which programs read their GPUs
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK")


def gpu_environment(indices: Sequence[int], variable: str, visible: Sequence[int], absent: bool = False) -> Environment:
    """Return the variables that gres/gpu sets.

    ``variable``: SLURM_JOB_GPUS (batch) or SLURM_STEP_GPUS (task). Lists name only the visible devices; counts include
    all devices. ``absent``: the machine does not have the devices, so programs see none. Source: gres_common.c
    common_gres_set_env.
    """
    if not indices:
        return {}
    shown = ",".join(map(str, visible))
    return {
        variable: shown,
        "SLURM_GPUS_ON_NODE": str(len(indices)),
        **dict.fromkeys(VISIBLE, "" if absent else shown),
    }


def _own_environment(launch: Launch) -> Environment:
    start = int(launch.start_time)
    return {
        "SLURM_JOBID": str(launch.job_id),
        "SLURM_JOB_ID": str(launch.job_id),
        "SLURM_JOB_START_TIME": str(start),
        # Without a limit the end is a year after the start, as in job_mgr.c.
        "SLURM_JOB_END_TIME": str(start + (365 * 86400 if launch.time_limit_s is None else launch.time_limit_s)),
    }


def element_environment(launch: Launch) -> Environment:
    """Return the variables that differ between elements with equal shares."""
    return {**_own_environment(launch), "SLURM_ARRAY_TASK_ID": str(launch.array_task_id)}


def allocation_environment(launch: Launch) -> Environment:
    """Variables of an allocation, not of a node or process.

    Source: env_array_for_job.
    """
    shares = launch.shares
    nodes = node_list(tuple(share.name for share in shares))
    spec = launch.spec
    env: Environment = {
        "SLURM_CLUSTER_NAME": launch.cluster,
        **_own_environment(launch),
        "SLURM_JOB_ACCOUNT": launch.account,
        "SLURM_JOB_CPUS_PER_NODE": run_lengths(share.cpus for share in shares),
        "SLURM_JOB_NAME": launch.name,
        "SLURM_JOB_NODELIST": nodes,
        "SLURM_JOB_NUM_NODES": str(len(shares)),
        "SLURM_JOB_PARTITION": launch.partition,
        "SLURM_JOB_QOS": launch.qos,
        "SLURM_NNODES": str(len(shares)),
        "SLURM_NODELIST": nodes,
        "SLURM_SUBMIT_DIR": launch.submit_dir,
        "SLURM_SUBMIT_HOST": launch.submit_host,
        "SLURM_TASKS_PER_NODE": _tasks_per_node(spec, shares),
    }
    for name in LAUNCHER_HOOKS:
        env[name] = "--external-launcher"
    if spec.ntasks is not None or spec.ntasks_per_node is not None:
        env["SLURM_NTASKS"] = env["SLURM_NPROCS"] = str(launch.ntasks)
    env.update(declared_environment(launch.declared_options, spec.site_options))
    for name, value in FROM_OPTIONS:
        if name not in _BATCH_ONLY:
            text = value(spec)
            if text is not None:
                env[name] = text
    if spec.mem_mib == 0:
        # --mem=0 requests all memory of the node: set the variable only if that memory is limited.
        env["SLURM_MEM_PER_NODE"] = str(shares[0].memory_mib)
        if not shares[0].memory_mib:
            del env["SLURM_MEM_PER_NODE"]
    if launch.reservation:
        env["SLURM_JOB_RESERVATION"] = launch.reservation
    if launch.het:
        env.update(het_environment(launch))
    return env


def declared_environment(declared: Iterable[DeclaredOption], given: Iterable[tuple[str, str]]) -> Environment:
    """Variables of the site's own options; a flag's value is 1."""
    variables = {option.name: option.environment for option in declared if option.policy == "environment"}
    return {variables[name]: value or "1" for name, value in given if name in variables}


#: variables that only sbatch and salloc set; srun has these options on its command line
_NOT_OF_SRUN = ("SLURM_MEM_PER_", "SLURM_GPU", "SLURM_CPUS_PER_GPU")


def srun_environment(launch: Launch) -> Environment:
    """Variables of the job for an srun that created it."""
    own = allocation_environment(launch)
    return {name: text for name, text in own.items() if not name.startswith(_NOT_OF_SRUN)}


def het_environment(launch: Launch) -> Environment:
    """Variables of all het components, by current (HET_GROUP) and former (PACK_GROUP) names."""
    env: Environment = {"SLURM_HET_SIZE": str(len(launch.het)), "SLURM_PACK_SIZE": str(len(launch.het))}
    for offset, part in enumerate(launch.het):
        for name, text in _component(part).items():
            env["%s_HET_GROUP_%d" % (name, offset)] = text
            env["%s_PACK_GROUP_%d" % (name, offset)] = text
    return env


def salloc_environment(launch: Launch) -> Environment:
    """Variables of salloc's command; of a het job only its components' (salloc.c, env_array_for_job)."""
    env = allocation_environment(launch)
    if not launch.het:
        return env
    kept = ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_SUBMIT_DIR", "SLURM_SUBMIT_HOST", *LAUNCHER_HOOKS)
    own = {name: env[name] for name in kept}
    own.update(het_environment(launch))
    for offset, part in enumerate(launch.het):
        nodes = node_list(tuple(share.name for share in part.shares))
        also = {"SLURM_JOBID": str(part.job_id), "SLURM_NNODES": str(len(part.shares)), "SLURM_NODELIST": nodes}
        for name, text in also.items():
            own["%s_HET_GROUP_%d" % (name, offset)] = own["%s_PACK_GROUP_%d" % (name, offset)] = text
    total = str(sum(share.tasks for part in launch.het for share in part.shares))
    own["SLURM_NTASKS"] = own["SLURM_NPROCS"] = total
    return own


def _tasks_per_node(spec: JobSpec, shares: Sequence[NodeShare]) -> str:
    """Return the tasks per node, by CPUs; by default as many as fit.

    Tasks beyond the CPUs (--overcommit) are distributed evenly. Source: env_array_for_job, env_array_for_batch_job.
    """
    if (spec.distribution or "").startswith("arbitrary"):
        return run_lengths(share.tasks for share in shares)
    from .task_layout import block

    room = [max(1, share.cpus // (spec.cpus_per_task or 1)) for share in shares]
    given = spec.ntasks or spec.ntasks_per_node or spec.ntasks_per_gpu or (spec.gpus and spec.gpus_per_task)
    ntasks = sum(share.tasks for share in shares) if given else sum(room)
    return run_lengths(map(len, block(ntasks, room)))


def _component(part: HetComponent) -> Environment:
    tasks = sum(share.tasks for share in part.shares)
    env = {
        "SLURM_JOB_ACCOUNT": part.account,
        "SLURM_JOB_CPUS_PER_NODE": run_lengths(share.cpus for share in part.shares),
        "SLURM_JOB_ID": str(part.job_id),
        "SLURM_JOB_NAME": part.name,
        "SLURM_JOB_NODELIST": node_list(tuple(share.name for share in part.shares)),
        "SLURM_JOB_NUM_NODES": str(len(part.shares)),
        "SLURM_JOB_PARTITION": part.partition,
        "SLURM_JOB_QOS": part.qos,
        "SLURM_NPROCS": str(tasks),
        "SLURM_NTASKS": str(tasks),
        "SLURM_TASKS_PER_NODE": _tasks_per_node(part.spec, part.shares),
    }
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_PER_TASK"):
        text = dict(FROM_OPTIONS)[name](part.spec)
        if text is not None:
            env[name] = text
    return env


def node_environment(launch: Launch, node: str) -> Environment:
    """Variables that slurmd and slurmstepd add on a node."""
    return {
        "SLURMD_NODENAME": node,
        "SLURM_JOB_GID": str(launch.gid),
        "SLURM_JOB_GROUP": launch.group,
        "SLURM_JOB_UID": str(launch.uid),
        "SLURM_JOB_USER": launch.user,
        "SLURM_PRIO_PROCESS": "0",
        "SLURM_TOPOLOGY_ADDR": node,
        "SLURM_TOPOLOGY_ADDR_PATTERN": "node",
        "SLURM_WORKING_CLUSTER": "%s:127.0.0.1:6817:%d:%d" % (launch.cluster, _PROTOCOL, _SELECT_CONS_TRES),
    }


def array_environment(launch: Launch) -> Environment:
    """Variables SLURM_ARRAY_*; empty for a job without array."""
    if launch.array_task_id is None:
        return {}
    return {
        "SLURM_ARRAY_JOB_ID": str(launch.array_job_id),
        "SLURM_ARRAY_TASK_COUNT": str(launch.array_count),
        "SLURM_ARRAY_TASK_ID": str(launch.array_task_id),
        "SLURM_ARRAY_TASK_MAX": str(launch.array_max),
        "SLURM_ARRAY_TASK_MIN": str(launch.array_min),
        "SLURM_ARRAY_TASK_STEP": str(launch.array_step),
        **launch.array_environment,
    }


def batch_environment(launch: Launch) -> Environment:
    """Whole environment of the batch script, except SLURM_TASK_PID. SLURM_TASK_PID is known only after the spawn."""
    share = launch.shares[0]
    env = dict(launch.environment)
    env.setdefault("TMPDIR", "/tmp")
    env.update(allocation_environment(launch))
    env.update(node_environment(launch, share.name))
    env.update(array_environment(launch))
    for name, value in FROM_OPTIONS:
        if name in _BATCH_ONLY:
            text = value(launch.spec)
            if text is not None:
                env[name] = text
    env.update(
        {
            "ENVIRONMENT": "BATCH",
            "HOSTNAME": share.name,
            "SLURM_CPUS_ON_NODE": str(share.cpus),
            "SLURM_GTIDS": "0",
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": "0",
            "SLURM_PROCID": "0",
        }
    )
    indices = gpu_indices(share.gres)
    env.update(gpu_environment(indices, "SLURM_JOB_GPUS", indices, share.gpus_absent))
    if launch.restart_count:
        env["SLURM_RESTART_COUNT"] = str(launch.restart_count)
    return env
