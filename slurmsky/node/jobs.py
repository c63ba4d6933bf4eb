"""A job on its head agent: start, batch script, time limit, signals, end."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..model.allocation import Launch
from ..model.job import Step, Usage
from ..model.states import JobState
from . import output, processes
from .course import Course, keep
from .environment import gpu_indices
from .journal import Event, JobLog
from .loop import Timer

if TYPE_CHECKING:
    import resource

    from .agent import Agent
    from .containers import Container
    from .steps import StepRun

#: exit_signal of a job whose files could not be opened. Source: the oracle, "0:53".
SETUP_FAILED = 53
#: For so long a folder of the output may be missing: submitit, for one, makes it when sbatch has told it the
#: job's number. Under Slurm it wins this race by the time that a launch through slurmctld and slurmd takes.
FOLDER_WAIT_S = 2.0
_FOLDER_LOOK_S = 0.02
#: what slurmstepd adds to its line for each cause (req.c _handle_signal_container)
_CAUSES = {
    "TIMEOUT": " DUE TO TIME LIMIT",
    "DEADLINE": " DUE TO TIME LIMIT",
    "PREEMPTED": " DUE TO PREEMPTION",
    "REQUEUED": " DUE TO JOB REQUEUE",
    "NODE_FAIL": " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS",
}
_NO_CONTAINER = "Failed to invoke spank plugin stack"
#: how often the remains of a job are looked for while it ends
_SWEEP_S = 0.05
#: how long what a cancelled script leaves behind may take to end
_GRACE_S = 1.0


def cancel_line(node: str, what: str, cause: str, now: float) -> str:
    """slurmstepd's line for a job or step that is ended from outside. ``what``: "JOB 7" or "STEP 7.0"."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
    return "slurmstepd-%s: error: *** %s ON %s CANCELLED AT %s%s ***\n" % (
        node,
        what,
        node,
        stamp,
        _CAUSES.get(cause, ""),
    )


def step_to_dict(step: Step) -> dict[str, Any]:
    """A step as events carry it: fields that have their default value are left out."""
    data = {name: value for name, value in step.__dict__.items() if value != _STEP_DEFAULTS.get(name, _NOTHING)}
    data["state"] = step.state.name
    data["usage"] = {name: value for name, value in step.usage.__dict__.items() if value != _USAGE_DEFAULTS[name]}
    return data


_NOTHING = object()
_USAGE_DEFAULTS = Usage().__dict__
_STEP_DEFAULTS: dict[str, Any] = {
    name: value for name, value in Step(job_id=-1, step_id="", name="").__dict__.items() if name != "usage"
}


def parse_signal(text: str) -> tuple[bool, int, int]:
    """``[R][B]:NAME@SEC`` of --signal: (to the batch shell, signal number, seconds before the end)."""
    name, _, seconds = text.partition("@")
    flags, colon, rest = name.partition(":")
    if not colon:
        flags, rest = "", name
    rest = rest.upper()
    if rest.isdigit():
        number = int(rest)
    else:
        number = int(getattr(signal, rest if rest.startswith("SIG") else "SIG" + rest))
    return "B" in flags.upper(), number, int(seconds or 60)


class _NoContainer(Exception):
    """The batch script's container could not be made; its stderr says why."""


class Job:
    """One job this agent is the head of. Lives from launch until the controller has taken its last event."""

    def __init__(self, agent: Agent, launch: Launch, log: JobLog) -> None:
        self.agent = agent
        self.launch = launch
        self.job_id = launch.job_id
        self.run = launch.restart_count
        self.node = agent.node
        self.log = log
        self.began = log.began
        self.steps: dict[str, StepRun] = {}  # running ones
        self.waiting: list[Callable[[], None]] = []  # sruns that wait for resources of the job
        self.next_step = 0
        self.derived_exit = 0
        self.batch: Optional[Step] = None
        self.batch_pid = 0
        self.batch_status: Optional[int] = None
        self.cause = ""  # state it is being ended in, "" while it runs
        self.ending = False
        self.ended = False
        self.suspended = False
        self.end_time: Optional[float] = None
        self._timers: list[Timer] = []
        self._signal_sent = False
        self._killing = False
        self._grace_until = 0.0
        self._setup_failed = False
        self.output_path = ""
        self._sweeping: Optional[Timer] = None
        self._course: Optional[Course] = None
        self._container: Optional[Container] = None  # of the batch script
        self._container_said: list[str] = []  # what there was to tell while it was made
        self._preparing = False
        self._no_container = False

    # --- start
    def start(self) -> None:
        """Run the batch script, or hold the allocation."""
        launch = self.launch
        now = time.time()
        if launch.time_limit_s is not None:
            self.end_time = (launch.start_time or now) + launch.time_limit_s
        self._arm()
        if launch.script is None:
            self.emit({"ev": "started", "time": now, "pid": 0})
            return
        share = launch.shares[0]
        self.batch = Step(
            job_id=self.job_id,
            step_id="batch",
            name="batch",
            nodes=(share.name,),
            ntasks=1,
            cpus=share.cpus,
            memory_mib=share.memory_mib,
            tasks_per_node=(1,),
            start_time=now,
        )
        from . import containers

        asked = containers.of_batch(launch)
        if asked is None:
            self._start_batch(time.monotonic() + FOLDER_WAIT_S)
            return

        def ready() -> None:
            if self._preparing:
                self._preparing = False
                self._start_batch(time.monotonic() + FOLDER_WAIT_S)

        def failed(lines: tuple[str, ...]) -> None:
            said.extend("slurmstepd-%s: error: %s" % (self.node, line) for line in (*lines, _NO_CONTAINER))
            self._no_container = True
            ready()

        said = self._container_said
        self._preparing = True
        self._container = containers.Container(self.agent.loop, asked, self.agent.images, said.append)
        self._container.prepare(launch.environment, ready, failed)

    def _give_up_container(self) -> None:
        """The job ends while the container of its script is still being made."""
        if self._preparing and self._container is not None:
            self._preparing = False
            self._container.close()
            self._start_batch(0)

    def _start_batch(self, patience: float) -> None:
        """Start the script; ``patience``: until when (monotonic) its output's folder may still appear."""
        batch = self.batch
        assert batch is not None
        try:
            if self.cause:
                raise OSError("ended (%s) before its output could be opened" % self.cause)
            self.batch_pid = self._spawn_batch(self.launch)
        except _NoContainer:
            self.emit({"ev": "started", "time": batch.start_time, "pid": 0, "step": step_to_dict(batch)})
            self._batch_ended(1 << 8, None)
            return
        except OSError as error:
            if self._folder_missing(error) and time.monotonic() < patience:
                self.agent.loop.after(_FOLDER_LOOK_S, lambda: self._start_batch(patience))
                return
            self._note("cannot start: %s" % error)
            self._setup_failed = not self.cause
            self.emit({"ev": "started", "time": batch.start_time, "pid": 0, "step": step_to_dict(batch)})
            self._batch_ended(SETUP_FAILED if self._setup_failed else signal.SIGTERM, None)
            return
        self.emit({"ev": "started", "time": batch.start_time, "pid": self.batch_pid, "step": step_to_dict(batch)})
        self.agent.sessions[self.batch_pid] = (self.job_id, "batch")
        self._course = self.agent.sampler.course(gpu_indices(self.launch.shares[0].gres))
        self.agent.sampler.watch(self.batch_pid, self._course)
        self.agent.loop.child(self.batch_pid, self._batch_ended)

    def _folder_missing(self, error: OSError) -> bool:
        """Whether an output file could not be opened because the folder it belongs in does not exist."""
        name = error.filename
        return (
            isinstance(error, FileNotFoundError)
            and isinstance(name, str)
            and name == self.output_path
            and not os.path.exists(os.path.dirname(name))
        )

    def _spawn_batch(self, launch: Launch) -> int:
        script = self._script()
        spec = launch.spec
        opened: list[int] = []
        previous = os.umask(launch.umask)
        try:
            self.output_path = output.expand_node(launch.stdout, self.node)
            stdout = output.open_output(self.output_path, spec.open_mode)
            opened.append(stdout)
            self.stderr_path = self.output_path
            stderr = stdout
            if launch.stderr and launch.stderr != launch.stdout:
                self.output_path = self.stderr_path = output.expand_node(launch.stderr, self.node)
                stderr = output.open_output(self.stderr_path, spec.open_mode)
                opened.append(stderr)
            stdin = output.open_input(output.expand_node(launch.stdin, self.node))
            opened.append(stdin)
            fault = processes.chdir_fault(launch.work_dir)
            if fault:
                # The step's manager tries it too and says so, before the task does.
                self.complain("slurmstepd-%s: error: %s\n" % (self.node, fault))
            for line in self._container_said:
                os.write(stderr, (line + "\n").encode(errors="surrogateescape"))
            if self._no_container:
                raise _NoContainer
            env = self.agent.batch_environment(launch)
            return processes.spawn(
                processes.Process(
                    node=self.node,
                    argv=[script, *launch.argv],
                    executable=script,
                    before_exec=self._container.enter if self._container is not None else None,
                    environment=env,
                    directory=launch.work_dir,
                    umask=launch.umask,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    rlimits=launch.rlimits,
                )
            )
        finally:
            os.umask(previous)
            for fd in opened:
                os.close(fd)

    def _script(self) -> str:
        """The file that is executed. A spooled script is run where it is: a copy costs more than a short job."""
        source = self.launch.script
        assert source is not None
        folder, name = os.path.split(source)
        if name == "slurm_script":
            if not os.path.exists(source):
                # Scripts may delete themselves; the other elements of the array, or the next run, need it again.
                os.link(os.path.join(folder, "script"), source)
            return source
        os.makedirs(self.launch.spool, mode=0o700, exist_ok=True)
        script = os.path.join(self.launch.spool, "slurm_script")
        if source != script:
            place_script(source, script)
        return script

    # --- events
    def emit(self, event: Event) -> None:
        """Number, journal and send an event of this job."""
        self.log.add(event)
        self.agent.changed(self, soon=event["ev"] != "started")

    def emit_step(self, step: Step) -> None:
        """Tell a step's present state."""
        self.emit({"ev": "step", "step": step_to_dict(step)})

    def _note(self, text: str) -> None:
        print("job %d: %s" % (self.job_id, text), file=sys.stderr, flush=True)

    def complain(self, line: str) -> None:
        """Append a line to the stderr file of the batch script, as slurmstepd does."""
        path = getattr(self, "stderr_path", "")
        if path:
            try:
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            except OSError:
                return  # the user removed the file; there is nobody left to tell
            try:
                os.write(fd, line.encode(errors="surrogateescape"))
            except OSError as error:
                self._note("stderr file: %s" % error)
            finally:
                os.close(fd)

    # --- time
    def set_end_time(self, end_time: Optional[float]) -> None:
        """A new time limit; None: none."""
        self.end_time = end_time
        self._arm()

    def _arm(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self.end_time is None or self.ending:
            return
        loop = self.agent.loop
        now = time.time()
        self._timers.append(loop.after(self.end_time - now, lambda: self.terminate("TIMEOUT", signal.SIGTERM)))
        if self.launch.spec.signal and not self._signal_sent:
            to_batch, number, seconds = parse_signal(self.launch.spec.signal)
            target = "batch" if to_batch else "steps"

            def warn() -> None:
                self._signal_sent = True
                self.signal(number, target)

            self._timers.append(loop.after(self.end_time - seconds - now, warn))

    # --- signals
    def signal(self, number: int, target: str) -> None:
        """``target``: "steps", "batch" (only the shell), "full" (all), or a step's id."""
        if target == "batch":
            if self.batch_pid and self.batch_status is None:
                processes.send([self.batch_pid], number)
        elif target == "steps":
            for step in list(self.steps.values()):
                step.signal(number)
        elif target == "full":
            for step in list(self.steps.values()):
                step.signal(number)
            if self.batch_pid and self.batch_status is None:
                processes.send(processes.tree([self.batch_pid]), number)
        elif target in self.steps:
            if number == signal.SIGKILL:
                self.steps[target].cancel("CANCELLED", time.time(), number)  # scancel JOB.STEP
            else:
                self.steps[target].signal(number)

    def terminate(self, state: str, number: int, kill_wait_s: Optional[int] = None) -> None:
        """End the job in ``state``: signal everything, SIGKILL what is left after kill_wait."""
        if self.ended:
            return
        if self.cause:
            if number == signal.SIGKILL:
                self._kill()
            return
        self.cause = state
        now = time.time()
        wait = self.launch.kill_wait_s if kill_wait_s is None else kill_wait_s
        if self.batch is not None and self.batch_status is None:
            if state != "COMPLETED":
                self.complain(cancel_line(self.node, "JOB %d" % self.job_id, state, now))
            self.batch.cancelled_by = None
        for step in list(self.steps.values()):
            step.cancel(state, now)
        members = self.members()
        processes.send(members, number)
        processes.send(members, signal.SIGCONT)
        self.suspended = False
        if number == signal.SIGKILL or wait <= 0:
            self._kill()
        else:
            self._timers.append(self.agent.loop.after(wait, self._kill))
        self._give_up_container()
        if self.batch is None or self.batch_status is not None:
            self._finish_soon()

    def _kill(self) -> None:
        self._killing = True
        for step in list(self.steps.values()):
            step.kill()
        processes.send(self.members(), signal.SIGKILL)
        self._finish_soon()

    def suspend(self) -> None:
        """Stop all processes."""
        self.suspended = True
        for step in list(self.steps.values()):
            step.signal(signal.SIGSTOP)
        processes.send(self.members(), signal.SIGSTOP)

    def resume(self) -> None:
        """Continue them."""
        self.suspended = False
        for step in list(self.steps.values()):
            step.signal(signal.SIGCONT)
        processes.send(self.members(), signal.SIGCONT)

    def members(self) -> list[int]:
        """Processes of this job on this node that are not tasks of a running step's own tree."""
        roots = [self.batch_pid] if self.batch_pid and self.batch_status is None else []
        return processes.tree(roots + self.agent.orphans_of(self.job_id))

    # --- end
    def _batch_ended(self, status: int, usage: Optional[resource.struct_rusage]) -> None:
        self.batch_status = status
        if self._container is not None:
            self._container.close()
        batch = self.batch
        assert batch is not None
        batch.end_time = time.time()
        if self._setup_failed or os.WIFSIGNALED(status):
            batch.exit_signal = SETUP_FAILED if self._setup_failed else os.WTERMSIG(status)
            batch.state = JobState.CANCELLED
        else:
            batch.exit_code = os.WEXITSTATUS(status)
            batch.state = JobState.FAILED if batch.exit_code else JobState.COMPLETED
        if usage is not None:
            batch.usage = self.agent.sampler.finish(self.batch_pid, usage, self.node)
            if self._course is not None:
                keep(batch.usage, [self.agent.sampler.close(self._course)])
        self._finish_soon()

    def step_over(self, step_id: str) -> None:
        """A step has ended and told so; its place is free."""
        self.steps.pop(step_id, None)
        self._wake_waiting()
        if self.ending:
            self._finish_soon()

    def _wake_waiting(self) -> None:
        waiting, self.waiting = self.waiting, []
        for again in waiting:
            self.agent.loop.soon(again)

    def _finish_soon(self) -> None:
        """The job is over but for what is left of it: end that, then say so."""
        if self.ended:
            return
        over = self.batch_status is not None if self.batch is not None else bool(self.cause)
        if not over:
            return
        if not self.ending:
            self.ending = True
            self._wake_waiting()
            # What the script leaves behind is killed. When it was itself told to end, so were they: its
            # sruns may
            # still say how their tasks ended.
            self._grace_until = time.monotonic() + (_GRACE_S if self.cause else 0)
        left = self.agent.orphans_of(self.job_id)
        if self._killing or (self.batch is not None and time.monotonic() >= self._grace_until):
            for step in list(self.steps.values()):
                step.kill()
            processes.send(processes.tree(left), signal.SIGKILL)
        if self.steps or left:
            if self._sweeping is None:
                self._sweeping = self.agent.loop.after(_SWEEP_S, self._sweep)
            return
        self._finish()

    def _sweep(self) -> None:
        self._sweeping = None
        self._finish_soon()

    def orphan_reaped(self) -> None:
        """Some orphan on this node has ended: perhaps the last of this job."""
        if self.ending and not self.ended:
            self._finish_soon()

    def _finish(self) -> None:
        self.ended = True
        for timer in self._timers:
            timer.cancel()
        last: Event = {"ev": "ended", "time": time.time(), **self._verdict()}
        if self.batch is not None:
            last["step"] = step_to_dict(self.batch)
        self.emit(last)
        self.agent.job_ended(self)

    def abandon(self) -> None:
        """The controller has given this run up and starts another: end it without a word."""
        self.cause = self.cause or "NODE_FAIL"
        self.ended = True
        for timer in self._timers:
            timer.cancel()
        for step in list(self.steps.values()):
            step.kill()
        processes.send(self.members(), signal.SIGKILL)
        self.agent.job_ended(self)

    def _verdict(self) -> dict[str, Any]:
        """State, exit code and reason of the job. Source: the oracle, exit_and_output_rules "End states"."""
        if self.cause and self.cause != "COMPLETED":
            reason = {"TIMEOUT": "TimeLimit"}.get(self.cause, "None")
            return {
                "state": self.cause,
                "exit_code": 0,
                "exit_signal": 0,
                "reason": reason,
                "derived_exit_code": self.derived_exit,
            }
        code = number = 0
        if self.batch is not None:
            code, number = self.batch.exit_code, self.batch.exit_signal
        if number == signal.SIGHUP:
            # The raw wait status 1 is taken for an exit code of 1 (job_mgr.c).
            code, number = 1, 0
        state, reason = "COMPLETED", "None"
        if code or number:
            state, reason = "FAILED", "NonZeroExitCode"
            if number == signal.SIGKILL:
                reason = "JobLaunchFailure"
        return {
            "state": state,
            "exit_code": code,
            "exit_signal": number,
            "reason": reason,
            "derived_exit_code": self.derived_exit,
        }


def place_script(source: str, target: str) -> None:
    """Put the spooled script where ``$0`` shows it: a link where that is possible, else a copy; mode 0700."""
    try:
        os.unlink(target)
    except FileNotFoundError:
        pass
    try:
        if os.stat(source).st_mode & 0o777 == 0o700:
            os.link(source, target)
            return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
    shutil.copyfile(source, target)
    os.chmod(target, 0o700)


def usage_of_children(usage: resource.struct_rusage) -> Usage:
    """A usage record from wait4's numbers alone (ru_maxrss is in KiB on Linux)."""
    return Usage(user_s=usage.ru_utime, system_s=usage.ru_stime, tasks=1, max_rss=usage.ru_maxrss * 1024)
