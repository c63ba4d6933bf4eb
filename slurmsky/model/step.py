"""Records of steps and their used resources.

Agents define these records at their start, but not those of ``job.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Optional, Sequence

from .states import JobState


@dataclass
class Usage:
    """Resources that a step used. Seconds, bytes, and the node and task of each maximum."""

    user_s: float = 0.0
    system_s: float = 0.0
    tasks: int = 0
    ave_cpu_s: float = 0.0
    min_cpu_s: float = 0.0
    min_cpu_node: str = ""
    min_cpu_task: int = 0
    max_rss: int = 0
    ave_rss: int = 0
    max_rss_node: str = ""
    max_rss_task: int = 0
    max_vmsize: int = 0
    ave_vmsize: int = 0
    max_vmsize_node: str = ""
    max_vmsize_task: int = 0
    max_pages: int = 0
    ave_pages: int = 0
    max_pages_node: str = ""
    max_pages_task: int = 0
    disk_read: int = 0  # total over tasks
    max_disk_read: int = 0
    max_disk_read_node: str = ""
    max_disk_read_task: int = 0
    disk_write: int = 0
    max_disk_write: int = 0
    max_disk_write_node: str = ""
    max_disk_write_task: int = 0
    gpu_s: Optional[float] = None  # busy seconds of GPUs, sum over all nodes; None: not measured
    #: values for equal parts of the step's time, summed over all tasks: "cpu" busy CPUs, "mem" MiB, and with measured
    #: GPUs "gpu" busy GPUs and "gpumem" MiB; empty for a step that ended before the first sample
    series: dict[str, list[float]] = field(default_factory=dict)


class NodeSeries(NamedTuple):
    """A step's use of one node, for equal parts of ``seconds``.

    Units as in ``Usage.series``. All are empty for a step that ended before the first sample; values of GPUs are empty
    if GPUs are not measured.
    """

    seconds: float = 0.0
    cpu: Sequence[float] = ()
    mem: Sequence[float] = ()
    gpu: Sequence[float] = ()
    gpumem: Sequence[float] = ()


@dataclass
class Step:
    """A step of a job. ``step_id``: the number, or "batch", "extern", "interactive"."""

    job_id: int
    step_id: str
    name: str
    state: JobState = JobState.RUNNING
    nodes: tuple[str, ...] = ()
    ntasks: int = 1
    cpus: int = 0
    memory_mib: int = 0
    gres: str = ""
    tasks_per_node: tuple[int, ...] = ()
    distribution: str = ""  # "Block" | "Cyclic" | "Plane" | "Arbitrary"; sacct Layout
    start_time: float = 0.0
    end_time: float = 0.0
    suspended_s: float = 0.0
    time_limit_min: Optional[int] = None
    exit_code: int = 0  # 0..255
    exit_signal: int = 0
    cancelled_by: Optional[int] = None
    usage: Usage = field(default_factory=Usage)
    submit_line: str = ""
    srun_host: str = ""
    srun_pid: int = 0
    container: str = ""
    tres: str = ""  # srun's request as scontrol shows it: "CpusPerTres=gres/gpu:2 TresPerStep=cpu:4"
