"""Options of an srun as a step. Agents import this module with their first step."""

from __future__ import annotations

from dataclasses import dataclass, field

from .spec import JobSpec, OptInt, OptStr


@dataclass(frozen=True)
class StepSpec:
    """Options of an srun beyond the JobSpec fields.

    ``job`` holds the fields shared with a submission (nodes, ntasks, mem, distribution, ...), from this step's command
    line and environment; None there means "inherit from the job as Slurm does".
    """

    job: JobSpec = field(default_factory=JobSpec)
    argv: tuple[str, ...] = ()
    jobid: OptStr = None  # --jobid text
    het_group: OptStr = None
    relative: OptInt = None
    exact: bool = False
    overlap: bool = False
    whole: bool = False
    exclusive: bool = False
    external: bool = False
    immediate_s: OptInt = None
    wait_s: OptInt = None
    kill_on_bad_exit: OptInt = None
    label: bool = False
    unbuffered: bool = False
    pty: OptStr = None  # None: no pty; "" task 0; or the task number
    multi_prog: bool = False
    preserve_env: bool = False
    disable_status: bool = False
    quit_on_interrupt: bool = False
    prolog: OptStr = None
    epilog: OptStr = None
    task_prolog: OptStr = None
    task_epilog: OptStr = None
    bcast: OptStr = None
    bcast_exclude: OptStr = None
    send_libs: OptStr = None
    mpi: OptStr = None
    threads: OptInt = None
    msg_timeout_s: OptInt = None
    slurmd_debug: OptStr = None
    test_only: bool = False
    no_allocate: bool = False
    verbose: int = 0
    quiet: int = 0
    #: names of JobSpec fields given on srun's command line (not by the environment)
    typed: tuple[str, ...] = ()
    #: names of JobSpec/StepSpec fields given by input environment variables
    site_options: tuple[tuple[str, str], ...] = ()
