"""Runs the tasks of one step on one node."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Optional

from ...model.states import OOM_STATUS
from ...model.step import NodeSeries
from ...protocol.step_plan import Pmi2Plan, PmixPlan, StepPlan
from ..job import file_opening, output_files
from ..process import process_tree, processes, topology
from ..process.task_prolog import run_task_prolog, start_task_epilog
from ..process.usage_series import UsageSeries
from . import task_binding
from .step_sink import ERR, Sink
from .task_binding import Binding, BindingRefused
from .task_streams import Streams, Task

if TYPE_CHECKING:
    import resource

    from ...protocol.mpi_messages import MpiMessage
    from ..container.task_container import Container
    from ..core.agent import Agent
    from ..mpi.pmi import NodeServer
    from ..process.memory_groups import MemoryGroup

#: seconds for which a task's pipes are read after the exit of its last known process
_LINGER_S = 3.0


class StepHost:
    """Starts, signals and reaps the tasks of a plan."""

    def __init__(self, agent: Agent, plan: StepPlan, sink: Sink) -> None:
        self.agent = agent
        self.plan = plan
        self.sink = sink
        self.tasks = [Task(rank) for rank in plan.ranks]
        self._streams = Streams(agent.loop, plan, self.tasks, sink, self._check_over)
        self.pause = self._streams.pause
        self.resume = self._streams.resume
        self.set_size = self._streams.set_size
        self.key = (plan.job_id, plan.step_id)
        self._by_rank = {task.rank: task for task in self.tasks}
        self._over = False
        self._series: Optional[UsageSeries] = None
        self._sweeping = False
        self._swept_at = 0.0
        self._epilogs = 0
        self._mpi = self._mpi_server(plan)
        self._started = False
        self._opening: Optional[file_opening.Opening] = None  # opens files that may block
        self._folder_in_child = False  # the working folder may be inaccessible
        self._early_signal = 0  # arrived before the tasks were started
        self._early_stdin: list[bytes] = []
        self._bindings: list[Binding] = []  # per task; empty: no task is bound
        self._container: Optional[Container] = None
        self._container_ready = False  # the container, if requested, is ready
        self._memory: Optional[MemoryGroup] = None  # if the step's memory is limited

    def _devices(self) -> list[int]:
        """GPUs of the node that the step holds."""
        found = {
            word
            for env in (self.plan.environment, *self.plan.task_environment)
            for word in env.get("SLURM_STEP_GPUS", "").split(",")
        }
        return sorted(int(word) for word in found if word.isdecimal())

    def _mpi_server(self, plan: StepPlan) -> Optional[NodeServer]:
        if isinstance(plan.mpi, PmixPlan):
            from ..mpi.pmix import PmixNode

            return PmixNode(self.agent.loop, plan.mpi, plan.node_id, plan.environment, self)
        if isinstance(plan.mpi, Pmi2Plan):
            from ..mpi.pmi import PmiNode

            return PmiNode(self.agent.loop, plan.mpi, plan.ranks, self)
        return None

    # --- start
    def start(self) -> None:
        """Start all tasks. Files that cannot be opened end the step as in slurmstepd."""
        self.agent.hosted[self.key] = process_tree.now_boot()
        self._series = self.agent.sampler.open_series(self._devices())
        if self.plan.container is None:
            self._prepare_tasks()
            return
        from ..container.task_container import Container

        first, agent = self.tasks[0].rank, self.agent
        self._container = Container(
            agent.loop, self.plan.container, agent.images, lambda text: self.write_text(first, text + "\n")
        )
        self._container.prepare(self.plan.environment, self._prepare_tasks, self._no_container)

    def _no_container(self, lines: tuple[str, ...]) -> None:
        self._started = True
        for line in (*lines, "Failed to invoke spank plugin stack"):
            self.write_first_error(line)
        self._end_unstarted(1 << 8)

    def _prepare_tasks(self) -> None:
        self._container_ready = True
        if self._early_signal or self._mpi is None:
            self._start_tasks()
        else:
            self._mpi.prepare(self._start_tasks, self._cannot_start)

    def _cannot_start(self, why: str) -> None:
        if self._started:
            self.write_first_error(why)
            self.kill()
            return
        self._started = True
        self.write_first_error(why)
        self._end_unstarted(1 << 8)

    def _end_unstarted(self, status: int) -> None:
        self.sink.started({})
        for task in self.tasks:
            task.status = status
            self.sink.exited(task.rank, status, [0.0] * 7)
        self._streams.account_stdin()
        self._check_over()

    def _start_tasks(self) -> None:
        if self._early_signal:
            self._started = True
            self._end_unstarted(self._early_signal)
            return
        blocking = self._streams.blocking()
        folder = self.plan.directory
        self._folder_in_child = file_opening.folder_on_network(folder)
        if not blocking and not self._folder_in_child:
            self._spawn_all(processes.chdir_fault(folder))
            return

        def opened(results: list[file_opening.Result]) -> None:
            check_result, self._opening = child.check_result, None
            self._streams.given.update(zip((key for key, _ in blocking), results))
            self._spawn_all(check_result)

        child = self._opening = file_opening.Opening(
            self.agent.loop,
            [opener for _, opener in blocking],
            opened,
            self.plan.umask,
            check=lambda: processes.chdir_fault(folder),
        )

    def _spawn_all(self, fault: str) -> None:
        """Start the processes. ``fault``: why the working folder is inaccessible, or ""."""
        self._started = True
        try:
            self._bindings = self._bind()
        except BindingRefused as error:
            self.write_first_error(str(error))
            self._end_unstarted(1 << 8)
            return
        plan, pids = self.plan, {}
        self._memory = self.agent.memory.open(
            *self.key, plan.job_memory_mib, plan.memory_mib, together=plan.oom_kill_step
        )
        if fault and self.tasks:
            # slurmstepd itself also enters the folder, once on each node.
            self.write_first_error(fault)
        for local, task in enumerate(self.tasks):
            try:
                self._spawn(local, task)
            except OSError as error:
                self._complain(task, str(getattr(error, "complaint", None) or "fork: %s" % error.strerror))
                task.status = (
                    (error.errno or 1) << 8 if not hasattr(error, "complaint") else output_files.IO_FAILED << 8
                )
                continue
            pids[task.rank] = task.pid
        self.sink.started(pids)
        early, self._early_stdin = self._early_stdin, []
        for data in early:
            self.write_stdin(data)
        for task in self.tasks:
            if task.status is not None:
                self.sink.exited(task.rank, task.status, [0.0] * 7)
        self._streams.account_stdin()
        self._check_over()

    def _bind(self) -> list[Binding]:
        plan = self.plan
        if plan.bind is None:
            return []
        return task_binding.of_step(plan.bind, topology.node(plan.bind.count), plan.node, plan.ranks)

    def mpi(self, message: MpiMessage) -> None:
        """Send a message of the PMI server to the head agent."""
        self.sink.mpi(message)

    def on_mpi_message(self, message: MpiMessage) -> None:
        """Send a message of the head agent to the PMI server."""
        if self._mpi is not None:
            self._mpi.on_message(message)

    def complain(self, rank: int, text: str) -> None:
        """Write a line of slurmstepd to a task's stderr."""
        self._complain(self._by_rank[rank], text)

    def write_first_error(self, text: str) -> None:
        """Write a line of slurmstepd itself. slurmstepd shares the stderr of the node's first task."""
        self._complain(self.tasks[0], text)

    def write_text(self, rank: int, text: str) -> None:
        """Write a message of a task's MPI library to its stderr."""
        self.sink.output(rank, ERR, text.encode(errors="replace"))

    def _complain(self, task: Task, text: str) -> None:
        self._streams.write_error(task, processes.error_line(self.plan.node, text))

    def _spawn(self, local: int, task: Task) -> None:
        plan = self.plan
        env = dict(plan.environment)
        env.update(plan.task_environment[local])
        self.agent.variables.add_to(env)
        theirs: list[int] = []
        terminal = plan.terminal is not None and task.rank == 0
        try:
            if self._mpi is not None:
                more, fd = self._mpi.open(task.rank)
                env.update(more)
                if fd >= 0:
                    theirs.append(fd)
            stdin, stdout, stderr = self._streams.open(task, theirs)
            prologs, node = plan.task_prologs, plan.node
            bound = self._bindings[local] if self._bindings else None
            if bound is not None:
                env.update(bound.environment)

            container = self._container
            notice = plan.notices[local] if plan.notices else ""

            def before(env: dict[str, str]) -> None:
                if notice:
                    os.write(2, notice.encode())
                if bound is not None:
                    bound.apply()
                run_task_prolog(prologs, env, node)
                if container is not None:
                    container.enter(env)

            task.pid = processes.spawn(
                processes.Process(
                    node=node,
                    argv=plan.argv[local] if container is None else container.argv(plan.argv[local]),
                    environment=env,
                    directory=plan.directory,
                    umask=plan.umask,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    terminal=terminal,
                    in_child_only=self._folder_in_child,
                    group=self._memory.folder if self._memory is not None else "",
                    rlimits={name: (pair[0], pair[1]) for name, pair in plan.rlimits.items()},
                    before_exec=before if prologs or bound is not None or container is not None or notice else None,
                )
            )
        except BaseException:
            self._streams.close(task)
            raise
        finally:
            for fd in set(theirs):
                os.close(fd)
        self.agent.orphans.add_session(task.pid, self.key)
        if self._series is not None:
            self.agent.sampler.watch(task.pid, self._series)
        self.agent.loop.child(task.pid, lambda status, usage: self._exited(task, status, usage))

    # --- streams
    def write_stdin(self, data: bytes) -> None:
        """Write bytes to all tasks that read the stream; empty: its end."""
        if self._started:
            self._streams.write(data)
        else:
            self._early_stdin.append(data)

    # --- signals
    def signal(self, number: int) -> None:
        """Send a signal to the step's processes on this node."""
        if not self._started and number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            self._early_signal = self._early_signal or number
            if self._opening is not None:
                self._opening.cancel()
                self._opening = None
                self._started = True
                self._end_unstarted(number)
            elif self._container is not None and not self._container_ready:
                self._container.close()
                self._started = True
                self._end_unstarted(number)
            return
        process_tree.send(self.members(), number)

    def kill(self) -> None:
        """Send SIGKILL to the step's processes on this node."""
        self.signal(signal.SIGKILL)

    def members(self) -> list[int]:
        """Processes of the step on this node."""
        roots = [task.pid for task in self.tasks if task.pid and task.status is None]
        return process_tree.tree(roots + self._orphans())

    def _orphans(self) -> list[int]:
        """Processes of the step that are no children of its tasks."""
        return self.agent.orphans.of(*self.key) + (self._memory.members() if self._memory is not None else [])

    # --- end
    def _exited(self, task: Task, status: int, usage: resource.struct_rusage) -> None:
        numbers = self.agent.sampler.end(task.pid, usage).to_list()
        if self._memory is not None:
            complaint = self._memory.oom_error("%d.%s" % self.key)
            if complaint:
                self.write_first_error(complaint)
            if self._memory.had_oom_error:
                status = OOM_STATUS
        task.status = status
        self._streams.close_stdin(task)
        self._streams.account_stdin()

        def report_exit() -> None:
            self.sink.exited(task.rank, status, numbers)
            self._check_over()

        if self.plan.task_epilogs:
            self._epilogs += 1

            def epilog_over() -> None:
                self._epilogs -= 1
                report_exit()

            local = self.tasks.index(task)
            env = {
                **self.plan.environment,
                **self.plan.task_environment[local],
                "SLURM_TASK_PID": str(task.pid),
            }

            start_task_epilog(self.agent.loop, self.plan, env, self.write_first_error, epilog_over)
        else:
            report_exit()

    def _check_over(self) -> None:
        if self._over or self._epilogs or any(task.status is None for task in self.tasks):
            return
        left = process_tree.tree(self._orphans())
        if left:
            process_tree.send(left, signal.SIGKILL)
        reading = self._streams.reading
        if left or reading:
            now = process_tree.now_boot()
            if left or not self._swept_at:
                self._swept_at = now
            if reading and not left and not self._streams.paused and now - self._swept_at > _LINGER_S:
                # A process outside the step holds the pipe open, and no process of the step is left to write.
                for task in self.tasks:
                    self._streams.close(task)
            elif not self._sweeping:
                self._sweeping = True
                self.agent.loop.after(0.05, self._sweep)
                return
            else:
                return
        self._over = True
        for task in self.tasks:
            self._streams.close(task)
            self.agent.orphans.forget_session(task.pid)
        if self._mpi is not None:
            self._mpi.close()
        if self._container is not None:
            self._container.close()
        if self._memory is not None:
            self._memory.close()
        self.agent.unhost_step(self.key)
        self.sink.step_ended(self.agent.sampler.close(self._series) if self._series is not None else NodeSeries())

    def _sweep(self) -> None:
        self._sweeping = False
        self._check_over()

    def usage(self) -> dict[int, list[float]]:
        """Return the current usage of the running tasks, for sstat."""
        return {
            task.rank: self.agent.sampler.sample(task.pid).to_list()
            for task in self.tasks
            if task.pid and task.status is None
        }
