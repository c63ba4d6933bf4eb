"""scontrol's verbs for administrators: reconfigure, write config, token, listjobs, ...

Source: src/scontrol/scontrol.c, info_job.c, api/config_info.c slurm_write_ctl_conf.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import socket
from collections.abc import Iterator, Sequence

from ...controller.command_context import CommandContext
from ...model.cluster import NodeConfig, PartitionConfig
from ...model.job import Job, Step
from ...model.spec import INFINITE
from ...report.report_context import ReportContext as Report
from ...report.text import show_config as report_config
from ...report.text.units import Clock, format_minutes
from .. import _files as files
from . import update_nodes
from .update_values import strtoll

Words = Sequence[str]

#: slurmd's default, for nodes without an own value
_PORT = 6818
_UNSUPPORTED = "Requested operation not supported on this system"
#: log levels by name; the position in the list is the number
_LEVELS = {"quiet": 60, "fatal": 50, "error": 40, "info": 20, "verbose": 15, "debug": 10, "debug2": 9, "debug3": 8,
           "debug4": 7, "debug5": 6}  # fmt: skip
#: Source: read_config.c debug_str2flags
_DEBUG_FLAGS = frozenset(
    """
    accrue agent auditrpcs audittls backfill backfillmap burstbuffer cgroup cpu_bind data dbd_agent db_archive
    db_assoc db_tres db_event db_job db_qos db_query db_reservation db_resource db_step db_usage db_wckey dependency
    energy federation gang glob_silence gres hetjob interconnect jobaccountgather jag jobcomp elasticsearch
    jobcontainer license metrics mpi namespace network net networkraw netraw no_conf_hash nodefeatures priority
    profile protocol reservation route sack script selecttype steps switch task tls tracejobs trigger triggers
    cpufrequency power powersave workqueue workq conmgr
""".split()  # noqa: SIM905  # read as a list of words
)


def setdebug(ctx: CommandContext, words: Words) -> int:
    """setdebug LEVEL: set the log level of the controller."""
    word, names = words[0].lower(), list(_LEVELS)
    if word.isdecimal() and int(word) < len(names):
        word = names[int(word)]
    if word not in _LEVELS:
        ctx.err(f"invalid debug level: {words[0]}")
        return 1
    if len(words) > 1:
        if not words[1].lower().startswith("nodes="):
            ctx.err(f"Invalid option: {words[0]}")
        else:  # agents have no log level
            ctx.err("Failed to change debug level on one or more nodes.")
        return 1
    logging.getLogger("slurmsky").setLevel(_LEVELS[word])
    return 0


def update_debug(ctx: CommandContext, words: Words) -> int:
    """update SlurmctldDebug=NUMBER."""
    text = words[-1].partition("=")[2] if "=" in words[-1] else "(null)"
    if not text.isdecimal() or int(text) >= len(_LEVELS):
        ctx.err(f"invalid debug level: {text}")
        return 1
    return setdebug(ctx, [text])


def update_power(ctx: CommandContext, words: Words) -> int:
    """update SuspendExcNodes=, SuspendExcParts=, SuspendExcStates=: refused."""
    ctx.err(f"slurm_update error: {_UNSUPPORTED}")
    return 1


def setdebugflags(ctx: CommandContext, words: Words) -> int:
    """setdebugflags {+|-}NAME...: validate the flags, without effect."""
    for word in words:
        names = word[1:].lower().split(",")
        if word[:1] in ("+", "-") and _DEBUG_FLAGS.issuperset(names):
            continue
        if word is words[-1] and word.lower().startswith(("node=", "nodes=")):
            continue
        ctx.err(f"invalid debug flag: {word}")
        if word[:1] not in ("+", "-"):
            ctx.err("Usage: setdebugflags {+|-}NAME [{+|-}NAME] [nodes=<NODES>]")
        return 1
    return 0


def schedloglevel(ctx: CommandContext, words: Words) -> int:
    """schedloglevel 0|1|disable|enable: refused, for lack of a scheduler log."""
    if words[0].lower() not in ("0", "1", "disable", "enable"):
        ctx.err(f"invalid schedlog level: {words[0]}")
        return 1
    return 0


def takeover(ctx: CommandContext, words: Words) -> int:
    """takeover [INDEX]: refused, for lack of a backup controller."""
    if words:
        index = strtoll(words[0])[0]
        ctx.err(f"takeover: invalid backup controller index ({index})")
    else:
        ctx.err(f"slurm_takeover error: {_UNSUPPORTED}")
    return 1


def shutdown(ctx: CommandContext, words: Words) -> int:
    """shutdown [slurmctld|controller]: refused.

    An idle controller exits, and slurmsky stop ends a controller at once.
    """
    if words and words[0] not in ("slurmctld", "controller"):
        ctx.err(f"invalid shutdown argument:{words[0]}")
    else:
        ctx.err(f"slurm_shutdown error:{_UNSUPPORTED}")
    return 1


def getaddrs(ctx: CommandContext, words: Words) -> int:
    """getaddrs NODES: print addresses of nodes. A list with an unknown node prints nothing."""
    job_table = ctx.controller.job_table
    for name in update_nodes.expand(ctx, words[0]) or ():
        config = job_table.nodes[name].config
        ctx.out(f"{name}: {config.address}:{config.port or _PORT}\n")
    return 0


def _steps_on(ctx: CommandContext, node: str | None) -> list[tuple[Job, Step]]:
    found = [(ctx.controller.job_table.jobs[job_id], step) for job_id in sorted(ctx.controller.job_table.active)
             for step in ctx.controller.job_table.jobs[job_id].steps.values()]  # fmt: skip
    return [(job, step) for job, step in found if not step.state.finished and node in (None, *step.nodes)]


def getent(ctx: CommandContext, words: Words) -> int:
    """getent [NODE]: print passwd and group entries of a node's users. These are the users with steps on the node."""
    steps = _steps_on(ctx, words[0] if words else None)
    if not steps:
        ctx.err("No steps found on this node")
    for job, step in steps:
        user = pwd.getpwuid(job.uid)
        groups = [grp.getgrgid(gid) for gid in sorted(os.getgrouplist(user.pw_name, job.gid))]
        ctx.out(f"JobId={job.job_id}.{step.step_id}:\nUser:\n{user.pw_name}:*:{user.pw_uid}:{user.pw_gid}:"
                f"{user.pw_gecos}:{user.pw_dir}:{user.pw_shell}\nGroups:\n")  # fmt: skip
        ctx.out("".join(f"{group.gr_name}:*:{group.gr_gid}:{user.pw_name}\n" for group in groups) + "\n")
    return 0


def gethost(ctx: CommandContext, words: Words) -> int:
    """gethost NODE NAME: resolve a node's address as NODE's steps do."""
    steps = _steps_on(ctx, words[0])
    if not steps:
        ctx.err("No steps found on this node")
    for job, step in steps:
        ctx.out(f"JobId={job.job_id}.{step.step_id}:\nHost:\n")
        if words[1] in job.nodes and words[1] in ctx.controller.job_table.nodes:
            ctx.out(f"{ctx.controller.job_table.nodes[words[1]].config.address:<15} {words[1]}\n")
        ctx.out("\n")
    return 0


def dampening(ctx: CommandContext, words: Words) -> int:
    """fsdampeningfactor N: accepted without effect, since usage does not decay."""
    if not words[0].isdecimal() or not int(words[0]):
        ctx.err(f"invalid dampening factor: {words[0]}")
        return 1
    return 0  # priority/basic, which this cluster emulates, ignores the factor


def token(ctx: CommandContext, words: Words) -> int:
    """token: refused, for lack of an AuthAltType with tokens."""
    for word in words:
        if not word.lower().startswith(("lifespan=", "username=")):
            ctx.err(f"Invalid option: `{word}`")
            return 1
    ctx.error("slurm_fetch_token: error with request: Requested operation is presently disabled")
    return 1


def callerid(ctx: CommandContext, words: Words) -> int:
    """callerid SOURCE PORT DESTINATION PORT [4|6]: refused. No slurmd tracks the owners of connections."""
    problem = _not_addresses(words)
    if problem:
        ctx.error(problem)
    else:
        ctx.err("slurm_network_callerid: unable to retrieve callerid data from remote slurmd")
    ctx.err("callerid failure: Unspecified error")
    return 1


def _not_addresses(words: Words) -> str:
    source, source_port, target, target_port, *rest = words
    if rest and not rest[0].isdecimal():
        return "Address family not an integer"
    if rest and rest[0] not in ("4", "6"):
        return f"Invalid address family: {rest[0]}"
    family = socket.AF_INET6 if rest == ["6"] else socket.AF_INET
    for text, port, start, side in (
        (source, source_port, "", "Source"), (target, target_port, "scontrol_callerid: ", "Destination")
    ):  # fmt: skip
        try:
            socket.inet_pton(family, text)
        except OSError:
            return f"{start}inet_pton failed for '{text}'"
        if not port.isdecimal():
            return f"{side} port not an integer"
    return ""


def running(ctx: CommandContext, words: Words) -> list[tuple[str, str]]:
    """Job and step ids of the steps on this machine or a node."""
    node = words[0] if words else None
    jobs = [ctx.controller.job_table.jobs[job_id] for job_id in sorted(ctx.controller.job_table.active)]
    return [
        (str(job.job_id), step.step_id)
        for job in jobs
        for step in job.steps.values()
        if not step.state.finished and (not node or node in step.nodes)
    ]


def listjobs(ctx: CommandContext, words: Words, steps: bool) -> int:
    """listjobs, liststeps [NODE]: print running jobs or steps. They run on this machine, or on one of its nodes."""
    rows = running(ctx, words)
    if not rows:
        ctx.err("No slurmstepd's found on this node")
        return 1
    if steps:
        ctx.out("".join("%-8s %-8s\n" % row for row in [("JOBID", "STEPID"), *rows]))
    else:
        ctx.out("".join(["JOBID\n", *("%-8s\n" % job for job in dict.fromkeys(job for job, _ in rows))]))
    return 0


def reconfigure(ctx: CommandContext) -> int:
    """reconfigure: restart the controller with the changed configuration.

    The restart happens only if the site file or scontrol changed the configuration. Running jobs continue.
    """
    from ...controller.daemon import read_site
    from ...site.record import SiteError

    try:
        changed = read_site(dict(ctx.controller.environment)) != ctx.controller.site
    except (SiteError, OSError, UnicodeError) as error:
        ctx.err("slurm_reconfigure error:Unable to process configuration file")
        ctx.error(str(error))
        return 1
    ctx.controller.triggers.reconfigured()
    if not changed and not ctx.controller.job_table.reconfigurable:
        return 0
    if ctx.controller.job_table.counters.threads > 1:
        ctx.err("slurm_reconfigure error:Resource temporarily unavailable")
        ctx.error("srun, salloc or another command waits for the controller: try again when it has its answer")
        return 1
    ctx.controller.job_table.forget_configuration()
    ctx.controller.stop()
    return 0


async def write_config(ctx: CommandContext, words: Words) -> int:
    """write config [FILE]: write the configuration as a slurm.conf. The time is appended to the file name."""
    clock = Clock(ctx.controller.clock())
    place = words[0] if words else str(ctx.controller.paths.home / "slurm.conf")
    name = f"{os.path.join(ctx.cwd, place)}.{clock.text(clock.now)}"
    text = "".join(line + "\n" for line in _slurm_conf(ctx, clock))
    try:
        await files.write(ctx, name, text.encode("utf-8", "surrogateescape"), 0o600)
    except OSError as error:
        ctx.error(f"Could not create file {name}: {error.strerror}")
        return 0
    ctx.out(f"Slurm config saved to {place}.{clock.text(clock.now)}\n")
    return 0


def _slurm_conf(ctx: CommandContext, clock: Clock) -> Iterator[str]:
    head = f"#  Configuration file for Slurm - {clock.text(clock.now)}  #"
    yield from ("#" * len(head), head, "#" * len(head), "#")
    cluster = ctx.controller.job_table.cluster
    values = {"SlurmctldHost[0]": ctx.controller.host, "StateSaveLocation": str(ctx.controller.paths.home)}
    for key, value in report_config.config_pairs(Report(clock, cluster), values).items():
        if key in ("BOOT_TIME", "NEXT_JOB_ID", "HASH_VAL", "SLURM_CONF", "SLURM_VERSION"):
            continue
        word = value.removesuffix(" sec").removesuffix(" min")
        yield f"#{key}=" if word in ("(null)", "") else f"{key.partition('[')[0]}={word}"
    yield from ("#", *map(_node_line, cluster.nodes), "#", *map(_partition_line, cluster.partitions))


def _node_line(node: NodeConfig) -> str:
    gres = ",".join(":".join(filter(None, (name, kind, str(count)))) for name, kind, count in node.gres)
    pairs = {
        "NodeName": node.name, "CPUs": node.cpus, "Boards": node.boards, "SocketsPerBoard": node.sockets,
        "CoresPerSocket": node.cores, "ThreadsPerCore": node.threads, "RealMemory": node.memory_mib,
        "TmpDisk": node.tmp_mib, "Weight": node.weight, "Feature": ",".join(node.features), "Gres": gres,
    }  # fmt: skip
    return " ".join(f"{key}={value}" for key, value in pairs.items() if value not in ("", 0))


def _partition_line(part: PartitionConfig) -> str:
    limit = "UNLIMITED" if part.max_time_min == INFINITE else format_minutes(part.max_time_min)
    default = " Default=YES" if part.default else ""
    return f"PartitionName={part.name} Nodes={','.join(part.nodes)}{default} MaxTime={limit} State={part.state.upper()}"
