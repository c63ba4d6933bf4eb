"""Slurm's variables: SkyPilot's counterparts, and their options."""

from __future__ import annotations

import re

#: variable of SkyPilot with an equal value. Source: SkyPilot's docs, environment variables of a task.
RENAMED = {
    "SLURM_JOB_ID": "SKYPILOT_TASK_ID",
    "SLURM_JOBID": "SKYPILOT_TASK_ID",
    "SLURM_JOB_NODELIST": "SKYPILOT_NODE_IPS",
    "SLURM_NODELIST": "SKYPILOT_NODE_IPS",
    "SLURM_STEP_NODELIST": "SKYPILOT_NODE_IPS",
    "SLURM_NNODES": "SKYPILOT_NUM_NODES",
    "SLURM_JOB_NUM_NODES": "SKYPILOT_NUM_NODES",
    "SLURM_STEP_NUM_NODES": "SKYPILOT_NUM_NODES",
    "SLURM_NODEID": "SKYPILOT_NODE_RANK",
    "SLURM_PROCID": "SKYPILOT_NODE_RANK",
    "SLURM_GPUS_ON_NODE": "SKYPILOT_NUM_GPUS_PER_NODE",
    "SLURM_GPUS_PER_NODE": "SKYPILOT_NUM_GPUS_PER_NODE",
    "SLURM_JOB_USER": "SKYPILOT_USER",
    "SLURM_ARRAY_TASK_ID": "TASK_ID",
}
#: shell expression for variables without a counterpart
EXPRESSIONS = {
    "SLURM_CPUS_ON_NODE": "$(nproc)",
    "SLURM_JOB_CPUS_PER_NODE": "$(nproc)",
    "SLURMD_NODENAME": "$(hostname)",
    "SLURM_SUBMIT_DIR": "$HOME/sky_workdir",
    "SLURM_TMPDIR": "/tmp",
    "SLURM_SUBMIT_HOST": "$(hostname)",
    "SLURM_JOB_UID": "$(id -u)",
    "SLURM_JOB_GID": "$(id -g)",
    "SLURM_JOB_START_TIME": "$(date +%s)",
    "SLURM_TOPOLOGY_ADDR": "$(hostname)",
    "SLURM_JOB_GPUS": "$(seq -s, 0 $((SKYPILOT_NUM_GPUS_PER_NODE - 1)))",
}
#: variables that Slurm sets only for jobs with an option: (field of the specification, option)
ONLY_WITH = {
    "SLURM_CPUS_PER_TASK": ("cpus_per_task", "--cpus-per-task"),
    "SRUN_CPUS_PER_TASK": ("cpus_per_task", "--cpus-per-task"),
    "SLURM_CPUS_PER_GPU": ("cpus_per_gpu", "--cpus-per-gpu"),
    "SLURM_MEM_PER_NODE": ("mem_mib", "--mem"),
    "SLURM_MEM_PER_CPU": ("mem_per_cpu_mib", "--mem-per-cpu"),
    "SLURM_MEM_PER_GPU": ("mem_per_gpu_mib", "--mem-per-gpu"),
    "SLURM_ARRAY_JOB_ID": ("array", "--array"),
    "SLURM_ARRAY_TASK_COUNT": ("array", "--array"),
    "SLURM_ARRAY_TASK_MIN": ("array", "--array"),
    "SLURM_ARRAY_TASK_MAX": ("array", "--array"),
    "SLURM_ARRAY_TASK_STEP": ("array", "--array"),
    "SLURM_GPUS": ("gpus", "--gpus"),
    "SLURM_HINT": ("hint", "--hint"),
    "SLURM_JOB_RESERVATION": ("reservation", "--reservation"),
    "SLURM_JOB_DEPENDENCY": ("dependency", "--dependency"),
}
#: all variables that Slurm sets
KNOWN = re.compile(
    r"SLURM_(ARRAY_(JOB_ID|TASK_(COUNT|ID|MAX|MIN|STEP))|CLUSTER_NAME|CPUS?_.*|DIST.*|GPUS?_.*|GPUS|GTIDS|HET_.*|HINT"
    r"|JOB_.*|JOBID|LAUNCH_NODE_IPADDR|LOCALID|MEM_.*|MPI_TYPE|NETWORK|NNODES|NODEID|NODELIST|NPROCS|NTASKS.*"
    r"|OPEN_MODE|OVERCOMMIT|PACK_.*|PRIO_PROCESS|PROCID|PROFILE|RESTART_COUNT|RLIMIT_.*|SCRIPT_CONTEXT|SRUN_.*"
    r"|STEP.*|SUBMIT_(DIR|HOST)|TASKS_PER_NODE|TASK_PID|THREADS_PER_CORE|TMPDIR|LOGS|TOPOLOGY_.*|TRES_PER_TASK"
    r"|UMASK|WCKEY|WORKING_CLUSTER|EXPORT_ENV|HOSTFILE|CONF|CONTAINER.*|ACCTG_FREQ|DISTRIBUTION|EXIT_.*)"
    r"|SLURMD_NODENAME|SLURMD_.*|SBATCH_[A-Z_]+|SRUN_(CPUS_PER_TASK|DEBUG|KILL_ON_BAD_EXIT)"
)
