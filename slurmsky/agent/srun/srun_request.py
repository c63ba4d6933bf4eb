"""A request of srun: runs the step on this agent, or forwards the request."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ...model.spec import ALLOCATED_VARIABLE
from ...protocol import wire
from ..core.client_requests import CallersFiles, address_for_job, end_session, relay
from ..net.channel import Channel
from ..process import resource_limits
from . import srun_verbose
from .srun_session import Srun

if TYPE_CHECKING:
    from ..core.agent import Agent


def serve_srun(agent: Agent, channel: Channel, request: wire.CommandRequest, payload: bytes) -> None:
    """Run the step, or forward it to the head agent. The controller makes new allocations."""
    CallersFiles(channel, request, lambda files: _serve(agent, channel, request, payload, files)).serve()


def _serve(agent: Agent, channel: Channel, request: wire.CommandRequest, payload: bytes, files: CallersFiles) -> None:
    from ...options.submit import parse_srun
    from ...options.table import load
    from ...options.usage_errors import CommandError

    callers = request.env.get("SLURM_JOB_ID", "")
    number = int(callers) if callers.isdecimal() else 0
    jobs = [agent.jobs[number]] if number in agent.jobs else list(agent.jobs.values())
    declared = jobs[0].launch.declared_options if jobs else ()
    try:
        parsed = parse_srun(request.args, files.context, load("srun").with_site_options(declared))
    except CommandError as error:
        head = address_for_job(agent, number) if number and number not in agent.jobs else ""
        if head:  # the job's first node has the job's launch, and with it the site's options
            relay(agent, channel, payload, head, "srun")
            return
        end_session(channel, error.exit_code, "".join(line + "\n" for line in error.lines), error.stdout)
        return
    step = parsed.step
    if step.test_only:
        relay(agent, channel, payload, agent.controller_address, "srun")
        return
    text = str(step.jobid or request.env.get("SLURM_JOB_ID") or request.env.get("SLURM_JOBID") or "")
    job = agent.jobs.get(int(text)) if text.isdecimal() else None
    if job is None or job.ended:
        address = address_for_job(agent, int(text) if text.isdecimal() else 0)
        if text and not address:
            end_session(
                channel,
                1,
                "srun: error: Unable to confirm allocation for job %s: Invalid job id specified\n"
                "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job %s\n" % (text, text),
            )
            return
        relay(
            agent, channel, resource_limits.with_limits(channel, request), address or agent.controller_address, "srun"
        )
        return
    # Outside a job the controller made the allocation and printed the warnings about options.
    allocated = request.env.get(ALLOCATED_VARIABLE) == "1"
    if allocated:
        # --exclusive then requested whole nodes; the step uses all CPUs unless it sets their number.
        spec = step.job
        counted = spec.ntasks is not None or spec.cpus_per_task is not None or spec.overcommit
        if spec.nodes_min and not job.launch.het:
            spec = dataclasses.replace(spec, nodes_min=len(job.launch.shares))  # of a range, the allocated number
        step = dataclasses.replace(step, job=spec, exclusive=step.exclusive and counted)
    # An external launcher gets the whole allocation, and shares it with other steps.
    components = tuple(
        dataclasses.replace(part, overlap=True) if part.external else part for part in (step, *parsed.components[1:])
    )
    srun = Srun(agent, job, channel, request, components, files.read, () if allocated else tuple(parsed.warnings))
    if step.verbose:
        listed = () if allocated else srun_verbose.options(parsed.given)
        srun.print_verbose(*listed, srun_verbose.job(job.job_id, job.launch.shares))
    srun.begin()
