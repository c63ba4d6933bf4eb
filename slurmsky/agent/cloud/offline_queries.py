"""Answers queries about a cloud node's own jobs without a controller.

Nodes of most clouds cannot connect to the controller. The first node knows its own job or the elements of its array,
their steps, and the job's nodes; this module reports these with the controller's own functions. For any other query it
returns None, and the caller refuses the query as Slurm does while slurmctld does not respond.
"""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ...language import hostlist
from ...language.jobids import JobId
from ...language.syntax_errors import LanguageError
from ...model.allocation import NodeShare
from ...model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from ...model.job import Job, Node
from ...model.release import RELEASE
from ...model.states import JobState, NodeState
from ...options.usage_errors import CommandError
from ...protocol import wire
from ...report.json import data_parser
from ...report.report_context import ReportContext
from ...report.text.units import EXACT, KILO, Clock, Scale
from ..core.client_requests import parse_context
from .node_info import CloudNodeInfo

_ACTIVE = frozenset({"PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING"})
_JOB = re.compile(r"(\d+)(?:_(\d+))?")


class NotKnown(Exception):
    """The query concerns data that only the controller has."""


@dataclass(frozen=True)
class Reply:
    """Output of a command and its exit code."""

    code: int = 0
    out: str = ""
    err: str = ""


class OfflineQueries:
    """Answers queries from the records of this run.

    ``jobs``: the records of this run; ``nodes``: the nodes of the job.
    """

    def __init__(self, jobs: Callable[[], Sequence[Job]], nodes: Callable[[], Sequence[Node]], cluster: str) -> None:
        self._jobs = jobs
        self._nodes = nodes
        self._name = cluster

    def answer(self, request: wire.CommandRequest) -> Optional[Reply]:
        """Return the reply to a query; None: only the controller can answer."""
        handler = _HANDLERS.get(request.command)
        if handler is None:
            return None
        try:
            return handler(self, request)
        except NotKnown:
            return None
        except CommandError as error:
            return Reply(error.exit_code, error.stdout, "".join("%s\n" % line for line in error.lines))

    # --- known state

    def _cluster(self) -> ClusterConfig:
        nodes = self._nodes()
        names = tuple(node.config.name for node in nodes)
        partitions = tuple(PartitionConfig(name, nodes=names) for name in {job.partition: 0 for job in self._jobs()})
        return ClusterConfig(name=self._name, nodes=tuple(node.config for node in nodes), partitions=partitions)

    def _context(self, query: Any, scale: Scale = EXACT, expand: bool = False) -> ReportContext:
        clock = Clock(time.time(), None, query.time_format or "standard")
        return ReportContext(clock=clock, cluster=self._cluster(), scale=scale, bitstr_len=query.bitstr_len,
                       expand_patterns=expand)  # fmt: skip

    def _named(self, wanted: Iterable[JobId]) -> tuple[list[Job], bool]:
        """Return the records that ids (options.query.JobId) name.

        Also True if other nodes may run further elements of the array. Raises NotKnown for any other id.
        """
        found: list[Job] = []
        more = False
        for one in wanted:
            own = [
                job
                for job in self._jobs()
                if (
                    one.job_id in (job.job_id, job.array_job_id, job.het_job_id)
                    if one.task is None
                    else (one.job_id, one.task) == (job.array_job_id, job.array_task_id)
                )
            ]
            if not own:
                raise NotKnown
            more = more or (one.task is None and own[0].array_job_id == one.job_id)
            found += [job for job in own if job not in found]
        return found, more

    def _partial_note(self, request: wire.CommandRequest, what: str = "the job of this node is") -> str:
        """Return the line on stderr that marks an answer as partial."""
        return "%s: the controller cannot be reached from this node: only %s listed\n" % (request.command, what)

    # --- commands

    def _squeue(self, request: wire.CommandRequest) -> Reply:
        from ...options.query import parse_squeue
        from ...report.text import squeue_rows as report

        query = parse_squeue(request.args, parse_context(request))
        if query.helpformat or query.helpformat2 or query.helpstate or query.iterate or query.clusters:
            raise NotKnown
        jobs, more = self._named([*(query.jobs or ()), *map(_without_step, query.steps or ())])
        if not (query.jobs or query.steps):
            jobs, more = list(self._jobs()), True
        note = self._partial_note(request) if more else ""
        if not query.jobs and query.users is not None and not {os.geteuid()} & set(map(_uid, query.users)):
            raise NotKnown
        jobs = [job for job in jobs if _matches_filters(query, job)]
        context = self._context(query, Scale(None, not query.noconvert), query.expand_patterns)
        if query.json is not None or query.yaml is not None:
            return self._document(request, query, note, lambda form, about: form.jobs_document(
                jobs, about, context.now, context.cluster))  # fmt: skip
        try:
            if query.steps is not None:
                step_layout, unknown = report.step_layout(context, query.format, query.format2)
                rows = [row for row in report.step_rows(jobs) if not row.step.state.finished]
                wanted = {str(one.step) for one in query.steps or ()}
                rows = [row for row in rows if not wanted or row.step.step_id in wanted]
                text = report.squeue_steps_text(rows, step_layout, context, header=not query.noheader,
                                                sort=query.sort or report.STEP_SORT)  # fmt: skip
            else:
                letters, names = query.format, query.format2
                if letters is None and names is None:
                    names = report.LONG if query.long else report.DEFAULT
                layout, unknown = report.job_layout(context, letters, names)
                lines = list(report.job_rows(jobs, context, query.array, query.priority))
                text = report.squeue_text(lines, layout, context, header=not query.noheader, date_line=query.long,
                                          sort=query.sort or report.JOB_SORT, each=query.array)  # fmt: skip
        except report.InvalidSort as error:
            return Reply(1, "", "squeue: error: %s\n" % error)
        errors = "".join("squeue: error: Invalid job format specification: %s\n" % name.strip("\0") for name in unknown)
        return Reply(0, text, errors + note)

    def _sacct(self, request: wire.CommandRequest) -> Reply:
        from ...options.query import parse_sacct
        from ...report.text import sacct_rows as report
        from ...report.text.print_fields import InvalidField, TableStyle

        query = parse_sacct(request.args, parse_context(request))
        if query.batch_script or query.env_vars or query.helpformat or query.helpstate or query.helpreason:
            raise NotKnown
        jobs, more = self._named(map(_without_step, query.jobs or ()))
        if not query.jobs:
            jobs, more = list(self._jobs()), True
        jobs = [copy.copy(job) for job in jobs if job.start_time]
        note = self._partial_note(request) if more else ""
        unit = None if query.units is None else KILO + "KMGTP".index(query.units.upper())
        context = self._context(query, Scale(unit, not query.noconvert), query.expand_patterns)
        if query.json is not None or query.yaml is not None:
            return self._document(request, query, note, lambda form, about: form.accounting_document(
                jobs, about, context.now, context.cluster))  # fmt: skip
        text = query.format or (report.BRIEF if query.brief else report.LONG if query.long else report.DEFAULT)
        steps = {(one.job_id, str(one.step)) for one in query.jobs or () if one.step is not None}
        only = frozenset(job_id for job_id, _ in steps)
        for job in jobs:
            if job.job_id in only:
                job.steps = {name: step for name, step in job.steps.items() if (job.job_id, name) in steps}
        style = TableStyle(2 if query.parsable2 else 1 if query.parsable else 0,
                    "|" if query.delimiter is None else query.delimiter, header=not query.noheader)  # fmt: skip
        try:
            columns = report.sacct_columns(text, context)
        except InvalidField as error:
            return Reply(1, "", "sacct: error: %s\n" % error)
        pieces = report.sacct_pieces(jobs, columns, context, style, query.allocations, query.array, only)
        return Reply(0, "".join(pieces), note)

    def _sinfo(self, request: wire.CommandRequest) -> Reply:
        from ...options.query import parse_sinfo
        from ...report.text import sinfo_rows as report

        query = parse_sinfo(request.args, parse_context(request))
        if (
            query.helpformat or query.helpformat2 or query.helpstate or query.reservation or query.clusters
            or query.iterate or query.json is not None or query.yaml is not None or query.states is not None
        ):  # fmt: skip
            raise NotKnown
        nodes = list(self._nodes())
        if query.nodelist is not None:
            nodes = self._nodes_named(query.nodelist)
        context = self._context(query, Scale(None, not query.noconvert))
        options = report.Options(
            letters=query.format, names=query.format2, long=query.long, summarize=query.summarize,
            by_node=query.node, reasons=query.list_reasons, exact=query.exact, header=not query.noheader,
            sort=query.sort, partitions=query.partitions,
        )  # fmt: skip
        text, unknown = report.sinfo_text(nodes, context.cluster.partitions, options, context)
        word = "job" if query.format2 is not None else "node"
        errors = "".join("Invalid %s format specification: %s\n" % (word, name) for name in unknown)
        note = "" if query.nodelist is not None else self._partial_note(request, "the nodes of this job are")
        return Reply(0, text, errors + note)

    def _scontrol(self, request: wire.CommandRequest) -> Reply:
        from ...options.query import parse_scontrol
        from ...report.text import show_job, show_nodes

        query = parse_scontrol(request.args, parse_context(request))
        words = list(query.words)
        if not 2 <= len(words) <= 3 or words[0].lower() not in ("show", "sh", "list"):
            raise NotKnown
        entity, equals, value = words[1].partition("=")
        value = value if equals else (words[2] if len(words) > 2 else "")
        jobs, more = None, not value
        if len(entity) >= 1 and any(name.startswith(entity.lower()) for name in ("jobs", "jobid")):
            jobs, more = self._named(self._job_ids(value)) if value else (list(self._jobs()), True)
        elif not (len(entity) >= 1 and "nodes".startswith(entity.lower())):
            raise NotKnown
        context = self._context(query)
        what = "the job of this node is" if jobs is not None else "the nodes of this job are"
        note = self._partial_note(request, what) if more else ""
        if jobs is not None:
            if query.json is not None or query.yaml is not None:
                return self._document(request, query, note, lambda form, about: form.jobs_document(
                    jobs, about, context.now, context.cluster))  # fmt: skip
            return Reply(
                0, "".join(show_job.show_jobs(jobs, context, detail=query.details, oneliner=query.oneliner)), note
            )
        nodes = self._nodes_named(value) if value else list(self._nodes())
        if query.json is not None or query.yaml is not None:
            return self._document(request, query, note, lambda form, about: form.nodes_document(
                nodes, about, context.now, context.cluster))  # fmt: skip
        text = map(show_nodes.node_text(context, detail=query.details, oneliner=query.oneliner), nodes)
        return Reply(0, "".join(text), note)

    @staticmethod
    def _job_ids(text: str) -> list[JobId]:
        match = _JOB.fullmatch(text)
        if match is None:
            raise NotKnown
        return [JobId(int(match[1]), None if match[2] is None else int(match[2]))]

    def _nodes_named(self, text: str) -> list[Node]:
        known = {node.config.name: node for node in self._nodes()}
        try:
            return [known[name] for name in hostlist.expand(text)]
        except (KeyError, LanguageError):
            raise NotKnown from None

    def _document(self, request: wire.CommandRequest, query: Any, note: str, make: Callable[[Any, Any], Any]) -> Reply:
        from ...report.json import documents as structured

        name = "SLURM_JSON" if query.yaml is None else "SLURM_YAML"
        try:
            style = data_parser.style(request.env.get(name))
            form = data_parser.parse_form((query.json if query.yaml is None else query.yaml) or "",
                                      query.yaml is not None, style)  # fmt: skip
        except (data_parser.BadForm, ValueError):
            raise NotKnown from None  # the controller reports the error
        about = structured.meta(request.command, list(request.args), self._name, plugin=form.plugin)
        return Reply(0, "".join(structured.dump(make(structured, about), form)), note)


_HANDLERS: dict[str, Callable[[OfflineQueries, wire.CommandRequest], Reply]] = {
    "squeue": OfflineQueries._squeue,
    "sacct": OfflineQueries._sacct,
    "sinfo": OfflineQueries._sinfo,
    "scontrol": OfflineQueries._scontrol,
}


def _without_step(one: JobId) -> JobId:
    return JobId(one.job_id, one.task)


def _uid(name: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isdecimal() else -1


def _matches_filters(query: Any, job: Job) -> bool:
    """Apply squeue's filters to a job."""
    states = set(query.states or ())
    if query.steps is None and "all" not in states:
        wanted = states or _ACTIVE
        flags = {flag.name for flag in type(job.flags) if flag and flag in job.flags}
        if not ({job.state.name} | flags) & wanted:
            return False
    for names, value in ((query.names, job.name), (query.accounts, job.account), (query.qos, job.qos)):
        if names is not None and value.lower() not in {name.lower() for name in names}:
            return False
    if query.partitions is not None and job.partition not in query.partitions:
        return False
    if query.nodelist is not None:
        try:
            return bool(set(hostlist.expand(query.nodelist)) & set(job.nodes))
        except LanguageError:
            return False
    return not query.notme


def node_record(share: NodeShare, info: CloudNodeInfo, partition: str) -> Node:
    """Return a node's record, with the job's resources there."""
    cpus = info.cpus
    gres = tuple((kind.partition(":")[0], kind.partition(":")[2], len(ids)) for kind, ids in share.gres.items())
    config = NodeConfig(share.name, address=info.ip, host_name=info.host, cpus=cpus, cores=cpus,
                        memory_mib=info.memory_mib, gres=gres, arch=info.arch,
                        os=info.os)  # fmt: skip
    whole = len(share.cpu_ids) >= cpus
    return Node(config, NodeState.ALLOCATED if whole else NodeState.MIXED, alloc_cpus=len(share.cpu_ids),
                alloc_memory_mib=share.memory_mib, alloc_gres={kind: len(ids) for kind, ids in share.gres.items()},
                alloc_gres_ids=dict(share.gres), version=RELEASE, partitions=(partition,))  # fmt: skip


def begin(job: Job, shares: list[NodeShare], now: float) -> None:
    """Set a job's record to running on ``shares``."""
    job.state, job.reason, job.reason_desc, job.awaits_nodes = JobState.RUNNING, "None", "", False
    job.start_time, job.shares = now, shares
    job.num_nodes, job.num_cpus = len(shares), sum(share.cpus for share in shares)
    job.batch_host = shares[0].name if shares else ""
    if job.time_limit_min is not None and job.time_limit_min < 2**32 - 1:
        job.end_time = now + job.time_limit_min * 60
