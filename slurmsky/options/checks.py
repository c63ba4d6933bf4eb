"""Checks combinations of options and derives task and node counts.

Each check receives one Component and may change it, warn, or raise CommandError. The first checks are shared by
sbatch, salloc and srun (slurm_opt.c validate_options_salloc_sbatch_srun, opt.c _opt_verify of each). ``submission``
holds the checks of slurmctld that need no nodes, so that bad input ends before a controller is contacted.
"""

from __future__ import annotations

import math
from typing import Optional

from ..language.syntax_errors import HostlistError
from ..model.spec import ALLOCATED_VARIABLE
from . import container_options, per_task
from .component_options import COMMAND_LINE, Component
from .usage_errors import CommandError, Printed, failure

_HINT_HELP = """\
Hints about the kind of application (--hint=):
    compute_bound      every core of each socket, one thread per core
    memory_bound       one core of each socket, one thread per core
    [no]multithread    use, or leave alone, the further hardware threads of a core
    help               print this
"""
_HINTS = ("compute_bound", "memory_bound", "multithread", "nomultithread")


def _fatal(part: Component, message: str) -> CommandError:
    return failure(part.command, message, level="fatal")


def _error(part: Component, *messages: str) -> CommandError:
    return failure(part.command, *messages, exit_code=part.context.error_exit)


def verify(part: Component) -> None:
    """Run all checks of one component, in Slurm's order."""
    _drop_job_sizes(part)
    _verbosity(part)
    _tasks_per_gpu(part)
    _special_cores(part)
    _hint(part)
    _memory(part)
    _sharing(part)
    per_task.resolve(part)
    per_task.resolve_with_gpus(part)
    _burst_buffer(part)
    ignored = container_options.unused_options_warning(part.get("site_options", ()))
    if ignored is not None:
        part.warnings.append(f"{part.command}: error: {ignored}")
    _host_file(part)
    if part.command == "srun":
        _step(part)
    _arbitrary(part)
    _nodes_and_tasks(part)
    _tasks_of_sockets(part)
    if part.command == "srun":
        _tasks_per_node(part)
    else:
        _plane(part)
    begin, deadline = part.get("begin"), part.get("deadline")
    if deadline is not None and begin is not None and deadline < begin:
        raise _error(part, "Incompatible begin and deadline time specification")


def _verbosity(part: Component) -> None:
    if part.get("verbose") and part.get("quiet"):
        raise _error(part, "don't specify both --verbose (-v) and --quiet (-Q)")


_MEMORY = {"mem": "mem_mib", "mem-per-cpu": "mem_per_cpu_mib", "mem-per-gpu": "mem_per_gpu_mib"}


def _memory(part: Component) -> None:
    """Allow at most one of --mem, --mem-per-cpu and --mem-per-gpu.

    A typed option overrides those of the environment. Source: _validate_memory_options.
    """
    typed = [name for name in _MEMORY if part.has_typed(name)]
    if len(typed) > 1:
        raise _fatal(part, "--mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.")
    if typed:
        part.unset(*(field for name, field in _MEMORY.items() if name != typed[0]))
    elif sum(part.inherited(name) for name in _MEMORY) > 1:
        raise _fatal(part, "SLURM_MEM_PER_CPU, SLURM_MEM_PER_GPU, and SLURM_MEM_PER_NODE are mutually exclusive.")


def _tasks_per_gpu(part: Component) -> None:
    """Validate --ntasks-per-gpu. Source: _validate_ntasks_per_gpu."""
    if not (part.has_typed("ntasks-per-gpu", "ntasks-per-tres") or part.inherited("ntasks-per-gpu", "ntasks-per-tres")):
        return
    for name in ("tres-per-task", "gpus-per-task", "gpus-per-socket", "ntasks-per-node"):
        shown = f"--{name}" if part.has_typed(name) else "SLURM_" + name.upper().replace("-", "_")
        # The variable may hold CPUs only, which this check ignores.
        matters = name != "tres-per-task" or "gres/gpu" in part.get("tres_per_task", "")
        if part.has_typed(name) or (part.inherited(name) and matters):
            raise _fatal(part, f"{shown} is mutually exclusive with --ntasks-per-gpu and SLURM_NTASKS_PER_GPU")


def _special_cores(part: Component) -> None:
    """Validate specialized cores.

    Source: _validate_spec_cores_options (the misspelling is Slurm's).
    """
    core, thread = ("core-spec",), ("thread-spec",)
    if part.has_typed(*core) and part.has_typed(*thread):
        raise _fatal(part, "-S/--core-spec and --thred-spec options are mutually exclusive")
    if part.inherited(*core) and part.inherited(*thread):
        raise _fatal(
            part,
            "Both --core-spec and --thread-spec set using environment variables. Those options are mutually exclusive.",
        )
    for option, field in (("--thread-spec", "thread_spec"), ("-S", "core_spec")):
        if part.get(field) is not None:
            part.warnings.append(
                f"{part.command}: error: Ignoring {option} since it's not allowed by configuration "
                "(AllowSpecResourcesUsage = No)"
            )
            break
    part.unset("core_spec", "thread_spec")


def _hint(part: Component) -> None:
    """Drop a hint if a more detailed option is given; validate the others.

    Source: slurm_opt.c validate_hint_option, proc_args.c verify_hint.
    """
    if part.has_typed("ntasks-per-core", "threads-per-core", "extra-node-info", "cpu-bind"):
        part.unset("hint")
    hint: Optional[str] = part.get("hint")
    for word in [] if hint is None else hint.split(","):
        if word.lower() == "help":
            raise Printed(_HINT_HELP, 1)
        if word.lower() not in _HINTS:
            raise _error(part, f'unrecognized --hint argument "{word}", see --hint=help')
        part.values["hint"] = word.lower()


def _sharing(part: Component) -> None:
    """Validate exclusive and shared use of nodes.

    Source: _validate_share_options.
    """
    if part.command != "srun" and part.has_typed("exclusive") and part.has_typed("oversubscribe"):
        raise _fatal(part, "--exclusive and --oversubscribe options are mutually exclusive")


def _burst_buffer(part: Component) -> None:
    if part.has_typed("bb") and part.has_typed("bbf"):
        raise _error(part, "Cannot specify both --burst-buffer and --bbf")


def _step(part: Component) -> None:
    """Validate the options of a step. Source: srun/opt.c _opt_verify."""
    if part.get("exact") and part.get("whole"):
        raise _error(part, "--exact and --whole are mutually exclusive.")
    if part.get("no_allocate"):
        if not part.get("nodelist"):
            raise _error(part, "must specify a node list with -Z, --no-allocate.")
        if part.get("exclude"):
            raise _error(part, "can not specify --exclude list with -Z, --no-allocate.")
    if part.get("relative") is not None and (part.get("nodelist") or part.get("exclude")):
        raise _error(part, "-r,--relative not allowed with -w,--nodelist or -x,--exclude.")
    if part.has_typed("exclusive") and part.get("exclusive") is not None and part.has_typed("overlap"):
        raise _error(part, "--exclusive and --overlap are mutually exclusive")
    if part.get("pty") is not None and part.has_typed("input", "output", "error"):
        raise _error(part, "--error/--input/--output are incompatible with --pty")


def _host_file(part: Component) -> None:
    """Place tasks by the file in SLURM_HOSTFILE.

    This holds for any -m, but only without -w. The file must have as many names as there are tasks or, if their number
    is unknown, nodes; further names are not read.

    Source: slurm_opt.c _validate_nodelist.
    """
    from ..language import hostlist

    count = part.get("ntasks") or part.get("nodes_max") or part.get("nodes_min")
    if "/" in part.texts.get("nodelist", "") and part.get("distribution", "").startswith("arbitrary"):
        part.values["nodelist"] = hostlist.compress(_first_names(part, hostlist.expand(part.get("nodelist")), count))
    name = part.context.env.get("SLURM_HOSTFILE")
    if part.get("nodelist") or not name:
        return
    from .path_readers import node_names
    from .table import load
    from .values import Item

    option = load(part.command).longs["nodelist"]
    try:
        item = Item(option, name, part.context, part.command)
        names = _first_names(part, hostlist.expand(node_names(item, name)), count)
    except CommandError as fault:
        last = f"{part.command}: error: Failure getting NodeNames from hostfile"
        raise CommandError((*fault.lines, last), part.context.error_exit) from None
    part.values["distribution"] = "arbitrary"
    part.values["nodelist"] = hostlist.compress(names)


def _first_names(part: Component, names: list[str], count: Optional[int]) -> list[str]:
    if count and len(names) < count:
        raise _error(part, "Too few NodeNames in Slurm Hostfile")
    return names[:count]


def _arbitrary(part: Component) -> None:
    """Require -w or SLURM_HOSTFILE for arbitrary task placement.

    The list also determines the numbers of nodes and tasks.
    """
    if not part.get("distribution", "").startswith("arbitrary"):
        return
    if part.has_typed("nodes"):
        raise _error(part, "--nodes is incompatible with --distribution=arbitrary")
    if part.command != "srun":
        if not part.get("nodelist"):
            raise _error(
                part, "With Arbitrary distribution you need to specify a nodelist or hostfile with the -w option"
            )
        return
    from ..language import hostlist

    names = hostlist.expand(part.get("nodelist")) if part.get("nodelist") else []
    if part.get("ntasks") is None:
        part.values["ntasks"] = len(names)
        if not names:
            raise _error(part, "invalid number of tasks (-n 0)")
    part.values["nodes_min"] = part.values["nodes_max"] = len(set(names))


def _drop_job_sizes(part: Component) -> None:
    """Ignore the job's sizes in srun's environment for arbitrary placement."""
    if part.command == "srun" and part.get("distribution", "").startswith("arbitrary"):
        if part.inherited("ntasks"):
            part.unset("ntasks")
        if part.inherited("nodes"):
            part.unset("nodes", "nodes_min", "nodes_max")


def _node_names(part: Component) -> list[str]:
    """Distinct names of --nodelist, in order."""
    from ..language import hostlist

    if not part.get("nodelist"):
        return []
    try:
        return list(dict.fromkeys(hostlist.expand(part.get("nodelist"))))
    except HostlistError as fault:
        details = [line for line in (fault.detail, "memory allocation failure") if line]
        raise _error(part, *details) from None


def _nodes_and_tasks(part: Component) -> None:
    """Adjust the node count to node list and task count.

    The minimum of nodes rises to the list's length. More nodes than tasks are reduced with a warning.

    Source: sbatch/opt.c and srun/opt.c _opt_verify, "massage the numbers".
    """
    names = _node_names(part)
    least: Optional[int] = part.get("nodes_min")
    most: Optional[int] = part.get("nodes_max")
    tasks: Optional[int] = part.get("ntasks")
    if part.command == "srun" and part.get("distribution", "").endswith(",pack") and part.inherited("nodes"):
        least = 1
    # Inside a job srun leaves a node list that does not match the number of nodes to the step's creation.
    counted = part.command == "srun" and least is not None and _in_a_job(part)
    if tasks is not None and most is not None and least is not None and least <= tasks < most:
        most = tasks
    if names and not counted:
        if part.command == "srun" and most and len(names) > most:
            part.warnings.append(
                f"srun: error: Required nodelist includes more nodes than permitted by max-node count "
                f"({len(names)} > {most}). Eliminating nodes from the nodelist."
            )
            names = names[:most]
            _keep_nodes(part, names)
        least = max(len(names), least or 0)
    if least is not None and most is not None and (least < 0 or most < 0 or least > most > 0):
        raise _error(part, f"invalid number of nodes (-N {least}-{most})")
    if tasks is not None and least is not None and tasks < least:
        part.warnings.append(
            f"{part.command}: warning: can't run {tasks} processes on {least} nodes, setting nnodes to {tasks}"
        )
        least = most = tasks
        part.sources.update(dict.fromkeys(("nodes", "nodes_min", "nodes_max"), COMMAND_LINE))  # counts as typed
        if len(names) > tasks and not counted:
            _keep_nodes(part, names[:tasks])
    if (least, most) != (part.get("nodes_min"), part.get("nodes_max")):
        # Only a typed count, or one forced here, has a minimum and a maximum.
        part.values["nodes_min"] = least
        part.values["nodes_max"] = most
        part.values["nodes"] = None if most is None else str(least) if least == most else f"{least}-{most}"


def _tasks_of_sockets(part: Component) -> None:
    """Derive the number of tasks from -B or -N.

    There is one task for each requested thread, core or socket. srun requires all three in the request
    (src/srun/opt.c); sbatch and salloc use any of them.
    """
    if part.get("ntasks") is not None or part.get("ntasks_per_node"):
        return
    if not part.has_typed("extra-node-info") and part.get("nodes_min") is None:
        return
    least, most = part.get("nodes_min", 1), part.get("nodes_max", 0)
    counts = [part.get(name) for name in ("sockets_per_node", "cores_per_socket", "threads_per_core")]
    enough = all(counts) if part.command == "srun" else any(counts)
    if (most and least != most) or not enough:
        return
    part.values["ntasks"] = math.prod(filter(None, counts), start=least)


def _keep_nodes(part: Component, names: list[str]) -> None:
    from ..language import hostlist

    part.values["nodelist"] = hostlist.compress(names)


def _plane(part: Component) -> None:
    kind, _, size = part.get("distribution", "").partition("=")
    plane = size.partition(",")[0]
    if kind != "plane" or not plane.isdecimal():
        return
    least = part.get("nodes_min")
    tasks = part.get("ntasks") or (least or 1) * (part.get("ntasks_per_node") or 0) or 1
    if least and int(plane) and tasks // int(plane) < least and (least - 1) * int(plane) >= tasks:
        raise _error(part, "Too few processes for the requested {plane,node} distribution")


def _tasks_per_node(part: Component) -> None:
    """Derive the number of tasks from --ntasks-per-node and -N.

    An --ntasks-per-node that the nodes cannot satisfy is dropped.
    """
    tasks, most, per_node = part.get("ntasks"), part.get("nodes_max"), part.get("ntasks_per_node")
    if tasks is None and per_node and not _in_a_job(part):
        part.values["ntasks"] = (part.get("nodes_min") or 1) * per_node
    if not (tasks and per_node and part.get("nodes_min")):
        return
    if part.inherited("ntasks") and not part.inherited("nodes"):
        part.unset("ntasks")
    elif most and tasks > most * per_node and part.get("jobid"):
        part.warnings.append(
            f"srun: warning: can't honor --ntasks-per-node set to {per_node} which doesn't match the "
            f"requested tasks {tasks} with the maximum number of requested nodes {most}. "
            "Ignoring --ntasks-per-node."
        )
        part.unset("ntasks_per_node")


def _in_a_job(part: Component) -> bool:
    """Return whether srun creates a step of an existing job."""
    return bool(part.get("jobid")) and part.context.env.get(ALLOCATED_VARIABLE) != "1"


def inside_a_job(part: Component) -> list[str]:
    """srun's messages about options that a step cannot have. They apply to whole jobs or exceed the job's resources."""
    if not _in_a_job(part):
        return []
    messages = []
    own, jobs = part.get("cpus_per_task"), part.context.env.get("SLURM_CPUS_PER_TASK", "")
    if part.has_typed("cpus-per-task") and jobs.isdecimal() and own > int(jobs):
        messages.append(
            f"srun: Job step's --cpus-per-task value exceeds that of job ({own} > {jobs}). Job step may never run."
        )
    if part.has_typed("gpus-per-socket"):
        part.unset("gpus_per_socket")
        messages.append(
            "srun: warning: Ignoring --gpus-per-socket because it can only be specified at job allocation time, "
            "not during step allocation."
        )
    if part.has_typed("core-spec"):
        messages.append(
            "srun: error: Ignoring --core-spec value for a job step within an existing job. "
            "Set specialized cores at job allocation time."
        )
    if part.get("begin") is not None:
        messages.append("srun: error: --begin is ignored because nodes are already allocated.")
    return messages
