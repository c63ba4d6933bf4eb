"""Applies the events that agents and engines report: each changes a job's record; the service's flush commits it."""

from __future__ import annotations

from collections.abc import Callable

from ...engines.base import Event, background
from ...model.job import Job
from ...model.states import JobFlag, JobState
from ..store.record_codec import step_from_dict
from . import transitions
from .job_table import JobTable
from .lifecycle import LifeCycle
from .node_health import NodeHealth

_MANAGED = "SkyPilot managed job"


class Events:
    """The receiver of events."""

    def __init__(self, book: JobTable, life: LifeCycle) -> None:
        self.book = book
        self.life = life
        self.health = NodeHealth(book, life.node_changed)
        self._told: set[int] = set()  # jobs whose first step is in memory only

    def take(self, event: Event) -> None:
        """Apply one event of an agent or an engine; events of ended runs are ignored."""
        kind = str(event.get("ev"))
        if kind == "node":
            self._node_facts(event)
            return
        if kind == "node_down":
            self.health.down(str(event["node"]), str(event["reason"]))
            return
        if kind == "node_drain":
            self.health.drain(str(event["node"]), str(event["reason"]))
            return
        if kind == "node_up":
            self.health.up(str(event["node"]))
            return
        job = self.book.jobs.get(int(event.get("job_id", 0)))
        if job is None or event.get("run", job.restarts) != job.restarts:
            return  # of a run whose end is already known
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, job, event)

    def _here(self, job: Job, event: Event) -> None:
        self.life.changed(job)

    def _started(self, job: Job, event: Event) -> None:
        if event.get("nodes"):
            self._real_nodes(job, event)
        if job.launched:
            self._running(job, float(event.get("time") or self.book.clock()))
        elif JobFlag.CONFIGURING in job.flags:
            self._configured(job, event)
        if event.get("step"):
            # Kept in memory only where nothing else has to be committed: the event is not acknowledged before the
            # job's next event, with which the step is committed.
            step = step_from_dict(event["step"])
            job.steps.setdefault(step.step_id, step)
            if event.get("nodes"):
                self.book.touch_step(job, step)
            else:
                self._told.add(job.job_id)

    def _configured(self, job: Job, event: Event) -> None:
        """The nodes of a CONFIGURING job are up: its run time starts now."""
        if JobFlag.CONFIGURING not in job.flags:
            return
        since = float(event.get("time") or self.book.clock())
        for part in self.book.components(job):
            transitions.nodes_ready(part, since)
            part.system_comment = ""
            self.book.touch(part)
            self.life.changed(part)
        self.life.mailer.watch_limit(job)

    def _waiting(self, job: Job, event: Event) -> None:
        """Record what delays the nodes of a job."""
        comment = str(event["comment"])
        if JobFlag.CONFIGURING in job.flags and job.system_comment != comment:
            job.system_comment = comment
            self.book.touch(job)

    def _managed(self, job: Job, event: Event) -> None:
        for part in self.book.components(job):
            part.managed_job_id = int(event["managed_job_id"])
            said = f"{_MANAGED} {part.managed_job_id} ({event['name']})"
            part.system_comment = "; ".join(filter(None, (said, str(event.get("note") or ""))))
            self.book.touch(part)

    def _missing(self, job: Job, event: Event) -> None:
        """The job's node does not know the job: the launch was lost with its sender or its receiver."""
        if job.state.active or job.launched:
            background(self.life.launch(job))
        elif JobFlag.COMPLETING in job.flags:
            self._ended(job, {"state": job.state.name})  # cancelled before it arrived

    def _running(self, job: Job, since: float) -> None:
        """The nodes of a launched job are up and its script has begun."""
        for part in self.book.components(job):
            transitions.run(part, since)
            if part.managed_job_id and not part.system_comment.startswith(_MANAGED):
                part.system_comment = f"{_MANAGED} {part.managed_job_id}"  # its launch is complete
            self.book.touch(part)
            self.life.changed(part)
        self.life.mailer.watch_limit(job)
        self.life.mailer.tell("BEGIN", job)

    def _engine_state(self, job: Job, event: Event) -> None:
        """An engine that makes nodes on demand reports its progress."""
        if job.state.finished:
            return
        for part in self.book.components(job):
            self._engine_state_of(part, event)
        if event.get("state") == "REQUEUED":
            self.life.mailer.tell("REQUEUE", job)

    def _engine_state_of(self, job: Job, event: Event) -> None:
        word = str(event.get("state", "PENDING"))
        job.system_comment = str(event.get("comment") or job.system_comment)
        if event.get("managed_job_id"):
            job.managed_job_id = int(event["managed_job_id"])
        if word == "REQUEUED":
            self._started_over(job, int(event.get("restarts", job.restarts + 1)), str(event.get("reason", "NodeDown")))
        elif word == "CONFIGURING" and job.launched:
            transitions.configure(job, self.book.clock())
        elif job.launched:
            transitions.back_to_pending(job, str(event.get("reason", "Resources")), str(event.get("desc", "")))
        self.book.touch(job)
        self.life.changed(job)

    def _started_over(self, job: Job, restarts: int, reason: str) -> None:
        """The engine lost the nodes and starts the job again automatically."""
        self.book.supersede(transitions.lost_run(job, self.book.clock()))
        transitions.start_over(job, restarts, reason)

    def _real_nodes(self, job: Job, event: Event) -> None:
        """An engine without fixed nodes reports the nodes of a job."""
        parts = self.book.components(job)
        shares = [share for part in parts for share in part.shares]
        for share, node in zip(shares, event["nodes"], strict=False):
            share.name, share.address = node["name"], node.get("address", "")
        for part in parts:
            part.batch_host = part.shares[0].name
            self.book.touch(part)

    def _step(self, job: Job, event: Event) -> None:
        step = step_from_dict(event["step"])
        if job.job_id in self._told:
            self._told.discard(job.job_id)
            for begun in job.steps.values():
                self.book.touch_step(job, begun)
        # The agent of a het job's leader reports the steps of all components.
        job = self.book.jobs.get(step.job_id, job) if job.het_job_id else job
        job.steps[step.step_id] = step
        if step.state.finished and step.step_id not in ("batch", "extern"):
            transitions.note_step_end(job, step.exit_code)
        self.book.touch_step(job, step)
        self.book.touch(job)
        self.life.changed(job)

    def _node_facts(self, event: Event) -> None:
        node = self.book.nodes.get(str(event.get("node", "")))
        if node is not None:
            node.load = float(event.get("load", node.load))
            node.free_mib = int(event.get("free_mib", node.free_mib))
            node.boot_time = float(event.get("boot_time", node.boot_time))
            node.agent_start_time = float(event.get("start_time", node.agent_start_time))

    def _ended(self, job: Job, event: Event) -> None:
        if not (job.state.active or job.launched or JobFlag.COMPLETING in job.flags):
            return  # a repeated report: only the first counts
        self._told.discard(job.job_id)
        if event.get("step"):
            self._step(job, event)
        state = str(event.get("state", "FAILED"))
        exit_code, exit_signal = int(event.get("exit_code", 0)), int(event.get("exit_signal", 0))
        reason = event.get("reason")
        if (state == "REQUEUED" or job.flags & transitions.REQUEUE_REQUESTED) and job.state is not JobState.CANCELLED:
            self.life.run_again(job, job.state)
            return
        if state == "NODE_FAIL" and job.spec.requeue and not job.state.finished:
            transitions.fail_node(job, str(event.get("node", "")))
            self.life.run_again(job, JobState.NODE_FAIL)
            return
        final = job.state if job.state.finished else JobState[state]
        if final is JobState.FAILED and not job.is_batch and not exit_code:
            exit_code, exit_signal = job.exit_code, job.exit_signal  # recorded when salloc or srun released the nodes
        comment, began = str(event.get("comment") or ""), bool(event.get("began", True))
        self.life.end(
            job, final, exit_code, exit_signal, reason=reason, at=event.get("time"), comment=comment, began=began
        )


_HANDLERS: dict[str, Callable[[Events, Job, Event], None]] = {
    "missing": Events._missing,
    "here": Events._here,
    "configured": Events._configured,
    "waiting": Events._waiting,
    "step": Events._step,
    "started": Events._started,
    "state": Events._engine_state,
    "managed": Events._managed,
    "ended": Events._ended,
}
