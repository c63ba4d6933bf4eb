"""A typed update of a job: the changed fields, by the names of Slurm's job_desc_msg_t."""

from __future__ import annotations

from typing import Any, TypedDict


class JobUpdate(TypedDict, total=False):
    """The changed fields; an absent field stays unchanged. A count of 0 and a text "" remove a value."""

    account: str
    admin_comment: str
    begin_time: int
    burst_buffer: str
    cluster_features: str
    clusters: str
    comment: str
    contiguous: int
    core_spec: int  # -1: none
    cores_per_socket: int
    cpus_per_task: int
    cpus_per_tres: str
    deadline: int
    delay_boot: int  # seconds
    dependency: str
    end_time: int  # 0: a time that could not be parsed
    exc_nodes: str
    extra: str
    features: str
    job_sizes: str  # the text of a count of nodes with several sizes
    licenses: str
    mail_type: tuple[str, ...]
    mail_user: str
    max_cpus: int
    max_nodes: int
    mcs_label: str
    mem_per_tres: str
    min_cpus: int
    min_nodes: int
    name: str
    nice: int
    ntasks_per_node: int
    num_tasks: int
    partition: str
    pn_min_cpus: int
    pn_min_memory: tuple[bool, int]  # (per CPU or not, MiB)
    pn_min_tmp_disk: int  # MiB
    prefer: str
    priority: int
    qos: str
    reboot: int
    req_nodes: str
    req_switch: int
    requeue: int
    reservation: str
    reset_accrue: bool
    shared: int
    site_factor: int
    sockets_per_node: int
    std_err: str
    std_in: str
    std_out: str
    threads_per_core: int
    throttle: int
    time_limit: int  # minutes
    time_min: int  # minutes
    tres_bind: str
    tres_freq: str
    tres_per_job: str
    tres_per_node: str
    tres_per_socket: str
    tres_per_task: str
    user_hold: bool
    wait4switch: int  # seconds
    wckey: str
    work_dir: str
    # set by the steps of the update
    bad_tres: bool
    devices: dict[str, Any]
    tasks_changed: bool
