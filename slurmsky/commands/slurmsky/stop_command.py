"""slurmsky stop: stops the controller."""

from __future__ import annotations

import os

import click

from ... import client, client_start, paths
from ...top.controller_client import ControllerClient, NoController
from ._base import Forward, SlurmskyCommand, failed


@click.command(cls=SlurmskyCommand, example="slurmsky stop", page="guide")
def command() -> int:
    """Stop the controller and wait until it has exited.

    Running jobs continue. The next Slurm command starts a new controller, which reconnects to them. Inside a job the
    command stops the controller of the job's owner.
    """
    ctx = click.get_current_context().find_root().obj
    if ctx is not None:  # already in the controller's process
        job_table = ctx.controller.job_table
        jobs = [job_table.jobs[job_id] for job_id in job_table.active]
        running = sum(not job.awaits_nodes for job in jobs)
        waiting = sum(job.awaits_nodes and job.managed_job_id is not None for job in jobs)
        ctx.out(f"controller stopped{_still(running, 'running job')}{_still(waiting, 'pending job', ' at SkyPilot')}\n")
        ctx.controller.stop()
        return 0
    if os.environ.get(paths.AGENT):
        raise Forward
    return stop()


def _still(count: int, what: str, where: str = "") -> str:
    """Text on jobs that continue without a controller; "" for none."""
    return f"; {count} {what}{'s'[: count > 1]}{where} continue{'s'[: count == 1]}" if count else ""


def stop() -> int:
    """Stop the controller; return 0 once none runs for this state folder."""
    controller = ControllerClient()
    if not controller.running():
        try:
            client_start.wait_for_start(os.fsdecode(client.home()))  # of a command that was interrupted
        except client_start.CannotStart as error:
            raise failed(f"slurmsky: stop: {error}") from error
    if not controller.running():
        click.echo("no controller is running")
        return 0
    try:
        answer = controller.run_command("slurmsky", "stop")
    except NoController as error:
        client_start.wait_until_gone(client.home())
        if controller.running():
            raise failed(f"slurmsky: stop: {error}") from error
        return 0  # the controller was already exiting
    client_start.wait_until_gone(client.home())
    click.echo(answer.out, nl=False)
    return answer.code
