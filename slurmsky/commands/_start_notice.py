"""Notice on stderr about where or when an accepted job starts."""

from __future__ import annotations

from ..controller.command_context import CommandContext
from ..controller.rules import virtual_nodes
from ..model.job import Job

#: shown in place of the script's path for ``sbatch --wrap``
WRAPPED = "--wrap"
#: (prefix of the pending reason, its explanation)
_REMEDIES = (
    ("PartitionConfig", "its partition has fewer nodes or CPUs than it requests"),
    ("PartitionNodeLimit", "its partition allows another number of nodes"),
    ("PartitionTimeLimit", "its time limit is longer than that of its partition"),
    ("PartitionDown", "its partition is down"),
    ("PartitionInactive", "its partition is inactive"),
    ("Account", "its partition is for other accounts"),
    ("QOSNotAllowed", "its partition is for other QOS"),
    ("MaxMemPerLimit", "it requests more memory per node than its partition allows"),
    ("DependencyNeverSatisfied", "its dependency can no longer be met"),
    ("", "it requests more than its QOS or account allows"),
)


def forecast(ctx: CommandContext, job: Job, script: str = "") -> None:
    """Print at most one line about an accepted job.

    The line says that the job can never start, or that it runs on virtual nodes. ``script`` is what sbatch submitted;
    it is empty for salloc and srun, which report a pending request themselves. A job that merely shares CPUs gets the
    line on a terminal only; a job that runs without its GPUs always gets it.
    """
    controller = ctx.controller
    parts = controller.job_table.components(job)
    for part in parts if script else ():
        reason = controller.scheduler.never_starts(part)
        if reason:
            why = next(text for start, text in _REMEDIES if reason.startswith(start))
            see = f"slurmsky why {job.job_id}" + (f", slurmsky explain {script}" if script != WRAPPED else "")
            ctx.info(f"job {job.job_id} can never start: {why} ({reason}). See: {see}")
            return
    machine = controller.job_table.virtual.machine
    if machine is None or not all(controller.engine.places_in(part.partition) for part in parts):
        return
    fits = controller.job_table.virtual.fit_components([controller.scheduler.demand(part.spec) for part in parts])
    if fits and (ctx.request.ttys[2] or any(fit.gpus_absent for fit in fits)):
        ctx.info(virtual_nodes.note(fits, machine, job.job_id))
