"""A node's part of a step, sent by srun's agent."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from .message_codec import Message, register_message, register_type

#: source, target, flags
Mount = Tuple[str, str, Tuple[str, ...]]
register_type("Mount", lambda mount: (mount[0], mount[1], tuple(mount[2])), list)


class TaskBinding(Message, family="request", kind="binding"):
    """Binding of a node's tasks to CPUs and memory nodes.

    From --cpu-bind, --mem-bind and --hint. No ``unit`` and no ``method``: automatic. ``explicit``: --cpu-bind was
    given. ``order``: "block", "cyclic", "fcyclic". The step has the CPUs ``cpus`` of the node's ``count``.
    ``affinity``: all tasks are bound, also without an option, as with TaskPlugin=task/affinity.
    """

    unit: str
    method: str
    values: Tuple[str, ...]
    verbose: bool
    one_thread: bool
    explicit: bool
    per_task: int
    order: str
    memory: Optional[str] = None
    count: int = 0
    cpus: Tuple[int, ...] = ()
    affinity: bool = False


class ContainerRequest(Message, family="request", kind="container"):
    """A container by pyxis' options. ``on_node_image``: the node runs the image; ``keep``: variables of the job."""

    image: Optional[str] = None
    on_node_image: bool
    name: str
    flag: str
    mounts: Tuple[Mount, ...]
    directory: str
    keep: Tuple[str, ...]
    home: bool
    root: bool
    entrypoint: bool
    readonly: bool
    cwd: str


class MpiPlan(Message, family="type"):
    """Connection of a step's tasks to each other."""


class Pmi2Plan(MpiPlan, kind="pmi2"):
    """PMI-1 and PMI-2. ``name``: the step's key-value space; ``mapping``: ranks of each node, in PMI's syntax."""

    name: str
    mapping: str
    size: int


class PmixPlan(MpiPlan, kind="pmix"):
    """PMIx. ``ranks``: the ranks of each node."""

    namespace: str
    nodes: List[str]
    ranks: List[List[int]]


for _nested in (TaskBinding, ContainerRequest, MpiPlan):
    register_message(_nested)


class StepPlan(Message, family="request", kind="plan"):
    """One node's part of a step."""

    job_id: int
    step_id: str
    node: str
    node_id: int
    ranks: List[int]
    #: per local task
    argv: List[List[str]]
    environment: Dict[str, str]
    #: per local task; overrides the common environment
    task_environment: List[Dict[str, str]]
    directory: str
    umask: int
    #: "stream", "null", or a file name with patterns
    stdin: str
    #: only this task reads the stream; the others get no input
    stdin_rank: Optional[int] = None
    stdout: str
    #: "=stdout": the same file
    stderr: str
    open_mode: Optional[str] = None
    #: rows, columns of the pseudo terminal of task 0
    terminal: Optional[List[int]] = None
    unbuffered: bool
    rlimits: Dict[str, List[int]]
    bind: Optional[TaskBinding] = None
    task_prologs: List[List[str]]
    task_epilogs: List[List[str]]
    # Values of patterns in file names, in addition to the ids above.
    array_job_id: int
    array_task_id: Optional[int] = None
    user: str
    job_name: str
    restarts: int
    #: address of the job's head agent
    head: str
    #: srun -l: width of the task number in each line of a task's own file; 0: none
    label: int
    #: per local task: text for its stderr before it starts
    notices: List[str]
    mpi: Optional[MpiPlan] = None
    container: Optional[ContainerRequest] = None
    #: limits of the job's and of the step's memory on this node in MiB; 0: none
    job_memory_mib: int = 0
    memory_mib: int = 0
    #: the step ends when the kernel kills one of its processes for its memory
    oom_kill_step: bool = False


register_message(StepPlan)
