"""Copies a step's program to every node and runs the copies (srun --bcast)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable

from ...protocol import wire
from ...protocol.step_plan import StepPlan
from ..process import processes
from . import file_bcast

if TYPE_CHECKING:
    from ..core.agent import Agent
    from ..steps.step_run import StepRun


def broadcast(
    agent: Agent,
    run: StepRun,
    plans: list[StepPlan],
    request: wire.CommandRequest,
    say: Callable[[str], None],
    done: Callable[[], None],
    failed: Callable[[], None],
) -> None:
    """Copy the program, if requested with its libraries, to all nodes; set the paths in the plans."""
    spec = run.spec
    assert spec.bcast is not None
    source = processes.find_program(run.argv0, dict(request.env))
    source = os.path.join(request.cwd, source)
    if not (os.path.isfile(source) and os.access(source, os.X_OK)):
        say("srun: fatal: Can not execute %s\n" % run.argv0)
        failed()
        return
    # Only an absolute path is used unchanged; in a folder the copy gets this name.
    place = spec.bcast if spec.bcast.startswith("/") else request.cwd + "/"
    name = "slurm_bcast_%d.%s" % (run.job.job_id, run.step_id)

    def target(node: str) -> str:
        return place + "%s_%s" % (name, node) if place.endswith("/") else place

    def copied(code: int) -> None:
        if code:
            say("srun: fatal: Failed to broadcast '%s'. Step launch aborted.\n" % source)
            failed()
            return
        for index, plan in enumerate(plans):
            path, environment = target(plan.node), plan.environment
            if spec.send_libs == "yes":
                before = environment.get("LD_LIBRARY_PATH")
                folder = path + "_libs" + (":" + before if before else "")
                environment = {**environment, "LD_LIBRARY_PATH": folder}
            plans[index] = plan.evolve(argv=[[path, *argv[1:]] for argv in plan.argv], environment=environment)
        done()

    def found(libraries: list[str]) -> None:
        shares = run.shape.shares
        file_bcast.copy_all(agent, shares, source, target, libraries, lambda text: say("srun: " + text), copied)

    if spec.send_libs == "yes":
        file_bcast.find_libraries(agent, source, spec.bcast_exclude, found)
    else:
        found([])
