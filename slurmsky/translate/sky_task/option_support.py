"""Support of JobSpec fields on SkyPilot, with notes on ignored ones."""

from __future__ import annotations

from collections.abc import Iterator, Set

from ...model.spec import JobSpec
from .translation_notes import Note


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: fields that shape the SkyPilot task (task.py, geometry.py)
TASK = _words(
    """
    job_name partition nodes nodes_min nodes_max ntasks ntasks_per_node ntasks_per_gpu cpus_per_task
    cpus_per_gpu mincpus sockets_per_node cores_per_socket threads_per_core mem_mib mem_per_cpu_mib
    mem_per_gpu_mib tmp_mib gres gpus gpus_per_node gpus_per_socket gpus_per_task tres_per_task constraint
    nodelist overcommit nice requeue time_limit_min site_options account qos
    """
)

#: fields that the agent applies on the nodes of any cloud
AGENT = _words(
    """
    chdir input output error open_mode export export_file get_user_env propagate wrap signal time_min_min
    cpu_bind mem_bind gpu_bind tres_bind distribution hint no_kill kill_on_bad_exit ntasks_per_core
    ntasks_per_socket ntasks_per_board wait_all_nodes mpi resv_ports oom_kill_step nodefile stepmgr
    """
)

#: fields that the controller applies before or after the launch on SkyPilot
CONTROLLER = _words(
    """
    dependency begin deadline hold priority array kill_on_invalid_dep immediate_s expedited_requeue mail_type mail_user
    comment admin_comment extra wckey licenses recorded clusters uid gid memory_by_default
    """
)

#: fields that no cloud supports, or without meaning if the job has its nodes alone: (text)
WITHOUT_EFFECT = {
    "exclusive": "a SkyPilot node runs only this job",
    "oversubscribe": "a SkyPilot node runs only this job",
    "contiguous": "nodes of a cloud have no order",
    "spread_job": "nodes are of the size that was requested",
    "use_min_nodes": "SkyPilot always starts the smallest number of nodes",
    "switches": "a cloud's switches cannot be requested; the site file can set network_tier",
    "segment": "a cloud's switches cannot be requested",
    "network": "SkyPilot's network_tier selects interconnects",
    "power": "no cloud has power caps",
    "core_spec": "a SkyPilot node reserves no cores for the system",
    "thread_spec": "a SkyPilot node reserves no cores for the system",
    "exclude": "nodes do not exist before the job does",
    "prefer": "the site file maps features for --constraint only",
    "batch_features": "all nodes of a SkyPilot task are equal",
    "reservation": "reservations are part of the configuration of SkyPilot's server",
    "delay_boot_min": "nodes start when the job does",
    "reboot": "nodes of a job are freshly started",
    "cpu_freq": "clouds do not let jobs set frequencies",
    "gpu_freq": "clouds do not let jobs set frequencies",
    "profile": "there is no profiling plugin",
    "acctg_freq": "the agent samples usage at its own interval",
    "gres_flags": "the job has all GPUs and CPUs of a node",
    "cluster_constraint": "there is one cluster",
    "mcs_label": "there are no MCS labels",
    "container": "OCI bundles cannot be started; --container-image can",
    "container_id": "OCI bundles cannot be started; --container-image can",
    "x11": "X11 is not forwarded from cloud nodes",
}

#: subset of these fields that a Slurm infra applies, because its sbatch receives the option
ON_SLURM = _words(
    """
    exclusive contiguous spread_job switches core_spec exclude reservation cluster_constraint gres_flags
    cpu_freq
    """
)


def account_for(spec: JobSpec, clouds: Set[str]) -> Iterator[Note]:
    """Notes on the given fields that SkyPilot ignores."""
    for name in spec.to_dict():
        if name in WITHOUT_EFFECT and not (name in ON_SLURM and clouds == {"slurm"}):
            yield Note(name.replace("_", "-"), "recorded", WITHOUT_EFFECT[name])
