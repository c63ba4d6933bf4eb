"""One srun, from its request to its exit code. It runs in the head agent of the job; its client relays the terminal."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Callable, Optional

from ...model.states import OOM_SIGNAL
from ...model.step_spec import StepSpec
from ...protocol import wire
from ...protocol.step_plan import StepPlan
from ..job import file_opening
from ..net.channel import Channel
from ..process import resource_limits
from ..steps import het_components as components
from ..steps import step_allocation, step_run
from ..steps.step_allocation import InvalidStep
from . import program_bcast, srun_prolog, srun_verbose
from .daemon_messages import DaemonMessages
from .srun_files import BlockingFile, Input, Outputs
from .srun_plan import Planner
from .srun_termination import Termination
from .task_exits import Exits

if TYPE_CHECKING:
    from ..core.agent import Agent
    from ..core.head_job import HeadJob

#: bytes of stdin that the client may send ahead of the tasks' reads
STDIN_WINDOW = 1 << 18


class Srun:
    """Session of a client, which watches its StepRun."""

    def __init__(
        self,
        agent: Agent,
        job: HeadJob,
        channel: Channel,
        request: wire.CommandRequest,
        components: tuple[StepSpec, ...],
        read: Callable[[str], bytes],
        warnings: tuple[str, ...],
    ) -> None:
        self.agent = agent
        self.job = job
        self.channel = channel
        self.request = request
        self.spec = components[0]  # its options apply to the step as a whole
        self.components = components
        self._read = read  # returns the content of a file that the options name
        self.run: Optional[step_run.StepRun] = None
        self._termination: Optional[Termination] = None  # with ``run``
        self._waiting = False
        self._opening: Optional[file_opening.Opening] = None  # of files that may block
        self._busy_reported = False
        self._forced_code: Optional[int] = None
        self._raw = False
        self._ended = False
        self._stdin_open = True
        self._outputs: Optional[Outputs] = None
        # The caller may have exited when a waiting step starts.
        self._limits = resource_limits.of_caller(channel, request)
        self._input: Optional[Input] = None
        for line in warnings:
            self._say(line + "\n")

    # --- begin
    def begin(self) -> None:
        """Request the step; wait for its resources if they are busy."""
        self.channel.on_close = self._client_gone
        self.channel.on_frame = self._from_client
        self.channel.send(wire.HANDLE_SIGNALS)
        self._try()

    def _try(self) -> None:
        self._waiting = False
        job = self.job
        if self._ended:
            return
        if job.ended or job.ending or job.cause:
            self._fail(
                "srun: error: Unable to create step for job %d: Job/step already completing or completed\n" % job.job_id
            )
            return
        try:
            chosen = components.allocate(job, self.components)
        except step_allocation.StepRefused as error:
            for note in error.notes:
                self._say("srun: error: %s\n" % note)
            start = "" if error.plain else "Unable to create step for job %d: " % (error.job_id or job.job_id)
            self._fail("srun: error: %s%s\n" % (start, error))
            return
        except step_allocation.StepBusy as error:
            if self.spec.immediate_s is not None or self.spec.job.immediate_s is not None:
                number = error.job_id or job.job_id
                self._fail("srun: error: Unable to create step for job %d: %s\n" % (number, error))
                return
            if not self._busy_reported:
                self._busy_reported = True
                self._say("srun: Job %d step creation temporarily disabled, retrying (%s)\n" % (job.job_id, error))
            self._waiting = True
            job.waiting.append(self._try)
            return
        if self.spec.pty is not None and not self.request.ttys[0]:
            self._say(
                "srun: error: ioctl(TIOCGWINSZ): Inappropriate ioctl for device\n"
                "srun: error: Not using a pseudo-terminal, disregarding --pty option\n"
            )
        for note in chosen.shape.notes:
            self._say("srun: error: %s\n" % note)
        if self._busy_reported:
            self._say("srun: Step created for job %d\n" % job.job_id)
        try:
            self._start(chosen)
        except InvalidStep as error:
            self._fail("".join("srun: error: %s\n" % line for line in error.args))
        except OSError as error:
            self._fail(
                "srun: error: Task launch for StepId=%d.%d failed on node: %s\n"
                % (job.job_id, job.next_step - 1, error.strerror or error)
            )

    def _start(self, chosen: components.ChosenComponents) -> None:
        job, spec, request = self.job, self.spec, self.request
        planner = Planner(job, request, spec, chosen, self._limits, self._read, self._say)
        self.ntasks, self.terminal = planner.ntasks, planner.terminal
        # Each component of the command line has its own files and environment.
        outputs = self._outputs = Outputs(
            self.channel, [step for step, _ in planner.programs], planner.component, self._say
        )
        blocking = outputs.open(request.cwd, request.umask, spec.job.open_mode, planner.name_values)
        source = self._input = Input(spec.job.input, self.terminal, request.cwd, planner.name_values)
        planner.check_binding()
        job.next_step += 1
        run = self.run = step_run.StepRun(job, planner.records(), spec, chosen.shape)
        run.argv0 = planner.argvs[0][0]
        run.watchers.append(self)
        job.steps[run.step_id] = run
        self._exits = Exits(self.agent.loop, self._step_name, self._say, self.print_verbose)
        self._daemon = DaemonMessages(spec.slurmd_debug or "error", self._say)
        self._termination = Termination(job, run, spec, self.ntasks, self._exits, self.agent.loop, self._say)
        commons = planner.environments()
        plans = planner.plans(commons, outputs, source)
        self.channel.on_drain = lambda: run.resume(self)
        run.on_stdin = self._stdin_read
        self._programs = srun_prolog.ClientPrograms(self.channel, self._say, commons[0], [spec.argv[0], *spec.argv[1:]])

        def begin_tasks() -> None:
            if spec.prolog is None or not self._may_start():
                self._launch(run, plans)
            else:
                self._programs.run("prolog", spec.prolog, prolog_over)

        def prolog_over(code: int) -> None:
            if code == 0:
                self._launch(run, plans)
                return
            self._say(
                "srun: error: srun prolog failed rc = %d. Aborting step.\n"
                "srun: StepId=%d.%s aborted before step completely launched.\n" % (code, job.job_id, run.step_id)
            )
            self._never_started()

        def files_open() -> None:
            if spec.bcast is not None and not spec.multi_prog:
                program_bcast.broadcast(self.agent, run, plans, request, self._say, begin_tasks, self._never_started)
            else:
                begin_tasks()

        outputs.on_drain = lambda: run.resume(self)
        if source.blocking is not None:
            blocking.append(source.blocking)
        if blocking:
            self._open_blocking(blocking, files_open)
        else:
            files_open()

    def _open_blocking(self, blocking: list[BlockingFile], done: Callable[[], None]) -> None:
        """Open files that may block, then continue. Meanwhile the step exists without a task."""

        def opened(results: list[file_opening.Result]) -> None:
            self._opening = None
            for file, result in zip(blocking, results):
                if isinstance(result, OSError):
                    self._say("srun: error: Could not open %s file: %s\n" % (file.what, result.strerror))
                else:
                    file.take(result)
            if all(isinstance(result, int) for result in results):
                done()
            else:
                self._never_started()

        self._opening = file_opening.Opening(
            self.agent.loop, [file.opener for file in blocking], opened, self.request.umask, stop_at_error=True
        )

    def _end_while_opening(self) -> None:
        """End the step while a file is still being opened."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
            self._never_started()

    def _may_start(self) -> bool:
        return not (self._ended or self.job.cause or self.job.ended or (self.run is not None and self.run.cause))

    def _never_started(self) -> None:
        """End the step before a task was started."""
        assert self.run is not None
        self.run.abandon()
        if not self._ended:
            self._fail("")

    def _launch(self, run: step_run.StepRun, plans: list[StepPlan]) -> None:
        """Start the tasks on all nodes."""
        if not self._may_start():
            self._never_started()
            return
        self._daemon.launching(run.shape.ranks)
        try:
            run.start(plans)
        except OSError as error:
            self._say(
                "srun: error: Task launch for StepId=%d.%s failed on node: %s\n"
                % (self.job.job_id, run.step_id, error.strerror or error)
            )
            self._never_started()
            return
        self.print_verbose(*srun_verbose.launching(self._step_name, run.shape.shares, run.shape.ranks))
        if self.terminal:
            self._raw = True
            self.channel.send(wire.TTY, b"1")
        if self._input is not None and self._input.source == "stream":
            self._grant(STDIN_WINDOW)
        assert self._termination is not None
        self._termination.watch_limit()

    # --- from the client
    def _from_client(self, kind: bytes, payload: bytes) -> None:
        if kind == wire.STDIN:
            if self.run is not None:
                self.run.write_stdin(payload)
        elif kind == wire.STDIN_EOF:
            if self.run is not None and self._stdin_open:
                self._stdin_open = False
                self.run.write_stdin(b"")
        elif kind == wire.SIGNAL:
            self._signal(int(payload))
        elif kind == wire.WINSIZE and self.run is not None:
            rows, _, columns = payload.partition(b"x")
            self.run.set_size(int(rows), int(columns))
        elif kind == wire.CHILD_STATUS:
            self._programs.ended(payload)

    def _stdin_read(self, count: int) -> None:
        """The tasks have read ``count`` bytes."""
        if self._input is not None and self._input.fd >= 0:
            # Later: a task that reads at once, or stops reading, answers before write_stdin returns.
            self.agent.loop.after(0, lambda: self._grant(count))
        else:
            self._grant(count)

    def _grant(self, count: int) -> None:
        """Send ``count`` bytes of the file of -i, or grant them to the client."""
        if self._ended:
            return
        if self._input is not None and self._input.fd >= 0:
            assert self.run is not None
            if not self.run.reads_stdin:  # the file may be endless
                self._input.close()
                self._stdin_open = False
                return
            data = self._input.read(count, self.agent.loop, lambda: self._grant(count))
            if data is None:
                return
            self._stdin_open = bool(data)
            self.run.write_stdin(data)
            return
        if not self._stdin_open:
            return
        self.channel.send(wire.GRANT, b"%d" % count)

    def _client_gone(self) -> None:
        """Kill the tasks of a killed srun, as Slurm does."""
        self._ended = True
        if self._termination is not None:
            self._termination.detach()
        if self._opening is not None:
            self._opening.cancel()
        if self.run is not None:
            self.run.resume(self)
            if self in self.run.watchers:
                self.run.watchers.remove(self)
            self.run.kill()
            if not self.run.parts:
                self.run.abandon()
        self._close_files()

    def _signal(self, number: int) -> None:
        if self._termination is not None:
            self._termination.signal(number)
        elif number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            self._forced_code = 128 + number
            self._fail(
                "srun: Cancelled pending job step with signal %d\nsrun: error: Unable to create step for "
                "job %d: Job/step already completing or completed\n" % (number, self.job.job_id)
            )

    # --- from the step
    def output(self, rank: int, stream: int, data: bytes) -> None:
        """Write a task's bytes to the terminal or a file."""
        if self._outputs is not None and not self._outputs.write(rank, stream, data) and self.run is not None:
            self.run.pause(self)

    def cancelled(self) -> None:
        """Handle a cancellation of the step from outside."""
        if self.run is not None and not self.run.parts:
            self._programs.signal(signal.SIGTERM)
            self.agent.loop.soon(self._end_while_opening)
        if self._termination is not None:
            self._termination.cancelled()

    def started(self, pids: dict[int, int]) -> None:
        """Handle the start of tasks."""
        self._daemon.started(pids)

    def exited(self, node: str, rank: int, status: int) -> None:
        """Handle the end of a task."""
        if self._termination is not None and self.run is not None:
            self._daemon.exited(rank, self.run.pids.get(rank, 0), status)
            self._termination.exited(node, rank, status)

    def step_ended(self) -> None:
        """Handle the step's end on all nodes."""
        if self._ended:
            return
        run, termination = self.run, self._termination
        assert run is not None and termination is not None
        termination.step_ended()
        self._ended = True
        self._exits.report()
        code, number = step_run.worst(run.statuses.values())
        for name in run.failed_nodes:
            self._say("srun: error: Node failure on %s\n" % name)
        forced = number in (signal.SIGKILL, signal.SIGTERM)  # signals by which Slurm itself ends steps
        if forced and not run.failed_nodes and not termination.reported:
            self._say("srun: Force Terminated StepId=%d.%s\n" % (self.job.job_id, run.step_id))
        final = 1 if number == OOM_SIGNAL else 128 + number if number else code
        if self.spec.epilog is None:
            self._end(final)
        else:
            self._programs.run("epilog", self.spec.epilog, lambda status: self._epilog_over(status, final))

    def _epilog_over(self, status: int, final: int) -> None:
        if status:
            self._say("srun: error: srun epilog failed status=%d\n" % status)
        self._end(final)

    def print_verbose(self, *lines: str) -> None:
        """Print lines for -v."""
        if self.spec.verbose:
            self._say("".join("srun: %s\n" % line for line in lines))

    @property
    def _step_name(self) -> str:
        return "%d.%s" % (self.job.job_id, self.run.step_id if self.run is not None else "")

    # --- end
    def _say(self, text: str) -> None:
        if text.startswith("srun: ") and not text.startswith("srun: error") and self.spec.quiet:
            return
        if self._raw:
            text = text.replace("\n", "\r\n")  # the caller's terminal is in raw mode
        self.channel.send(wire.STDERR, text.encode(errors="surrogateescape"))

    def _fail(self, text: str) -> None:
        self._say(text)
        self._ended = True
        self._end(self._forced_code or int(self.request.env.get("SLURM_EXIT_ERROR") or 1))

    def _end(self, code: int) -> None:
        if self._termination is not None:
            self._termination.cancel_timers()
        if self._waiting and self._try in self.job.waiting:
            self.job.waiting.remove(self._try)
        self._close_files()
        self.channel.on_close = lambda: None
        self.channel.on_drain = lambda: None
        if self._raw:
            self.channel.send(wire.TTY, b"0")
        self.channel.send(wire.EXIT, b"%d" % (code & 255))
        self.channel.close()

    def _close_files(self) -> None:
        if self._input is not None:
            self._input.close()
        if self._outputs is not None:
            self._outputs.close()
