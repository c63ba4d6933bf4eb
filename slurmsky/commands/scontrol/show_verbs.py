"""scontrol show: dispatch, nodes, partitions, configuration and host lists.

Source: src/scontrol/info_job.c, info_node.c, info_part.c, scontrol.c _show_it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...controller.command_context import CommandContext
from ...controller.slurm_errors import Errno
from ...language import hostlist
from ...language.key_values import fits
from ...language.syntax_errors import HostlistError
from ...model.job import Node
from ...model.release import RELEASE
from ...model.states import NodeState
from ...options.help import help_text
from ...options.query import ScontrolQuery
from ...options.table import load
from ...options.values import leading_int
from ...report.json.other_records import resource_records
from ...report.text import show_config as report_config
from ...report.text import show_job as report
from ...report.text import show_nodes as report_nodes
from ...report.text import show_reservations as report_reservations
from .._files import opener
from ..common.caller_settings import user_name
from ..common.report_settings import nodes_and_cluster
from ..common.report_settings import report as report_context
from . import show_jobs
from .show_output import as_data, print_document, updated

Words = Sequence[str]


def show(ctx: CommandContext, query: ScontrolQuery, words: Words, verb: str = "show") -> int:
    """Run ``show ENTITY [ID]``. ``verb`` is "show" as the user abbreviated it."""
    entity = words[0].partition("=")[0].lower()
    value = words[0].partition("=")[2] or (words[1] if len(words) > 1 else None)
    if len(entity) >= 2 and ("assoc_mgr".startswith(entity) or "cache".startswith(entity)):
        return _assoc(ctx, query, words[1:])
    if len(words) > 2 and not entity.startswith(("as", "bb", "dw", "topo")):
        ctx.err(f"too many arguments for keyword:{verb}")
        return 1
    if fits(entity, "daemons", 1) and value is not None:
        ctx.err(f"too many arguments for keyword:{verb}")
        return 1
    for name, least, run in ENTITIES:
        if fits(entity, name, least):
            return run(ctx, query, value)
    ctx.err(f"invalid entity:{words[0]} for keyword:{verb}")
    return 1


# --- nodes, partitions, configuration


def _nodes(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    nodes, cluster = nodes_and_cluster(ctx)
    names: list[str] = list(nodes)
    every = value is None or value.upper() == "ALL"
    if value is not None and not every:
        try:
            names = hostlist.expand(value)
        except HostlistError as error:
            ctx.err(str(error))
            return 1
    shown: list[Node] = []
    missing: list[str] = []
    for name in names:
        node = nodes.get(name)
        future = node is not None and node.state is NodeState.FUTURE and not query.future
        if node is not None and not future:
            shown.append(node)
        elif not every:
            missing.append(name)
    if as_data(query):
        return print_document(ctx, query, lambda form, about, now: form.nodes_document(shown, about, now, cluster))
    updated(ctx, query, len(shown))
    context = report_context(ctx, query)
    known = {node.config.name: node for node in shown}
    text = report_nodes.node_text(context, detail=query.details, oneliner=query.oneliner)
    for name in names:
        if name in known:
            ctx.out(text(known[name]))
        elif name in missing:
            ctx.out(f"Node {name} not found\n")
    return 1 if missing else 0


def _partitions(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    job_table = ctx.controller.job_table
    _, cluster = nodes_and_cluster(ctx)
    context = replace(report_context(ctx, query), cluster=cluster)
    found = [part for part in cluster.partitions if value is None or part.name == value]
    if value is not None and not found and not as_data(query):
        ctx.out(f"Partition {value} not found\n")
        return 1
    shown = [replace(part, state=job_table.partition_states.get(part.name, part.state)) for part in found]
    if as_data(query):
        return print_document(ctx, query, lambda form, about, now: form.partitions_document(shown, about, now, cluster))
    updated(ctx, query, len(cluster.partitions))
    for part in shown:
        ctx.out(report_nodes.show_partition(part, context, oneliner=query.oneliner))
    return 0


def _config(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    context = report_context(ctx, query)
    controller = ctx.controller
    user = f"{user_name(os.geteuid())}({os.geteuid()})"
    values = {
        "SlurmUser": controller.site.cluster.parameter("SlurmUser") or user,
        "SlurmdUser": controller.site.cluster.parameter("SlurmdUser") or user,
        "SLURM_CONF": controller.site.source or "(no site file)",
        "SLURM_VERSION": RELEASE,
        "StateSaveLocation": str(controller.paths.home),
        "SlurmctldHost[0]": controller.host,
        "BOOT_TIME": context.clock.text(controller.started_at),
        "NEXT_JOB_ID": str(controller.job_table.next_job_id),
        "SlurmctldLogFile": str(controller.paths.log),
    }
    ctx.out(report_config.show_config(context, values, controller.host))
    return 0


# --- hostlists


def _hostnames(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    text = value if value is not None else ctx.env.get("SLURM_JOB_NODELIST") or ctx.env.get("SLURM_NODELIST")
    if text is None:
        ctx.err("scontrol: error: host list is empty")
        return 0
    try:
        names = hostlist.expand(text)
    except HostlistError as error:
        _bad_hostlist(ctx, error)
        return 0
    if ctx.request.ttys[1]:
        for name in names:  # line by line on a terminal, in one write on a buffered stream
            ctx.out(name + "\n")
    else:
        ctx.out("".join(name + "\n" for name in names))
    return 0


def _bad_hostlist(ctx: CommandContext, error: HostlistError) -> None:
    if error.detail:
        ctx.error(error.detail)
    ctx.err(str(error))


def _encode(compress: Callable[[list[str]], str]) -> Callable[[CommandContext, ScontrolQuery, str | None], int]:
    def run(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
        if value is None:
            ctx.err("invalid encode argument")
            ctx.out(help_text(load("scontrol")))
            return 1
        text = value
        if value.startswith("/"):
            try:
                with open(os.path.join(ctx.cwd, value), encoding="utf-8", opener=opener) as file:
                    text = ",".join(file.read().split())
            except OSError:
                ctx.err(f"Can not open {value}")
                return 1
        try:
            ctx.out(compress(hostlist.expand(text)) + "\n")
        except HostlistError as error:
            _bad_hostlist(ctx, error)
            return 1
        return 0

    return run


# --- entities that this cluster lacks, or whose answer is fixed


def _licenses(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    job_table = ctx.controller.job_table
    if as_data(query):
        rows = [(name, total, job_table.licenses_used.get(name, 0)) for name, total in job_table.cluster.licenses
                if value in (None, name)]  # fmt: skip
        return print_document(ctx, query, lambda form, about, now: form.licenses_document(rows, about, now))
    if not job_table.cluster.licenses:
        ctx.out("No licenses configured in Slurm.\n")
        return 0
    found = [(name, total) for name, total in job_table.cluster.licenses if value in (None, name)]
    if not found:
        ctx.out(f"License {value} not found\n")
        return 1
    separator = " " if query.oneliner else "\n    "
    for name, total in found:
        used = job_table.licenses_used.get(name, 0)
        ctx.out(f"LicenseName={name}{separator}Total={total} Used={used} Free={total - used} Reserved=0 Remote=no\n")
    return 0


def _reservations(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    known = ctx.controller.job_table.reservations.all
    if value is not None and value not in known and not as_data(query):
        ctx.out(f"Reservation {value} not found\n")
        return 1
    shown = [one for name, one in known.items() if value in (None, name)]
    if as_data(query):
        return print_document(
            ctx,
            query,
            lambda form, about, now: form.reservations_document(shown, about, now, ctx.controller.job_table.cluster),
        )
    updated(ctx, query, len(known))
    if not known:
        ctx.out("No reservations in the system\n")
    context = report_context(ctx, query)
    for one in shown:
        ctx.out(report_reservations.show_reservation(one, context, query.oneliner))
    return 0


def _slurmd(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    """Show the agent of a node. By default this is the node (SLURMD_NODENAME) where scontrol runs."""
    node = ctx.controller.job_table.nodes.get(value or ctx.env.get("SLURMD_NODENAME", ""))
    if node is None:
        ctx.err("scontrol: error: slurm_slurmd_info: Connection refused\nslurm_load_slurmd_status:Connection refused")
        return 1
    config, context = node.config, report_context(ctx, query)
    steps = [f"{job.job_id}.{step.step_id}" for job in ctx.controller.job_table.jobs.values() if job.state.active
             for step in job.steps.values() if not step.state.finished and config.name in step.nodes]  # fmt: skip
    rows = {
        "Active Steps": ",".join(steps) or "NONE",
        "Actual CPUs": config.cpus,
        "Actual Boards": config.boards,
        "Actual sockets": config.sockets,
        "Actual cores": config.cores,
        "Actual threads per core": config.threads,
        "Actual real memory": f"{config.memory_mib} MB",
        "Actual temp disk space": f"{config.tmp_mib} MB",
        "Boot time": context.clock.text(node.boot_time),
        "Hostname": config.name,
        "Version": RELEASE,
    }
    ctx.out("".join(f"{key:<25}= {text}\n" for key, text in rows.items()) + "\n")
    return 0


def _constant(
    out: str = "", err: str = "", code: int = 0
) -> Callable[[CommandContext, ScontrolQuery, str | None], int]:
    def run(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
        ctx.out(out)
        if err:
            ctx.err(err)
        return code

    return run


def _topology(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    """Without topology plugin there is nothing to show; only a topology that is named is missing."""
    if value and "=" not in value:
        ctx.err("slurm_load_topo error: Requested topology configuration is not available")
    return 0


def _assoc(ctx: CommandContext, query: ScontrolQuery, words: Words) -> int:
    from ...report.text import show_assoc
    from ..accounting.account_view import records

    try:
        chosen = show_assoc.choice(words)
    except show_assoc.BadWord as problem:
        ctx.err(str(problem))
        return problem.code
    known = records(ctx)
    jobs = ctx.controller.job_table.jobs.values()
    ctx.out(show_assoc.show(known.cluster, known.user, os.geteuid(), known.accounts, chosen, query.oneliner, jobs,
                            ctx.controller.job_table.usage.spent))  # fmt: skip
    return 0


def _aliases(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    """Show names of the nodes on this or the named host."""
    job_table = ctx.controller.job_table
    here = {ctx.controller.host, ctx.controller.host.partition(".")[0], "localhost"}
    if value is None or value in here:
        found = [
            node.name for node in job_table.cluster.nodes if not node.host_name or node.host_name in here | {node.name}
        ]
    else:
        found = [node.name for node in job_table.cluster.nodes if node.host_name == value != node.name]
    ctx.out(" ".join(found) + "\n" if found else "")
    return 0


def _resources(ctx: CommandContext, query: ScontrolQuery, value: str | None) -> int:
    """Show cores, memory and devices of a running job, by node."""
    if value is None:
        ctx.err("missing JobId: Success")
        return 0
    job_table = ctx.controller.job_table
    number = leading_int(value)
    job = job_table.jobs.get(number)
    if as_data(query):
        records = resource_records(job, job_table.cluster) if job is not None else []
        return print_document(ctx, query, lambda form, about, now: form.managed_document("nodes", records, about))
    if job is None or not job.shares or job.state.finished:
        ctx.error(f"JobId={number} lookup failed: {Errno.INVALID_JOB_ID.text}" if job is None
                  else f"JobId={number} not running")  # fmt: skip
        return 1
    ctx.out("".join(f"{line}\n" for line in report.resource_lines(job)))
    return 0


#: entity, length of the shortest accepted prefix, handler; the first entity that fits wins. Source:
#: src/scontrol/scontrol.c _show_it.
ENTITIES: tuple[tuple[str, int, Callable[[CommandContext, ScontrolQuery, str | None], int]], ...] = (
    ("aliases", 1, _aliases),
    ("bbstat", 2, _constant()),
    ("dwstat", 2, _constant()),
    ("burstbuffer", 2, _constant()),
    ("config", 1, _config),
    ("daemons", 1, _constant(out="slurmctld slurmd\n")),
    ("federations", 1, _constant()),
    ("hostnames", 5, _hostnames),
    ("hostlist", 5, _encode(lambda names: hostlist.compress(names))),
    ("hostlistsorted", 9, _encode(lambda names: hostlist.compress_sorted(names))),
    ("jobs", 1, show_jobs.jobs),
    ("jobid", 1, show_jobs.jobs),
    ("licenses", 2, _licenses),
    ("nodes", 1, _nodes),
    ("partitions", 2, _partitions),
    ("partitionname", 2, _partitions),
    ("reservations", 1, _reservations),
    ("reservationname", 1, _reservations),
    ("resources", 4, _resources),
    ("slurmd", 2, _slurmd),
    ("steps", 2, show_jobs.steps),
    ("topoconf", 5, _constant()),
    ("topology", 1, _topology),
)
