"""Scripts that reset the variables of a resized job.

They are slurm_job_ID_resize.sh and .csh.

Source: src/scontrol/update_job.c _update_job_size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...agent.job.environment import node_list, run_lengths
from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno
from ...model.job import Job
from .._files import opener
from ..common import job_targets

#: variables to unset, so that the number of tasks follows from the new size
_UNSET = ("SLURM_NPROCS", "SLURM_NTASKS", "SLURM_TASKS_PER_NODE")


def write(ctx: CommandContext, ids: str) -> None:
    """Write both scripts into the caller's folder. They set the variables that the caller has set."""
    job = job_targets.records(ctx.controller, job_targets.parse(ids), split=False)[0]
    if not job.state.active:
        ctx.err(f"slurm_allocation_lookup: {Errno.JOB_PENDING.text}")
        return
    for kind in ("csh", "sh"):
        name = f"slurm_job_{job.job_id}_resize.{kind}"
        path = os.path.join(ctx.cwd, name)
        try:
            if os.path.lexists(path):
                os.unlink(path)
            with open(path, "x", opener=lambda file, flags: opener(file, flags, 0o700)) as file:
                file.writelines(_lines(job, ctx, kind))
        except OSError as error:
            ctx.err(f"Could not create file {name}: {error.strerror}")
            return
    ctx.out("To reset Slurm environment variables, execute\n")
    ctx.out(f"  For bash or sh shells:  . ./slurm_job_{job.job_id}_resize.sh\n")
    ctx.out(f"  For csh shells:         source ./slurm_job_{job.job_id}_resize.csh\n")


def _lines(job: Job, ctx: CommandContext, kind: str) -> Iterator[str]:
    count, nodes = str(len(job.shares)), node_list(tuple(job.nodes))
    values = {
        "SLURM_NODELIST": f'"{nodes}"',
        "SLURM_JOB_NODELIST": f'"{nodes}"',
        "SLURM_NNODES": count,
        "SLURM_JOB_NUM_NODES": count,
        "SLURM_JOB_CPUS_PER_NODE": f'"{run_lengths(share.cpus for share in job.shares)}"',
    }
    for name, value in values.items():
        if name in ctx.env:
            yield f"export {name}={value}\n" if kind == "sh" else f"setenv {name} {value}\n"
    if "SLURM_TASKS_PER_NODE" in ctx.env:
        for name in _UNSET:
            yield f"unset {name}\n" if kind == "sh" else f"unsetenv {name}\n"
