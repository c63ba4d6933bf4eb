"""Variables of a step and of its tasks."""

from __future__ import annotations

import re
from typing import Mapping, Optional, Sequence

from ...model.allocation import Launch
from ...model.spec import JobSpec
from .environment import (
    FROM_OPTIONS,
    LAUNCHER_HOOKS,
    LOOPBACK,
    Environment,
    allocation_environment,
    array_environment,
    node_environment,
    node_list,
    run_lengths,
)

#: prefixes of variables that a restricted --export still exports
_ALWAYS_EXPORTED = ("SLURM_", "SLURMSKY_", "SPANK_")


def exported(env: Environment, export: Optional[str]) -> Environment:
    """Return the variables that --export passes to the tasks.

    ALL or no --export: all variables. NONE, NIL or a list: SLURM_*, TMPDIR and the named variables. ``ALL,A=1``: all
    variables and A. Quotes protect a comma and stay in the value.
    """
    if export is None or export.upper() == "ALL":
        return dict(env)
    result: Environment = {}
    everything = False
    for word in _split_quoted(export):
        if word.upper() == "NONE":
            break
        everything = everything or word.upper() == "ALL"
        name, equals, value = word.partition("=")
        if equals:
            result[name] = value
        elif name in env and name.upper() not in ("ALL", "NIL"):
            result[name] = env[name]
    # Variables of srun's environment override those that --export sets. Source: launch.c _build_user_env.
    result.update(
        (name, value)
        for name, value in env.items()
        if everything or name.startswith(_ALWAYS_EXPORTED) or name == "TMPDIR"
    )
    return result


def _split_quoted(text: str) -> list[str]:
    words, word, quote = [], "", ""
    for char in text:
        if char == "," and not quote:
            words.append(word)
            word = ""
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        word += char
    words.append(word)
    return [word for word in words if word]


def job_of_task_environment(launch: Launch) -> Environment:
    """Variables of the job that override srun's environment in tasks."""
    env = allocation_environment(launch)
    for name, _value in FROM_OPTIONS:
        # srun's environment has these variables, and the user may have changed them.
        env.pop(name, None)
    for name in ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_TASKS_PER_NODE", "SLURM_NNODES", *LAUNCHER_HOOKS):
        env.pop(name, None)
    env.update(node_environment(launch, ""))
    env.update(array_environment(launch))
    return env


def launch_address(node: Mapping[str, str]) -> str:
    """Return srun's address: SkyPilot's address of a cloud job's first node, else this machine's."""
    return next(iter(node.get("SKYPILOT_NODE_IPS", "").split()), LOOPBACK)


def step_environment(
    step_id: str,
    nodes: Sequence[str],
    ranks: Sequence[Sequence[int]],
    *,
    distribution: str,
    plane_size: int = 0,
    umask: int,
    port: int,
    address: str = LOOPBACK,
) -> Environment:
    """Variables of all tasks of a step.

    ``address``: the address of srun's node. Source: env.c setup_env and env_array_for_step.
    """
    counts = run_lengths(len(here) for here in ranks)
    total = str(sum(len(here) for here in ranks))
    env = {
        "SLURM_DISTRIBUTION": distribution,
        "SLURM_LAUNCH_NODE_IPADDR": address,
        "SLURM_NNODES": str(len(nodes)),
        "SLURM_NPROCS": total,
        "SLURM_NTASKS": total,
        "SLURM_SRUN_COMM_HOST": address,
        "SLURM_SRUN_COMM_PORT": str(port),
        "SLURM_STEPID": step_id,
        "SLURM_STEP_ID": step_id,
        "SLURM_STEP_LAUNCHER_PORT": str(port),
        "SLURM_STEP_NODELIST": node_list(tuple(nodes)),
        "SLURM_STEP_NUM_NODES": str(len(nodes)),
        "SLURM_STEP_NUM_TASKS": total,
        "SLURM_STEP_TASKS_PER_NODE": counts,
        "SLURM_TASKS_PER_NODE": counts,
        "SLURM_UMASK": "%04o" % umask,
    }
    if plane_size:
        env["SLURM_DIST_PLANESIZE"] = str(plane_size)
    return env


#: srun's options that are variables of its tasks. Source: env.c setup_env
_STEP_OPTIONS = (
    ("SLURM_CPUS_PER_TASK", "cpus_per_task"),
    ("SLURM_NTASKS_PER_CORE", "ntasks_per_core"),
    ("SLURM_NTASKS_PER_NODE", "ntasks_per_node"),
    ("SLURM_NTASKS_PER_SOCKET", "ntasks_per_socket"),
    ("SLURM_NTASKS_PER_TRES", "ntasks_per_gpu"),
    ("SLURM_THREADS_PER_CORE", "threads_per_core"),
)


def step_options(spec: JobSpec) -> Environment:
    """Variables for srun's options, from command line and environment."""
    env = {name: str(getattr(spec, field)) for name, field in _STEP_OPTIONS if getattr(spec, field) is not None}
    if spec.overcommit:
        env["SLURM_OVERCOMMIT"] = "1"
    if spec.distribution:
        env["SLURM_DISTRIBUTION"] = re.sub("=[0-9]+", "", spec.distribution)
    return env


def task_environment(node: str, node_id: int, ranks: Sequence[int], local_id: int, cpus_on_node: int) -> Environment:
    """Variables that differ between tasks. SLURM_TASK_PID is set at the spawn."""
    return {
        "SLURMD_NODENAME": node,
        "SLURM_CPUS_ON_NODE": str(cpus_on_node),
        "SLURM_GTIDS": ",".join(map(str, ranks)),
        "SLURM_LOCALID": str(local_id),
        "SLURM_NODEID": str(node_id),
        "SLURM_PROCID": str(ranks[local_id]),
        "SLURM_TOPOLOGY_ADDR": node,
    }
