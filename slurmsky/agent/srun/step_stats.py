"""Serves sstat: current usage of running steps on this node."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable

from ... import paths
from ...protocol import wire
from ..core.client_requests import address_for_job, end_session, parse_context, relay
from ..net.channel import Channel
from ..process import process_tree
from ..process.process_usage import TaskUsage, combine

if TYPE_CHECKING:
    from ..core.agent import Agent
    from ..core.head_job import HeadJob

#: set if the controller requests one of several jobs or steps, so that the header is already printed
ONE_STEP = paths.ONE_STEP
#: seconds until another node must have answered
_ANSWER_S = 5.0


def serve_sstat(agent: Agent, channel: Channel, request: wire.CommandRequest, payload: bytes) -> None:
    """Serve one sstat request."""
    from ...options.ids import step_or_job
    from ...options.query import parse_sstat
    from ...options.usage_errors import CommandError

    try:
        query = parse_sstat(request.args, parse_context(request))
    except CommandError as error:
        end_session(channel, error.exit_code, "".join(line + "\n" for line in error.lines), error.stdout)
        return
    one = request.env.get(ONE_STEP)
    if one:
        query = replace(query, jobs=step_or_job("sstat", one), noheader=True)
    if len(query.jobs) == 1 and query.jobs[0].job_id not in agent.jobs:
        address = address_for_job(agent, query.jobs[0].job_id)
        if address:
            relay(agent, channel, payload, address, "sstat")
            return
    _Sstat(agent, channel, query).begin()


class _Sstat:
    def __init__(self, agent: Agent, channel: Channel, query: Any) -> None:
        self.agent = agent
        self.channel = channel
        self.query = query
        self.errors: list[str] = []
        self.rows: list[Any] = []
        self._waiting = 0
        self._done = False

    def begin(self) -> None:
        """Query every node of every step, then print."""
        self._waiting += 1  # nodes of this machine answer at once: print only after the last query
        for wanted in self.query.jobs:
            job = self.agent.jobs.get(wanted.job_id)
            if job is None or job.ended:
                self.errors.append("sstat: error: couldn't get steps for JobId=%d\n" % wanted.job_id)
                continue
            names = self._steps(job, wanted.step)
            if not names and wanted.step is not None:
                self.errors.append("sstat: error: StepId=%d.%s not found running.\n" % (job.job_id, wanted.step))
            for name in names:
                self._query(job, name)
        self.agent.loop.after(_ANSWER_S, self._print)
        self._waiting -= 1
        self._check()

    def _steps(self, job: HeadJob, step: Any) -> list[str]:
        running = (["batch"] if job.batch is not None and not job.batch.over else []) + sorted(job.steps, key=int)
        if step is not None:
            return [str(step)] if str(step) in running else []
        if self.query.allsteps:
            return running
        # Without a step: the first numbered one.
        return [name for name in running if name != "batch"][:1]

    def _query(self, job: HeadJob, name: str) -> None:
        place = len(self.rows)
        self.rows.append(None)
        if name == "batch":
            assert job.batch is not None
            usage = copy.copy(self.agent.sampler.sample(job.batch.pid))
            step = copy.copy(job.batch.step)
            step.usage = combine([(0, job.node, usage)])
            self.rows[place] = (job, step, [(job.node, process_tree.tree([job.batch.pid]))])
            return
        run = job.steps[name]
        found: list[tuple[int, str, TaskUsage]] = list(run.usage)
        pids: list[tuple[str, list[int]]] = []
        left = [len(run.parts)]

        def answer(part: Any) -> Callable[[dict[int, list[float]]], None]:
            def got(usages: dict[int, list[float]]) -> None:
                found.extend((rank, part.name, TaskUsage.from_list(values)) for rank, values in usages.items())
                left[0] -= 1
                if left[0] == 0:
                    step = copy.copy(run.record)
                    step.usage = combine(found)
                    for index, share in enumerate(run.shape.shares):
                        pids.append(
                            (
                                share.name,
                                [run.pids[rank] for rank in run.shape.ranks[index] if rank in run.pids],
                            )
                        )
                    self.rows[place] = (job, step, pids)
                    self._waiting -= 1
                    self._check()

            return got

        self._waiting += 1
        for part in run.parts:
            if part.ended:
                answer(part)({})
            else:
                part.read_usage(answer(part))

    def _check(self) -> None:
        if self._waiting == 0:
            self._print()

    def _print(self) -> None:
        if self._done:
            return
        self._done = True
        from ...model.job import Job as Record
        from ...report.report_context import ReportContext
        from ...report.text.print_fields import InvalidField, TableStyle
        from ...report.text.sstat_rows import DEFAULT, PIDS, RunningStep, sstat_columns, sstat_text
        from ...report.text.units import Clock, Scale

        query = self.query
        context = ReportContext(clock=Clock(time.time()), scale=Scale(convert=not query.noconvert))
        try:
            columns = sstat_columns(query.format or (PIDS if query.pidformat else DEFAULT), context)
        except InvalidField as error:
            end_session(self.channel, 1, "sstat: error: %s\n" % error)
            return
        lines = []
        for row in self.rows:
            if row is None:
                continue
            job, step, pids = row
            launch = job.launch
            record = Record(
                job_id=job.job_id,
                spec=launch.spec,
                name=launch.name,
                user=launch.user,
                uid=launch.uid,
                gid=launch.gid,
                group=launch.group,
                account=launch.account,
                partition=launch.partition,
            )
            if query.pidformat:
                lines += [RunningStep(record, step, tuple(here), (node,)) for node, here in pids]
            else:
                lines.append(RunningStep(record, step, tuple(pid for _, here in pids for pid in here)))
        style = TableStyle(parsable=2 if query.parsable2 else 1 if query.parsable else 0, header=not query.noheader)
        end_session(self.channel, 0, "".join(self.errors), sstat_text(lines, columns, style))
