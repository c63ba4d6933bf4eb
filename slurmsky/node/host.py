"""The tasks of one step on one node: starts them, carries their streams, says how they ended."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Protocol

from . import binding, output, processes, topology, wire
from .binding import BindError, Binding
from .channel import Channel
from .loop import READ, WRITE
from .prologs import run_task_prolog, start_task_epilog

if TYPE_CHECKING:
    import resource

    from .agent import Agent
    from .pmi import NodeServer

#: how much of a task's unfinished line is held back before it is passed on as it is
LINE_LIMIT = 1 << 16
CHUNK = 1 << 18
OUT, ERR = 1, 2
#: frames between agents: task output, stdin for tasks
TASK_OUTPUT = b"d"
TASK_INPUT = b"n"
_F_SETPIPE_SZ = 1031
#: how long a task's pipes are read after its last known process is gone
_LINGER_S = 3.0


class Sink(Protocol):
    """Who hears of a node's tasks."""

    def started(self, pids: dict[int, int]) -> None: ...
    def output(self, rank: int, stream: int, data: bytes) -> None: ...
    def consumed(self, count: int) -> None: ...
    def exited(self, rank: int, status: int, usage: list[float]) -> None: ...
    def mpi(self, message: dict[str, Any]) -> None: ...
    def over(self) -> None: ...


@dataclass
class Plan:
    """What one node has to do for a step; JSON-ready."""

    job_id: int
    step_id: str
    node: str
    node_id: int
    ranks: list[int]
    argv: list[list[str]]  # per local task
    environment: dict[str, str]
    task_environment: list[dict[str, str]]  # per local task; wins
    directory: str
    umask: int
    stdin: str = "stream"  # "stream", "null", or a file name with patterns
    stdin_rank: Optional[int] = None  # only this task reads the stream; the others have nothing
    stdout: str = "stream"
    stderr: str = "stream"  # "=stdout": the same file
    open_mode: Optional[str] = None
    terminal: Optional[list[int]] = None  # rows, columns of the pseudo terminal of task 0
    unbuffered: bool = False
    rlimits: dict[str, list[int]] = field(default_factory=dict)
    bind: Optional[dict[str, Any]] = None  # CPUs and memory of the tasks: see binding.request
    task_prologs: list[list[str]] = field(default_factory=list)
    task_epilogs: list[list[str]] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)  # NameFacts less node and task
    head: str = ""  # address of the job's head agent
    mpi: Optional[dict[str, Any]] = None  # what tasks find each other by: see pmi.plan


class _Task:
    """One process of the step and our ends of its pipes."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.pid = 0
        self.status: Optional[int] = None
        self.stdin = -1
        self.stdin_queue: deque[bytes] = deque()
        self.stdin_taken = 0  # bytes of the broadcast it has read, or will never read
        self.stdin_ended = False
        self.readers: dict[int, int] = {}  # our descriptor -> OUT or ERR
        self.held: dict[int, bytes] = {}  # descriptor -> unfinished line


class StepHost:
    """Runs a Plan on this node."""

    def __init__(self, agent: Agent, plan: Plan, sink: Sink) -> None:
        self.agent = agent
        self.plan = plan
        self.sink = sink
        self.tasks = [_Task(rank) for rank in plan.ranks]
        self.key = (plan.job_id, plan.step_id)
        self._by_rank = {task.rank: task for task in self.tasks}
        self._paused = False
        self._given = 0  # bytes of stdin that came for all
        self._told = 0  # bytes of them that are told as consumed
        self._over = False
        self._sweeping = False
        self._swept_at = 0.0
        self._whole_lines = not plan.unbuffered and len(plan.ranks) > 1
        self._epilogs = 0
        self._mpi = self._mpi_server(plan)
        self._started = False
        self._early_signal = 0  # came before the tasks could be started
        self._early_stdin: list[bytes] = []
        self._bindings: list[Binding] = []  # per task; empty: none is bound

    def _mpi_server(self, plan: Plan) -> Optional[NodeServer]:
        if plan.mpi is None:
            return None
        if plan.mpi["type"] == "pmix":
            from .pmix import PmixNode

            return PmixNode(self.agent.loop, plan.mpi, plan.node_id, plan.environment, self)
        from .pmi import PmiNode

        return PmiNode(self.agent.loop, plan.mpi, plan.ranks, self)

    # --- start
    def start(self) -> None:
        """Start all tasks. Files that cannot be opened end the step as slurmstepd would end it."""
        self.agent.hosted[self.key] = processes.now_boot()
        if self._mpi is None:
            self._start_tasks()
        else:
            self._mpi.prepare(self._start_tasks, self._cannot_start)

    def _cannot_start(self, why: str) -> None:
        if self._started:
            self._complain(self.tasks[0], why)
            self.kill()
            return
        self._started = True
        self._complain(self.tasks[0], why)
        self._give_up(1 << 8)

    def _give_up(self, status: int) -> None:
        self.sink.started({})
        for task in self.tasks:
            task.status = status
            self.sink.exited(task.rank, status, [0.0] * 7)
        self._account_stdin()
        self._check_over()

    def _start_tasks(self) -> None:
        self._started = True
        if self._early_signal:
            self._give_up(self._early_signal)
            return
        try:
            self._bindings = self._bind()
        except BindError as error:
            self._complain(self.tasks[0], str(error))
            self._give_up(1 << 8)
            return
        pids: dict[int, int] = {}
        fault = processes.chdir_fault(self.plan.directory)
        if fault and self.tasks:
            # The step's manager tries it too, once on each node.
            self._complain(self.tasks[0], fault)
        for local, task in enumerate(self.tasks):
            try:
                self._spawn(local, task)
            except OSError as error:
                self._complain(task, str(getattr(error, "complaint", None) or "fork: %s" % error.strerror))
                task.status = (error.errno or 1) << 8 if not hasattr(error, "complaint") else output.IO_FAILED << 8
                continue
            pids[task.rank] = task.pid
        self.sink.started(pids)
        early, self._early_stdin = self._early_stdin, []
        for data in early:
            self.write_stdin(data)
        for task in self.tasks:
            if task.status is not None:
                self.sink.exited(task.rank, task.status, [0.0] * 7)
        self._account_stdin()
        self._check_over()

    def _bind(self) -> list[Binding]:
        plan = self.plan
        if plan.bind is None:
            return []
        return binding.of_step(
            plan.bind, topology.node(plan.bind["count"]), plan.bind["cpus"], plan.node, plan.ranks
        )

    def mpi(self, message: dict[str, Any]) -> None:
        """What the tasks' PMI server has to say to the head agent."""
        self.sink.mpi(message)

    def mpi_heard(self, message: dict[str, Any]) -> None:
        """What the head agent says to it."""
        if self._mpi is not None:
            self._mpi.heard(message)

    def complain(self, rank: int, text: str) -> None:
        """A line of slurmstepd on a task's stderr."""
        self._complain(self._by_rank[rank], text)

    def say(self, rank: int, text: str) -> None:
        """What a task's MPI tells the user in its name."""
        self.sink.output(rank, ERR, text.encode(errors="replace"))

    def _complain(self, task: _Task, text: str) -> None:
        self.sink.output(task.rank, ERR, ("slurmstepd-%s: error: %s\n" % (self.plan.node, text)).encode())

    def _spawn(self, local: int, task: _Task) -> None:
        plan = self.plan
        env = dict(plan.environment)
        env.update(plan.task_environment[local])
        self.agent.add_own_variables(env)
        theirs: list[int] = []
        terminal = plan.terminal is not None and task.rank == 0
        try:
            if self._mpi is not None:
                more, fd = self._mpi.open(task.rank)
                env.update(more)
                if fd >= 0:
                    theirs.append(fd)
            if terminal:
                assert plan.terminal is not None
                stdin = stdout = stderr = self._open_terminal(task, plan.terminal)
                theirs.append(stdin)
            else:
                stdin = self._open_stdin(task)
                theirs.append(stdin)
                stdout = self._open_stdout(task, plan.stdout, OUT)
                theirs.append(stdout)
                stderr = stdout if plan.stderr == "=stdout" else self._open_stdout(task, plan.stderr, ERR)
                theirs.append(stderr)
            prologs, node = plan.task_prologs, plan.node
            bound = self._bindings[local] if self._bindings else None

            def before(env: dict[str, str]) -> None:
                if bound is not None:
                    bound.apply()
                run_task_prolog(prologs, env, node)

            task.pid = processes.spawn(
                processes.Process(
                    node=node,
                    argv=plan.argv[local],
                    environment=env,
                    directory=plan.directory,
                    umask=plan.umask,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    terminal=terminal,
                    rlimits={name: (pair[0], pair[1]) for name, pair in plan.rlimits.items()},
                    before_exec=before if prologs or bound is not None else None,
                )
            )
        except BaseException:
            self._close(task)
            raise
        finally:
            for fd in set(theirs):
                os.close(fd)
        self.agent.sessions[task.pid] = self.key
        self.agent.sampler.watch(task.pid)
        self.agent.loop.child(task.pid, lambda status, usage: self._exited(task, status, usage))

    def _facts(self, task: _Task) -> output.NameFacts:
        return output.NameFacts(
            step_id=self.plan.step_id,
            node=self.plan.node,
            node_id=self.plan.node_id,
            task_id=task.rank,
            **self.plan.names,
        )

    def _open_stdin(self, task: _Task) -> int:
        plan = self.plan
        if plan.stdin == "null" or (plan.stdin == "stream" and plan.stdin_rank not in (None, task.rank)):
            return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        if plan.stdin != "stream":
            return self._open_file(task, plan.stdin, "stdin", lambda path: output.open_input(path))
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        if len(self.tasks) <= 8:
            _enlarge(ours)
        task.stdin = ours
        self.agent.loop.watch(ours, 0, lambda events: self._stdin_ready(task))
        return theirs

    def _open_stdout(self, task: _Task, target: str, stream: int) -> int:
        if target == "null":
            return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        if target != "stream":
            name = "stdout" if stream == OUT else "stderr"
            return self._open_file(task, target, name, lambda path: output.open_output(path, self.plan.open_mode))
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        if len(self.tasks) <= 8:
            _enlarge(ours)
        self._read_from(task, ours, stream)
        return theirs

    def _open_file(self, task: _Task, pattern: str, what: str, opener: Any) -> int:
        path = os.path.join(self.plan.directory, output.expand(pattern, self._facts(task)))
        previous = os.umask(self.plan.umask)
        try:
            return int(opener(path))
        except OSError as error:
            error.complaint = "Could not open %s file %s: %s" % (what, path, error.strerror)  # type: ignore[attr-defined]
            raise
        finally:
            os.umask(previous)

    def _open_terminal(self, task: _Task, size: list[int]) -> int:
        import termios

        ours, theirs = os.openpty()
        os.set_blocking(ours, False)
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", size[0], size[1], 0, 0))
        task.stdin = os.dup(ours)
        os.set_blocking(task.stdin, False)
        self.agent.loop.watch(task.stdin, 0, lambda events: self._stdin_ready(task))
        self._read_from(task, ours, OUT)
        return theirs

    # --- output
    def _read_from(self, task: _Task, fd: int, stream: int) -> None:
        task.readers[fd] = stream
        self.agent.loop.watch(fd, 0 if self._paused else READ, lambda events: self._readable(task, fd))

    def _readable(self, task: _Task, fd: int) -> None:
        if self._paused:
            # A hang-up is reported even when nothing is asked for; it will be seen again in resume.
            self.agent.loop.forget(fd)
            return
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # EIO: the terminal's last user is gone
        stream = task.readers[fd]
        if data:
            if self._whole_lines:
                data = task.held.pop(fd, b"") + data
                end = data.rfind(b"\n") + 1
                if end < len(data) and len(data) - end < LINE_LIMIT:
                    task.held[fd] = data[end:]
                    data = data[:end]
            if data:
                self.sink.output(task.rank, stream, data)
            return
        rest = task.held.pop(fd, b"")
        self.agent.loop.forget(fd)
        os.close(fd)
        del task.readers[fd]
        if rest:
            self.sink.output(task.rank, stream, rest)
        self._check_over()

    def pause(self) -> None:
        """Read no more output: who takes it is slow."""
        if not self._paused:
            self._paused = True
            for task in self.tasks:
                for fd in task.readers:
                    self.agent.loop.forget(fd)

    def resume(self) -> None:
        """Read output again."""
        if self._paused:
            self._paused = False
            for task in self.tasks:
                for fd in task.readers:
                    self.agent.loop.forget(fd)
                    self.agent.loop.watch(fd, READ, lambda events, task=task, fd=fd: self._readable(task, fd))  # type: ignore[misc]

    # --- stdin
    def write_stdin(self, data: bytes) -> None:
        """Give bytes to all tasks that read the stream; empty: the stream has ended."""
        if not self._started:
            self._early_stdin.append(data)
            return
        self._given += len(data)
        for task in self.tasks:
            if task.stdin >= 0:
                if data:
                    task.stdin_queue.append(data)
                else:
                    task.stdin_ended = True
                self._feed(task)
        self._account_stdin()

    def _stdin_ready(self, task: _Task) -> None:
        self._feed(task, woken=True)
        self._account_stdin()

    def _feed(self, task: _Task, woken: bool = False) -> None:
        if task.stdin < 0:
            return
        try:
            while task.stdin_queue:
                data = task.stdin_queue[0]
                count = os.write(task.stdin, data)
                task.stdin_taken += count
                if count < len(data):
                    task.stdin_queue[0] = data[count:]
                else:
                    task.stdin_queue.popleft()
        except BlockingIOError:
            self.agent.loop.change(task.stdin, WRITE)
            return
        except OSError:
            self._close_stdin(task)  # EPIPE: it reads no more
            return
        if task.stdin_ended:
            if self.plan.terminal is not None and task.rank == 0:
                task.stdin_ended = False
                task.stdin_queue.append(b"\x04")  # what the end of input is to a terminal
                self._feed(task)
                return
            self._close_stdin(task)
        elif woken and not task.stdin_queue:
            # Woken without anything to write: the other end has hung up.
            if not self._writable_end_open(task):
                self._close_stdin(task)
            else:
                self.agent.loop.change(task.stdin, 0)
        else:
            self.agent.loop.change(task.stdin, 0)

    @staticmethod
    def _writable_end_open(task: _Task) -> bool:
        import select

        poll = select.poll()
        poll.register(task.stdin, 0)
        return not poll.poll(0)

    def _close_stdin(self, task: _Task) -> None:
        if task.stdin >= 0:
            self.agent.loop.forget(task.stdin)
            os.close(task.stdin)
            task.stdin = -1
            task.stdin_queue.clear()

    def _account_stdin(self) -> None:
        readers = [task.stdin_taken for task in self.tasks if task.stdin >= 0]
        done = min(readers) if readers else self._given
        if done > self._told:
            count, self._told = done - self._told, done
            self.sink.consumed(count)

    def set_size(self, rows: int, columns: int) -> None:
        """The caller's terminal has a new size."""
        import termios

        task = self._by_rank.get(0)
        if task is not None and self.plan.terminal is not None and task.stdin >= 0:
            fcntl.ioctl(task.stdin, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    # --- signals
    def signal(self, number: int) -> None:
        """To all processes of the step here."""
        if not self._started and number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            self._early_signal = self._early_signal or number
            return
        processes.send(self.members(), number)

    def kill(self) -> None:
        """SIGKILL to all of them."""
        self.signal(signal.SIGKILL)

    def members(self) -> list[int]:
        """Processes of the step on this node."""
        roots = [task.pid for task in self.tasks if task.pid and task.status is None]
        return processes.tree(roots + self.agent.orphans_of(*self.key))

    # --- end
    def _exited(self, task: _Task, status: int, usage: resource.struct_rusage) -> None:
        numbers = self.agent.sampler.end(task.pid, usage).to_list()
        task.status = status
        self._close_stdin(task)
        self._account_stdin()

        def told() -> None:
            self.sink.exited(task.rank, status, numbers)
            self._check_over()

        if self.plan.task_epilogs:
            self._epilogs += 1

            def epilog_over() -> None:
                self._epilogs -= 1
                told()

            local = self.tasks.index(task)
            env = {
                **self.plan.environment,
                **self.plan.task_environment[local],
                "SLURM_TASK_PID": str(task.pid),
            }

            def complain(text: str) -> None:
                self._complain(task, text)

            start_task_epilog(self.agent.loop, self.plan.task_epilogs, env, complain, epilog_over)
        else:
            told()

    def _check_over(self) -> None:
        if self._over or self._epilogs or any(task.status is None for task in self.tasks):
            return
        left = processes.tree(self.agent.orphans_of(*self.key))
        if left:
            processes.send(left, signal.SIGKILL)
        reading = any(task.readers for task in self.tasks)
        if left or reading:
            now = processes.now_boot()
            if left or not self._swept_at:
                self._swept_at = now
            if reading and not left and not self._paused and now - self._swept_at > _LINGER_S:
                # Somebody outside the step holds the pipe; nothing of the step is left to write.
                for task in self.tasks:
                    self._close(task)
            elif not self._sweeping:
                self._sweeping = True
                self.agent.loop.after(0.05, self._sweep)
                return
            else:
                return
        self._over = True
        for task in self.tasks:
            self._close(task)
            self.agent.sessions.pop(task.pid, None)
        if self._mpi is not None:
            self._mpi.close()
        self.agent.hosted_no_more(self.key)
        self.sink.over()

    def _sweep(self) -> None:
        self._sweeping = False
        self._check_over()

    def _close(self, task: _Task) -> None:
        self._close_stdin(task)
        for fd in list(task.readers):
            self.agent.loop.forget(fd)
            os.close(fd)
            del task.readers[fd]

    def look(self) -> dict[int, list[float]]:
        """Usage of the running tasks so far, for sstat."""
        return {
            task.rank: self.agent.sampler.look(task.pid).to_list()
            for task in self.tasks
            if task.pid and task.status is None
        }


def _enlarge(fd: int) -> None:
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, CHUNK)
    except OSError:
        return  # over the user's share of pipe memory: 64 KiB do


# --- for a head agent on another node


class _Wired:
    """A sink that tells the head agent over a connection; its silence pauses the tasks' output."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.host: Optional[StepHost] = None

    def started(self, pids: dict[int, int]) -> None:
        self.channel.send_json({"ev": "started", "pids": {str(rank): pid for rank, pid in pids.items()}})

    def output(self, rank: int, stream: int, data: bytes) -> None:
        self.channel.send(TASK_OUTPUT, struct.pack(">IB", rank, stream) + data)
        if self.channel.full and self.host is not None:
            self.host.pause()

    def consumed(self, count: int) -> None:
        self.channel.send_json({"ev": "consumed", "count": count})

    def exited(self, rank: int, status: int, usage: list[float]) -> None:
        self.channel.send_json({"ev": "exit", "rank": rank, "status": status, "usage": usage})

    def mpi(self, message: dict[str, Any]) -> None:
        self.channel.send_json({"ev": "mpi", "message": message})

    def over(self) -> None:
        self.channel.on_close = lambda: None
        self.channel.send_json({"ev": "over"})
        self.channel.close()


def serve_agent(agent: Agent, channel: Channel) -> None:
    """One connection of a head agent: one step's part on this node. Its loss ends the tasks."""
    sink = _Wired(channel)

    def received(kind: bytes, payload: bytes) -> None:
        host = sink.host
        if kind == TASK_INPUT:
            if host is not None:
                host.write_stdin(payload)
            return
        if kind != wire.JSON:
            return
        message = json.loads(payload)
        operation = message["op"]
        if operation == "step":
            plan = Plan(**message["plan"])
            host = sink.host = StepHost(agent, plan, sink)
            agent.hosting(plan.job_id, plan.head)
            channel.on_drain = host.resume
            host.start()
        elif operation == "file":
            from .sbcast import serve_file

            serve_file(channel, message)
        elif host is None:
            return
        elif operation == "signal":
            host.signal(int(message["signal"]))
        elif operation == "mpi":
            host.mpi_heard(message["message"])
        elif operation == "winsize":
            host.set_size(message["rows"], message["columns"])
        elif operation == "look":
            channel.send_json({"ev": "look", "usage": {str(rank): usage for rank, usage in host.look().items()}})

    def lost() -> None:
        if sink.host is not None:
            sink.host.resume()
            sink.host.kill()

    channel.on_frame = received
    channel.on_close = lost
