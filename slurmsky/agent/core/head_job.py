"""A job on its head agent: start, time limit, signals and end."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Callable, Optional, Sequence

from ...model.allocation import Launch
from ...model.step import Step
from ...protocol.messages import (
    ComponentEnded,
    EndComponent,
    JobEvent,
    JobRequest,
    LimitJob,
    NodeEnds,
    NodeLost,
    NodeReleased,
    ResumeJob,
    ShrinkJob,
    SignalJob,
    Started,
    StepChanged,
    SuspendJob,
    TerminateJob,
)
from ..job.end_messages import CancelMessage, end_of_job
from ..job.journal import JobLog
from ..net.event_loop import Timer
from ..process import process_tree
from .batch import BatchScript

if TYPE_CHECKING:
    from ...language.signalspec import SignalSpec
    from ..steps.step_run import StepRun
    from .agent import Agent

#: seconds between two checks for processes left by an ending job
_SWEEP_S = 0.05
#: seconds before SIGKILL for the processes that a cancelled script leaves
_GRACE_S = 1.0
#: seconds between the loss of a node and the signals to the job's processes on the others
NODE_LOST_S = 0.5


class HeadJob:
    """A job on its head agent. It exists from launch until the controller acknowledges its last event."""

    def __init__(self, agent: Agent, launch: Launch, log: JobLog) -> None:
        self.agent = agent
        self.launch = launch
        self.job_id = launch.job_id
        self.run = launch.restart_count
        self.node = agent.node
        self.log = log
        self.began = log.began
        self.steps: dict[str, StepRun] = {}  # running steps
        self.waiting: list[Callable[[], None]] = []  # retries of srun calls that wait for the job's resources
        self.next_step = 0
        self.ended_components: dict[int, bool] = {}  # offset -> reported
        self.derived_exit = 0
        self.batch: Optional[BatchScript] = None
        self._cancel_message = CancelMessage(self.node, "JOB %d" % self.job_id, self._complain)
        self.cause = ""  # state in which the job is being terminated, "" while it runs
        self.ending = False
        self.ended = False
        self.suspended = False
        self.end_time: Optional[float] = None
        self._timers: list[Timer] = []
        self._signal_sent = False
        self._killing = False
        self._grace_until = 0.0
        self._sweeping: Optional[Timer] = None

    # --- start
    def start(self) -> None:
        """Run the batch script; without one, only hold the allocation."""
        launch = self.launch
        now = time.time()
        if launch.time_limit_s is not None:
            self.end_time = (launch.start_time or now) + launch.time_limit_s
        self._arm()
        if launch.script is None:
            self.emit(Started(time=now))
            return
        self.batch = BatchScript(self, now)
        self.batch.start()

    # --- events
    def emit(self, event: JobEvent) -> None:
        """Number, journal and send an event of this job."""
        self.log.add(event)
        self.agent.schedule_event(self, soon=not isinstance(event, Started))

    def emit_step(self, step: Step) -> None:
        """Send an event with a step's state."""
        self.emit(StepChanged(step=step))

    # --- time
    def set_end_time(self, end_time: Optional[float], step_id: str = "") -> None:
        """Set the time limit of the job or a step, in epoch seconds. None: no limit."""
        if step_id:
            if step_id in self.steps:
                self.steps[step_id].on_limit(end_time)
            return
        self.end_time = end_time
        self._arm()

    def _arm(self) -> None:
        if self.cause:
            return  # SIGKILL is due
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self.end_time is None or self.ending:
            return
        loop = self.agent.loop
        now = time.time()
        self._timers.append(loop.after(self.end_time - now, lambda: self.terminate("TIMEOUT", signal.SIGTERM)))
        warning = self._unsent_warning()
        if warning is not None:

            def warn() -> None:
                self._signal_sent = True
                self.signal(warning.signal, warning.recipient)

            self._timers.append(loop.after(self.end_time - warning.seconds - now, warn))

    # --- signals
    def signal(self, number: int, target: str) -> None:
        """Signal a part of the job.

        ``target``: "steps", "batch" (only the shell), "full" (all), or a step's id; "+1" at its end means a component.
        """
        now = time.time()
        target, _, offset = target.partition("+")
        owner = self.launch.het[int(offset)].job_id if offset else 0
        if target in self.steps and number == signal.SIGKILL:
            self.steps[target].cancel("CANCELLED", now, number, by=self.launch.uid, owner=owner)  # scancel JOB.STEP
            return
        steps = list(self.steps.values()) if target in ("steps", "full") else [self.steps.get(target)]
        for step in filter(None, steps):
            step.announce("", now, number, owner)
            step.signal(number, owner)
        if target in ("batch", "full"):
            self._cancel_message.send("", now, number)
            process_tree.send(self._shell() if target == "batch" else process_tree.tree(self._shell()), number)

    def _complain(self, text: str) -> None:
        if self.batch is not None and not self.batch.over:
            self.batch.complain(text)

    def terminate(self, state: str, number: int, kill_wait_s: Optional[int] = None) -> None:
        """End the job in ``state``: signal all, SIGKILL after kill_wait."""
        if self.ended:
            return
        if self.cause:
            if number == signal.SIGKILL:
                self._kill()
            return
        self.cause = state
        self._signal_all(state, number, kill_wait_s)

    def _signal_all(self, state: str, number: int, kill_wait_s: Optional[int] = None) -> None:
        """Signal script, steps and orphans; send SIGKILL after kill_wait."""
        now = time.time()
        wait = self.launch.kill_wait_s if kill_wait_s is None else kill_wait_s
        if state != "COMPLETED":
            self._cancel_message.send(state, now, number)
        for step in list(self.steps.values()):
            step.cancel(state, now)
        members = self.members()
        process_tree.send(members, signal.SIGCONT)
        process_tree.send(members, number)
        self.suspended = False
        if number == signal.SIGKILL or wait <= 0:
            self._kill()
        else:
            self._timers.append(self.agent.loop.after(wait, self._kill))
        if self.batch is not None:
            self.batch.abandon_start()
        if self.batch is None or self.batch.over:
            self._end_remaining()

    def _unsent_warning(self) -> Optional[SignalSpec]:
        """Return the request of --signal until its signal is sent."""
        from ...language import signalspec

        text = self.launch.spec.signal
        return signalspec.parse(text) if text and not self._signal_sent else None

    def node_lost(self, name: str) -> None:
        """End the job after the loss of a node; with --no-kill release the node.

        Nothing happens to a job whose script has ended. The state is NODE_FAIL at once. The signals follow NODE_LOST_S
        later: srun reports the failed node first.
        """
        if self.ending or self.cause:
            return
        if self.launch.spec.no_kill and not self.launch.het:
            self.shrink([share.name for share in self.launch.shares if share.name != name], failed=True)
            self.emit(NodeReleased(name=name))
            return
        self.cause = "NODE_FAIL"
        self._timers.append(self.agent.loop.after(NODE_LOST_S, lambda: self._signal_all("NODE_FAIL", signal.SIGTERM)))

    def node_ends(self, left_s: int) -> None:
        """End the job in NODE_FAIL within ``left_s``, because its node is reclaimed.

        The job gets the signal of --signal, and SIGTERM when KillWait is left; without --signal, SIGTERM now.

        Source: send_user_signal of PreemptParameters, which slurm.conf's manual describes.
        """
        warning = self._unsent_warning()
        if warning is None or self.cause or self.ending:
            self.terminate("NODE_FAIL", signal.SIGTERM, left_s)
            return
        self.cause, wait = "NODE_FAIL", min(self.launch.kill_wait_s, left_s)
        self.signal(warning.signal, warning.recipient)
        last = self.agent.loop.after(left_s - wait, lambda: self._signal_all("NODE_FAIL", signal.SIGTERM, wait))
        self._timers.append(last)

    def _kill(self) -> None:
        self._killing = True
        for step in list(self.steps.values()):
            step.kill()
        process_tree.send(self.members(), signal.SIGKILL)
        self._end_remaining()

    def suspend(self) -> None:
        """Stop all processes of the job with SIGSTOP."""
        self.suspended = True
        for step in list(self.steps.values()):
            step.signal(signal.SIGSTOP)
        process_tree.send(self.members(), signal.SIGSTOP)

    def resume(self) -> None:
        """Continue all processes of the job with SIGCONT."""
        self.suspended = False
        for step in list(self.steps.values()):
            step.signal(signal.SIGCONT)
        process_tree.send(self.members(), signal.SIGCONT)

    def members(self) -> list[int]:
        """Processes of this job here, except tasks of running steps."""
        return process_tree.tree(self._shell() + self._orphans())

    def _orphans(self) -> list[int]:
        """Processes that are no descendants of script or tasks."""
        return self.agent.orphans.of(self.job_id) + (
            self.batch.memory_group_members() if self.batch is not None else []
        )

    def _shell(self) -> list[int]:
        return self.batch.shell() if self.batch is not None else []

    def end_component(self, offset: int, kill_wait_s: int) -> None:
        """End the tasks of a component with SIGTERM, and SIGKILL after kill_wait. No later step runs on it."""
        if self.cause or offset in self.ended_components:
            return
        self.ended_components[offset] = False
        owner, now = self.launch.het[offset].job_id, time.time()
        for step in list(self.steps.values()):
            step.cancel("CANCELLED", now, owner=owner)
        self._timers.append(self.agent.loop.after(kill_wait_s, lambda: self._kill_component(owner)))
        self.report_ended_components()

    def _kill_component(self, owner: int) -> None:
        for step in list(self.steps.values()):
            step.signal(signal.SIGKILL, owner)

    def report_ended_components(self) -> None:
        """Report each component whose last task has ended, and release its nodes."""
        for offset, reported in self.ended_components.items():
            part = self.launch.het[offset]
            if reported or any(step.parts_of(part.job_id) for step in self.steps.values()):
                continue
            self.ended_components[offset] = True
            self.emit(ComponentEnded(component=offset, time=time.time()))
            others = [one for index, one in enumerate(self.launch.het) if index not in self.ended_components]
            used = {self.node, *(share.name for one in others for share in one.shares)}
            for share in part.shares:
                if share.name not in used:
                    self.agent.holds.release(self.job_id, share.address)
            self._wake_waiting()

    def shrink(self, nodes: Sequence[str], failed: bool = False) -> None:
        """Release other nodes: tasks there are killed. Later steps run on the remaining nodes."""
        gone = [share for share in self.launch.shares if share.name not in nodes]
        self.launch.shares = [share for share in self.launch.shares if share.name in nodes]
        for share in gone:
            for step in list(self.steps.values()):
                step.end_on_node(share.name, failed)
            self.agent.holds.release(self.job_id, share.address)
        self._wake_waiting()

    # --- end
    def batch_ended(self) -> None:
        """End the job after its batch script."""
        killed = self.batch is not None and self.batch.step.exit_signal == signal.SIGTERM
        if killed and not self.cause:
            # A teardown of the node sends SIGTERM to all processes; the script may end before the agent receives it.
            self.agent.loop.after(self.agent.teardown_s, self._end_remaining)
        else:
            self._end_remaining()

    def step_ended(self, step_id: str) -> None:
        """Remove an ended step, and retry the waiting srun calls."""
        self.steps.pop(step_id, None)
        self._wake_waiting()
        if self.ending:
            self._end_remaining()

    def _wake_waiting(self) -> None:
        waiting, self.waiting = self.waiting, []
        for again in waiting:
            self.agent.loop.soon(again)

    def _end_remaining(self) -> None:
        """End the rest of an ended job, then report the job's end."""
        if self.ended:
            return
        over = self.batch.over if self.batch is not None else bool(self.cause)
        if not over:
            return
        if not self.ending:
            self.ending = True
            self._wake_waiting()
            # Processes that the script leaves are killed at once. After a cancellation they were signalled with the
            # script, and the script's srun processes get _GRACE_S to report the ends of their tasks.
            self._grace_until = time.monotonic() + (_GRACE_S if self.cause else 0)
        left = self._orphans()
        if self._killing or (self.batch is not None and time.monotonic() >= self._grace_until):
            for step in list(self.steps.values()):
                step.kill()
            process_tree.send(process_tree.tree(left), signal.SIGKILL)
        if self.steps or left:
            if self._sweeping is None:
                self._sweeping = self.agent.loop.after(_SWEEP_S, self._sweep)
            return
        self._finish()

    def _sweep(self) -> None:
        self._sweeping = None
        self._end_remaining()

    def orphan_reaped(self) -> None:
        """Finish the job if the ended orphan was its last process."""
        if self.ending and not self.ended:
            self._end_remaining()

    def _finish(self) -> None:
        self.ended = True
        for timer in self._timers:
            timer.cancel()
        if self.batch is not None:
            self.batch.close()
        batch, now = self.batch.step if self.batch is not None else None, time.time()
        end = end_of_job(self.cause, batch, self.derived_exit).evolve(time=now, step=batch)
        if self.batch is not None and self.batch.fault:
            end = end.evolve(comment=self.batch.fault, began=False)
        follower = self.agent.take_follower(self, now)
        self.emit(end if follower is None else end.evolve(follower=follower.job_id))
        self.agent.job_ended(self)
        if follower is not None:
            self.agent.launch(follower)

    def handle_request(self, request: JobRequest) -> None:
        """Apply a request of the controller."""
        if isinstance(request, SignalJob):
            self.signal(request.signal, request.target)
        elif isinstance(request, TerminateJob):
            self.terminate(request.state, request.signal, request.kill_wait_s)
        elif isinstance(request, EndComponent):
            self.end_component(request.component, request.kill_wait_s)
        elif isinstance(request, SuspendJob):
            self.suspend()
        elif isinstance(request, ResumeJob):
            self.resume()
        elif isinstance(request, LimitJob):
            self.set_end_time(request.end_time, request.step)
        elif isinstance(request, ShrinkJob):
            self.shrink(request.nodes, request.failed)
        elif isinstance(request, NodeLost):
            self.node_lost(request.node)
        elif isinstance(request, NodeEnds):
            self.node_ends(request.left_s)

    def abandon(self) -> None:
        """End a replaced run without an "ended" event."""
        self.cause = self.cause or "NODE_FAIL"
        self.ended = True
        for timer in self._timers:
            timer.cancel()
        for step in list(self.steps.values()):
            step.kill()
        process_tree.send(self.members(), signal.SIGKILL)
        self.agent.job_ended(self)
