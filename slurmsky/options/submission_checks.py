"""The checks of slurmctld that depend only on the request."""

from __future__ import annotations

from ..language.syntax_errors import ArraySpecError, DependencyError
from . import device_counts, per_task
from .component_options import Component
from .usage_errors import failure


def submission(part: Component, het: bool = False) -> None:
    """Apply the refusals of slurmctld that need only the request.

    Also converts dependency and array to canonical text.
    """
    device_counts.check(part)
    per_task.check(part)
    _array(part, het)
    _dependency(part)
    _ports(part)
    if (part.get("signal") or "").partition(":")[0] in ("R", "RB"):
        raise part.refused("Preemption is required but is disabled on this system")
    now = part.context.now
    if part.get("deadline") is not None and part.get("deadline") < now:
        raise part.refused("Requested time limit is invalid (missing or exceeds some limit)")
    least, limit = part.get("time_min_min"), part.get("time_limit_min")
    if least is not None and limit is not None and least > limit:
        raise part.refused("Invalid time-min specification (exceeds job's time or other limits)")


def _ports(part: Component) -> None:
    """Refuse --resv-ports of an allocation: only a step manager on its node could reserve ports.

    Source: sbatch/opt.c and salloc/opt.c.
    """
    if part.command == "srun" or part.get("resv_ports") is None:
        return
    if part.get("stepmgr"):
        raise part.refused("Requires more ports than can be reserved")
    raise failure(
        part.command,
        "Slurmstepd step management must be enabled to use --resv-ports for job allocations",
        exit_code=1,
    )


def _array(part: Component, het: bool) -> None:
    from ..language import arrayspec

    if not part.get("array"):
        part.unset("array")
        return
    try:
        spec = arrayspec.parse(part.get("array"), part.context.max_array_size)
    except ArraySpecError:
        raise part.refused("Invalid job array specification") from None
    if het:
        raise part.refused("Invalid job array specification")
    if spec is None:
        part.unset("array")


def _dependency(part: Component) -> None:
    from ..language import dependency

    text = part.get("dependency")
    if not text:
        part.unset("dependency")
        return
    try:
        wanted = str(dependency.parse(text))
    except DependencyError as fault:
        raise part.refused(fault.message or "Job dependency problem") from None
    if "expand:" in wanted:
        raise part.refused("Requested operation not supported on this system")
    part.values["dependency"] = wanted or None
