"""Rules that end a step: signals, -K, -W and the time limit."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Callable, Optional

from ...model.spec import INFINITE
from ...model.step_spec import StepSpec
from .task_exits import GATHER_S, Exits, states

if TYPE_CHECKING:
    from ..core.head_job import HeadJob
    from ..net.event_loop import Loop, Timer
    from ..steps.step_run import StepRun

#: seconds beyond KillWait for which srun waits for tasks after a cancel
_ABORT_MARGIN_S = 2


class Termination:
    """Cancels the step by srun's rules, and prints srun's messages."""

    def __init__(
        self,
        job: HeadJob,
        run: StepRun,
        spec: StepSpec,
        ntasks: int,
        exits: Exits,
        loop: Loop,
        say: Callable[[str], None],
    ) -> None:
        self._run = run
        self._spec = spec
        self._ntasks = ntasks
        self._exits = exits
        self._loop = loop
        self._say = say
        self._step_name = "%d.%s" % (job.job_id, run.step_id)
        self._kill_wait_s = job.launch.kill_wait_s
        self._first_exit = 0.0
        self._interrupted_at = 0.0
        self._over = False
        self._terminating = False
        self._bad_exit = self._bad_exit_reported = False
        self._killed_by_wait = False
        self._cancelled = False
        self._timers: list[Timer] = []
        self._limit_timer: Optional[Timer] = None

    @property
    def reported(self) -> bool:
        """True if a message about the end of the step was printed."""
        return self._killed_by_wait or self._cancelled

    def signal(self, number: int) -> None:
        """Apply a signal that srun has received.

        End the step, print a line, or forward the signal to the tasks. Source: srun_job.c _srun_signal_mgr.
        """
        if number == signal.SIGINT:
            self._interrupt()
        elif number == signal.SIGCONT:
            self._say("srun: got SIGCONT\n")
        elif number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            if number == signal.SIGQUIT:
                self._say("srun: Quit\n")
            self._abort()
        else:
            self._run.signal(number)

    def _interrupt(self) -> None:
        now = time.monotonic()
        if self._spec.quit_on_interrupt or (self._interrupted_at and now - self._interrupted_at <= 1.0):
            if not self._terminating:
                self._forward_interrupt()
                self._abort()
            return
        self._interrupted_at = now
        if self._spec.disable_status:
            self._forward_interrupt()
            return
        self._say("srun: interrupt (one more within 1 sec to abort)\n")
        self._print_states()

    def _forward_interrupt(self) -> None:
        self._say("srun: sending Ctrl-C to StepId=%s\n" % self._step_name)
        self._run.signal(signal.SIGINT)

    def _print_states(self) -> None:
        for line in states(self._step_name, self._ntasks, self._run.statuses):
            self._say(line)

    def _abort(self) -> None:
        self._say("srun: forcing job termination\n")
        self._run.cancel("CANCELLED", time.time(), signal.SIGKILL)
        self._terminating = True

    def cancelled(self) -> None:
        """Handle a cancellation of the step from outside."""
        if not self._terminating and not self._cancelled:
            self._cancelled = True
            self._print_waiting()

    def _print_waiting(self) -> None:
        self._say(
            "srun: Job step aborted: Waiting up to %d seconds for job step to finish.\n"
            % (self._kill_wait_s + _ABORT_MARGIN_S)
        )

    def exited(self, node: str, rank: int, status: int) -> None:
        """Report a failed task, and apply -K and -W."""
        if status or self._spec.verbose:
            self._exits.add(node, self._run.component_rank(rank), status)
            ended = self._terminating and not self._killed_by_wait
            if status and self._kills_on_bad_exit() and not (ended or self._bad_exit):
                # Tasks that end at the same time are reported in one message, and none of them is killed.
                self._bad_exit = True
                self._after(GATHER_S, self._end_on_bad_exit)
        if not self._first_exit and len(self._run.statuses) < self._ntasks:
            self._first_exit = time.monotonic()
            if self._spec.wait_s:
                self._after(self._spec.wait_s, self._end_after_wait)

    def _kills_on_bad_exit(self) -> bool:
        value = self._spec.kill_on_bad_exit
        return bool(self._spec.job.kill_on_bad_exit if value is None else value)

    def _end_on_bad_exit(self) -> None:
        """Apply -K: end the running tasks. The message is printed even if no task is left."""
        if self._over or self._bad_exit_reported or (self._terminating and not self._killed_by_wait):
            return
        self._exits.report()
        self._terminating = self._bad_exit_reported = True
        self._say("srun: Terminating StepId=%s\n" % self._step_name)
        if len(self._run.statuses) < self._ntasks:
            self._run.announce("TASK_FAILURE", time.time(), signal.SIGTERM)
            self._run.cancel("CANCELLED", time.time())
            self._after(self._kill_wait_s, self._run.kill)

    def _end_after_wait(self) -> None:
        """Apply -W: end the tasks that run too long after the first end."""
        if self._over or len(self._run.statuses) >= self._ntasks:
            return
        self._say("srun: First task exited %ds ago\n" % (self._spec.wait_s or 0))
        self._print_states()
        self._terminating = self._killed_by_wait = True
        self._say("srun: Terminating StepId=%s\n" % self._step_name)
        self._run.cancel("CANCELLED", time.time(), signal.SIGKILL)
        self._print_waiting()

    def watch_limit(self) -> None:
        """Apply the step's own time limit, and later changes."""
        self._run.on_limit = self._limit
        limit = self._spec.job.time_limit_min
        if limit is not None and limit not in (0, INFINITE):
            self._limit(time.time() + limit * 60)

    def _limit(self, end_time: Optional[float]) -> None:
        """Set the end of the step in epoch seconds; None: no limit."""
        if self._limit_timer is not None:
            self._limit_timer.cancel()
            self._limit_timer = None
        if end_time is not None:
            self._limit_timer = self._after(max(0.0, end_time - time.time()), self._out_of_time)

    def _out_of_time(self) -> None:
        self._terminating = True  # srun waits for its own limit: no message about an abort
        self._run.timed_out = True
        self._run.cancel("TIMEOUT", time.time())
        self._after(self._kill_wait_s, self._run.kill)

    def _after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = self._loop.after(seconds, callback)
        self._timers.append(timer)
        return timer

    def step_ended(self) -> None:
        """Handle the step's end on all nodes."""
        if self._bad_exit:
            self._end_on_bad_exit()
        self._over = True

    def detach(self) -> None:
        """Stop the output, and the rules -K and -W, of a killed srun."""
        self._over = True

    def cancel_timers(self) -> None:
        """Stop applying rules."""
        for timer in self._timers:
            timer.cancel()
