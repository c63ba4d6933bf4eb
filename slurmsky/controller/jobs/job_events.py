"""Applies the events that agents and engines report.

Each event changes a job's record; the service's flush commits it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...engines.base import background
from ...model.job import Job, Step
from ...model.states import JobFlag, JobState
from ...protocol.messages import (
    PRESENT_RUN,
    ComponentEnded,
    Configured,
    Ended,
    EngineState,
    Event,
    FollowersDropped,
    JobEvent,
    JobReachable,
    ManagedJobNamed,
    Missing,
    NodeDown,
    NodeDrain,
    NodeReleased,
    NodeStatus,
    NodeUp,
    Started,
    StepChanged,
    Waiting,
)
from . import transitions
from .followers import ArrayFollowers
from .job_table import JobTable, holds_allocation
from .lifecycle import LifeCycle
from .node_health import NodeHealth

_MANAGED = "SkyPilot managed job"


class Events:
    """Applies events to the job table."""

    def __init__(self, job_table: JobTable, life: LifeCycle, followers: ArrayFollowers) -> None:
        self.followers = followers
        self.job_table = job_table
        self.life = life
        self.health = NodeHealth(job_table, life.node_changed)
        self._uncommitted: set[int] = set()  # jobs whose first step is in memory only

    def apply_event(self, event: Event) -> None:
        """Apply one event; ignore events of ended runs."""
        if isinstance(event, JobEvent):
            job = self.job_table.jobs.get(event.job_id)
            if job is not None and event.run in (job.restarts, PRESENT_RUN):  # else an ended run's event
                handler = _HANDLERS.get(type(event))
                if handler is not None:
                    handler(self, job, event)
        elif isinstance(event, NodeStatus):
            self._node_status(event)
        elif isinstance(event, NodeDown):
            self.health.down(event.node, event.reason)
        elif isinstance(event, NodeDrain):
            self.health.drain(event.node, event.reason)
        elif isinstance(event, NodeUp):
            self.health.up(event.node)
        elif isinstance(event, FollowersDropped):
            self.followers.dropped(event.node)

    def _reachable(self, job: Job, event: JobReachable) -> None:
        self.life.wake_waiting_commands(job)

    def _started(self, job: Job, event: Started) -> None:
        if event.nodes:
            self._record_nodes(job, event)
        if job.awaits_nodes:
            self._running(job, event.time or self.job_table.clock())
        elif JobFlag.CONFIGURING in job.flags:
            self._configured(job, event)
        if event.step is not None:
            # The step stays in memory only if nothing else has to be committed. The event is acknowledged after the
            # job's next event, whose commit includes the step.
            job.steps.setdefault(event.step.step_id, event.step)
            if event.nodes:
                self.job_table.touch_step(job, event.step)
            else:
                self._uncommitted.add(job.job_id)

    def _configured(self, job: Job, event: Configured | Started) -> None:
        """Begin the run time of a CONFIGURING job, whose nodes are up."""
        if JobFlag.CONFIGURING not in job.flags:
            return
        since = event.time or self.job_table.clock()
        for part in self.job_table.unfinished_components(job):
            transitions.nodes_ready(part, since)
            part.system_comment = ""
            self.job_table.touch(part)
            self.life.wake_waiting_commands(part)
        self.life.mailer.watch_limit(job)

    def _waiting(self, job: Job, event: Waiting) -> None:
        """Record what delays the nodes of a job."""
        if JobFlag.CONFIGURING in job.flags and job.system_comment != event.comment:
            job.system_comment = event.comment
            self.job_table.touch(job)

    def _managed(self, job: Job, event: ManagedJobNamed) -> None:
        for part in self.job_table.components(job):
            part.managed_job_id = event.managed_job_id
            managed_job = f"{_MANAGED} {part.managed_job_id} ({event.name})"
            part.system_comment = "; ".join(filter(None, (managed_job, event.note)))
            self.job_table.touch(part)

    def _missing(self, job: Job, event: Missing) -> None:
        """Launch a job again that its node does not know."""
        if job.state.active or job.awaits_nodes:
            background(self.life.launch(job))
        elif JobFlag.COMPLETING in job.flags:
            self._ended(job, Ended(job_id=job.job_id, state=job.state.name))  # cancelled before it arrived

    def _running(self, job: Job, since: float) -> None:
        """Set a job running: its nodes are up and its script has begun."""
        for part in self.job_table.components(job):
            transitions.run(part, since)
            if part.managed_job_id and not part.system_comment.startswith(_MANAGED):
                part.system_comment = f"{_MANAGED} {part.managed_job_id}"  # the launch is complete
            self.job_table.touch(part)
            self.life.wake_waiting_commands(part)
        self.life.mailer.watch_limit(job)
        self.life.mailer.notify("BEGIN", job)

    def _engine_state(self, job: Job, event: EngineState) -> None:
        """Apply the progress that an engine reports."""
        if job.state.finished:
            return
        for part in self.job_table.components(job):
            self._engine_state_of(part, event)
        if event.state == "REQUEUED":
            self.life.mailer.notify("REQUEUE", job)

    def _engine_state_of(self, job: Job, event: EngineState) -> None:
        job.system_comment = event.comment or job.system_comment
        job.managed_job_id = event.managed_job_id or job.managed_job_id
        if event.state == "REQUEUED":
            restarts = job.restarts + 1 if event.restarts is None else event.restarts
            self._restarted_by_engine(job, restarts, event.reason or "NodeDown")
        elif event.state == "CONFIGURING" and job.awaits_nodes:
            transitions.configure(job, self.job_table.clock())
        elif job.awaits_nodes:
            transitions.back_to_pending(job, event.reason or "Resources", event.desc)
        self.job_table.touch(job)
        self.life.wake_waiting_commands(job)

    def _restarted_by_engine(self, job: Job, restarts: int, reason: str) -> None:
        """Restart the job's record after the engine lost the nodes. The engine restarts the job itself."""
        self.job_table.supersede(transitions.lost_run(job, self.job_table.clock()))
        transitions.restart_on_new_nodes(job, restarts, reason)

    def _record_nodes(self, job: Job, event: Started) -> None:
        """Record the nodes that an engine created for a job."""
        parts = self.job_table.components(job)
        shares = [share for part in parts for share in part.shares]
        for share, node in zip(shares, event.nodes, strict=False):
            share.name, share.address = node
        for part in parts:
            part.batch_host = part.shares[0].name
            self.job_table.touch(part)

    def _step_changed(self, job: Job, event: StepChanged) -> None:
        self._step(job, event.step)

    def _step(self, job: Job, step: Step) -> None:
        if job.job_id in self._uncommitted:
            self._uncommitted.discard(job.job_id)
            for begun in job.steps.values():
                self.job_table.touch_step(job, begun)
        # The agent of a het job's leader reports the steps of all components.
        job = self.job_table.jobs.get(step.job_id, job) if job.het_job_id else job
        job.steps[step.step_id] = step
        if step.state.finished and step.step_id not in ("batch", "extern"):
            transitions.note_step_end(job, step.exit_code, step.exit_signal)
        self.job_table.touch_step(job, step)
        self.job_table.touch(job)
        self.life.wake_waiting_commands(job)

    def _node_status(self, event: NodeStatus) -> None:
        node = self.job_table.nodes.get(event.node)
        if node is not None:
            node.load = node.load if event.load is None else event.load
            node.free_mib = node.free_mib if event.free_mib is None else event.free_mib

    def _ended(self, job: Job, event: Ended) -> None:
        held, shares = holds_allocation(job), job.shares
        self._run_ended(job, event)
        if event.follower and held:  # else a repeated report
            self.followers.start_follower(event.follower, job, list(shares), event.time or self.job_table.clock())

    def _run_ended(self, job: Job, event: Ended) -> None:
        if not (job.state.active or job.awaits_nodes or JobFlag.COMPLETING in job.flags):
            return  # a repeated report: only the first counts
        self._uncommitted.discard(job.job_id)
        if event.step is not None:
            self._step(job, event.step)
        state, exit_code, exit_signal = event.state, event.exit_code, event.exit_signal
        if (state == "REQUEUED" or job.flags & transitions.REQUEUE_REQUESTED) and job.state is not JobState.CANCELLED:
            self.life.run_again(job, job.state)
            return
        if state == "NODE_FAIL" and job.spec.requeue and not job.state.finished:
            transitions.fail_node(job, event.node)
            self.life.run_again(job, JobState.NODE_FAIL)
            return
        final = job.state if job.state.finished else JobState[state]
        if final in (JobState.FAILED, JobState.OUT_OF_MEMORY) and not job.is_batch and not exit_code:
            exit_code, exit_signal = job.exit_code, job.exit_signal  # recorded when salloc or srun released the nodes
        self.life.end(job, final, exit_code, exit_signal, event.reason, event.time, event.comment, event.began)

    def _node_released(self, job: Job, event: NodeReleased) -> None:
        self.life.release_failed_node(job, event.name)

    def _component_ended(self, job: Job, event: ComponentEnded) -> None:
        part = next(part for part in self.job_table.components(job) if part.het_offset == event.component)
        if JobFlag.COMPLETING in part.flags:
            self.life.end(part, part.state, 0, 0, at=event.time)


_HANDLERS: dict[type[JobEvent], Callable[[Events, Job, Any], None]] = {
    Missing: Events._missing,
    JobReachable: Events._reachable,
    Configured: Events._configured,
    Waiting: Events._waiting,
    StepChanged: Events._step_changed,
    Started: Events._started,
    EngineState: Events._engine_state,
    ManagedJobNamed: Events._managed,
    Ended: Events._ended,
    ComponentEnded: Events._component_ended,
    NodeReleased: Events._node_released,
}
