"""A running step on the head agent. Starts, signals and collects its tasks on all nodes."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Optional, Protocol

from ...model.states import OOM_SIGNAL, OOM_STATUS, JobState
from ...model.step import NodeSeries, Step
from ...model.step_spec import StepSpec
from ...protocol.mpi_messages import MpiMessage, TaskAbort
from ...protocol.step_plan import StepPlan
from ..job.end_messages import CancelMessage
from ..mpi.pmi import Exchange
from ..net import endpoints
from ..net.channel import Channel
from ..process.process_usage import TaskUsage, combine
from ..process.usage_series import merge_into
from .step_allocation import StepShape
from .step_parts import LocalPart, RemotePart

if TYPE_CHECKING:
    from ..core.agent import Agent
    from ..core.head_job import HeadJob


_TERM = int(signal.SIGTERM)


class StepWatcher(Protocol):
    """A client that receives a step's output: srun or sattach."""

    def started(self, pids: dict[int, int]) -> None:
        """Handle the start of tasks; process ids by rank."""

    def output(self, rank: int, stream: int, data: bytes) -> None:
        """Handle a task's bytes of OUT or ERR."""

    def exited(self, node: str, rank: int, status: int) -> None:
        """Handle the end of a task, with a wait status."""

    def cancelled(self) -> None:
        """Handle a cancellation of the step from outside."""

    def step_ended(self) -> None:
        """Handle the end of the step."""


#: messages that are kept for later clients, as in slurmstepd's io.c (STDIO_MAX_MSG_CACHE)
RECENT = 128
RECENT_SIZE = 1024


class StepRun:
    """A running step on its head agent."""

    def __init__(self, job: HeadJob, records: list[tuple[Step, list[int]]], spec: StepSpec, shape: StepShape) -> None:
        self.job = job
        self._records = records  # with their ranks; several for a step on components of a het job
        record = self.record = records[0][0]
        self.spec = spec
        self.shape = shape
        self.watchers: list[StepWatcher] = []
        #: the last output, for later clients: at most RECENT pieces, each of at most RECENT_SIZE bytes
        self.recent: deque[tuple[int, int, bytes]] = deque(maxlen=RECENT)
        self.parts: list[Any] = []
        self.pids: dict[int, int] = {}
        self.statuses: dict[int, int] = {}
        self.usage: list[tuple[int, str, TaskUsage]] = []
        #: called when the step's time limit changes to an epoch second (None: no limit)
        self.on_limit: Callable[[Optional[float]], None] = lambda end_time: None
        self.on_stdin: Callable[[int], None] = lambda count: None
        self.node_series: list[NodeSeries] = []  # usage series of the nodes that have ended
        self.failed_nodes: list[str] = []
        self.cause = ""
        self.timed_out = False  # the step's own time limit has passed
        # Only the slurmstepd of the first node of each component writes the message.
        self._messages = {record.job_id: self._message(record) for record, _ in records}
        self.argv0 = record.name  # the program of its first task, as named
        self._given = 0
        self._consumed: list[int] = []
        self._reported = 0
        self._unread: set[int] = set()  # parts whose tasks have stopped reading stdin
        self._paused: set[object] = set()
        self._exchange = Exchange(len(shape.shares), self._send_mpi)
        self._over = False

    @property
    def step_id(self) -> str:
        """Return the step id as text."""
        return self.record.step_id

    def start(self, plans: list[StepPlan]) -> None:
        """Start the tasks on all nodes, other nodes first. Raises OSError if a connection to a node fails."""
        for index, (share, plan) in enumerate(zip(self.shape.shares, plans)):
            here = share.name == self.job.node
            self.parts.append((LocalPart if here else RemotePart)(self, index, share, plan))
        self._consumed = [0] * len(self.parts)
        self._emit_records()
        for part in sorted(self.parts, key=lambda part: isinstance(part, LocalPart)):
            part.start()

    def abandon(self) -> None:
        """End the step before a task was started. A broadcast or the prolog of srun failed."""
        if self._over:
            return
        self._over = True
        for record, _ in self._records:
            record.end_time = time.time()
            record.state = JobState.CANCELLED if self.cause else JobState.FAILED
            record.exit_code = 1
        self._emit_records()
        self.job.step_ended(self.step_id)

    # --- from the nodes
    def started(self, pids: dict[int, int]) -> None:
        """Handle the start of a node's tasks. ``pids``: process ids by rank."""
        self.pids.update(pids)
        for watcher in list(self.watchers):
            watcher.started(pids)

    def output(self, rank: int, stream: int, data: bytes) -> None:
        """Handle a task's output."""
        self.recent.append((rank, stream, data[-RECENT_SIZE:]))
        for watcher in list(self.watchers):
            watcher.output(rank, stream, data)

    def consumed(self, part: int, count: int, last: bool) -> None:
        """Handle ``count`` bytes of stdin that a node's tasks have read. The slowest node limits the flow."""
        self._consumed[part] += count
        if last:
            self._unread.add(part)
        self._report_consumed()

    def _report_consumed(self) -> None:
        counts = [count for part, count in zip(self.parts, self._consumed) if not part.ended]
        done = min(counts) if counts else self._given
        if done > self._reported:
            count, self._reported = done - self._reported, done
            self.on_stdin(count)

    def mpi(self, part: int, message: MpiMessage) -> None:
        """Handle a message of a node's PMI server. It is for other nodes' servers, or an abort by a task."""
        if isinstance(message, TaskAbort):
            self.cancel("CANCELLED", time.time(), signal.SIGKILL)
        else:
            self._exchange.on_message(part, message)

    def _send_mpi(self, part: int, message: MpiMessage) -> None:
        if not self.parts[part].ended:
            self.parts[part].on_mpi_message(message)

    def task_exited(self, part: Any, rank: int, status: int, usage: list[float]) -> None:
        """Handle the end of a task."""
        self.statuses[rank] = status
        if status == OOM_STATUS and self.spec.job.oom_kill_step:
            self.kill()
        self.usage.append((rank, part.name, TaskUsage.from_list(usage)))
        for watcher in list(self.watchers):
            watcher.exited(part.name, rank, status)

    def node_failed(self, name: str) -> None:
        """Handle a node's failure. The step ends on all nodes, unless it has --no-kill.

        A job without --no-kill ends as a whole. Source: stepmgr.c kill_step_on_node.
        """
        if name not in self.failed_nodes:
            self.failed_nodes.append(name)
        if self.job.launch.spec.no_kill and not self.spec.job.no_kill:
            self.kill()

    def part_ended(self) -> None:
        """Handle a part's end; after the last one store the step's result."""
        self._report_consumed()
        if self.job.ended_components:
            self.job.report_ended_components()
        if self._over:
            return
        running = not all(part.ended for part in self.parts)
        for record, ranks in self._records:
            if record.end_time or (running and self.parts_of(record.job_id)):
                continue
            self._record_end(record, frozenset(ranks))
            if running:
                self.job.emit_step(record)
        if running:
            return
        self._over = True
        merge_into(self.record.usage, self.node_series)  # merged over all nodes
        self.job.derived_exit = max(self.job.derived_exit, *(record.exit_code for record, _ in self._records))
        self._emit_records()
        self.job.step_ended(self.step_id)
        for watcher in list(self.watchers):
            watcher.step_ended()

    def _record_end(self, record: Step, ranks: frozenset[int]) -> None:
        record.end_time = time.time()
        code, number = worst(status for rank, status in self.statuses.items() if rank in ranks)
        record.exit_code, record.exit_signal = code, number
        # Tasks that handle the signal decide the state of a cancelled step (as_mysql_job.c as_mysql_step_complete).
        record.state = JobState.CANCELLED if number else (JobState.FAILED if code else JobState.COMPLETED)
        if number == OOM_SIGNAL:
            record.state = JobState.OUT_OF_MEMORY
        if self.timed_out:
            record.state = JobState.TIMEOUT
        if self.failed_nodes:
            record.state = JobState.NODE_FAIL
        record.usage = combine(item for item in self.usage if item[0] in ranks)

    def _emit_records(self) -> None:
        for record, _ in self._records:
            self.job.emit_step(record)

    # --- to the nodes
    def write_stdin(self, data: bytes) -> None:
        """Send stdin to all tasks that read the stream; empty: its end."""
        self._given += len(data)
        for part in self.parts:
            if not part.ended:
                part.write_stdin(data)
        self._report_consumed()

    @property
    def reads_stdin(self) -> bool:
        """False if all tasks have stopped reading stdin."""
        return any(not part.ended and part.index not in self._unread for part in self.parts)

    def parts_of(self, owner: int) -> list[Any]:
        """Return the running parts of a het job's component. ``owner``: its job id; 0: all components."""
        running = [(part, ranks) for part, ranks in zip(self.parts, self.shape.ranks) if not part.ended]
        if not owner or len(self._records) == 1:
            return [part for part, _ in running if owner in (0, self.record.job_id)]
        own = {rank for record, ranks in self._records if record.job_id == owner for rank in ranks}
        return [part for part, ranks in running if own.issuperset(ranks)]

    def signal(self, number: int, owner: int = 0) -> None:
        """Send a signal to all processes of the step or of one component."""
        for part in self.parts_of(owner):
            part.signal(number)

    def component_rank(self, rank: int) -> int:
        """Return a task's number in its component, which srun's messages show."""
        if len(self._records) == 1:
            return rank
        return next(ranks.index(rank) for _, ranks in self._records if rank in ranks)

    def announce(self, cause: str, now: float, number: int, owner: int = 0) -> None:
        """Write slurmstepd's message about a signal that terminates."""
        for record, _ in self._records:
            if owner in (0, record.job_id):
                self._messages[record.job_id].send(cause, now, number)

    def end_on_node(self, name: str, failed: bool) -> None:
        """Kill the step's tasks on a node that the job releases. ``failed``: the node is down."""
        for part in self.parts:
            if part.name == name and not part.ended:
                part.resume()
                part.signal(signal.SIGKILL)
                if failed:
                    self.node_failed(name)

    def kill(self) -> None:
        """Send SIGKILL to all processes of the step."""
        self.resume_all()
        self.signal(signal.SIGKILL)

    def cancel(self, cause: str, now: float, number: int = _TERM, by: Optional[int] = None, owner: int = 0) -> None:
        """Cancel the step: notify watchers, then signal the tasks.

        ``by``: uid that cancels this step; ``owner``: job id of a component, the only one that ends; 0: all.
        """
        own = [record for record, _ in self._records if owner in (0, record.job_id) and not record.end_time]
        if self.cause or not own:
            return
        if not owner or len(self._records) == 1:
            self.cause = cause
        for record in own:
            record.cancelled_by = by
        for watcher in list(self.watchers):
            watcher.cancelled()
        self.announce(cause, now, number, owner)
        self.signal(number, owner)
        self.signal(signal.SIGCONT, owner)

    def _message(self, record: Step) -> CancelMessage:
        def write(text: str) -> None:
            for part in self.parts_of(record.job_id)[:1]:
                part.complain(text)

        return CancelMessage(record.nodes[0], "STEP %d.%s" % (record.job_id, self.step_id), write)

    def set_size(self, rows: int, columns: int) -> None:
        """Send the terminal's new size to all nodes."""
        for part in self.parts:
            if not part.ended:
                part.set_size(rows, columns)

    def pause(self, who: object) -> None:
        """Pause output for a slow watcher."""
        if not self._paused:
            for part in self.parts:
                if not part.ended:
                    part.pause()
        self._paused.add(who)

    def resume(self, who: object) -> None:
        """Resume output once no watcher is slow."""
        if who in self._paused:
            self._paused.discard(who)
            if not self._paused:
                self.resume_all()

    def resume_all(self) -> None:
        """Resume output without waiting for slow watchers."""
        self._paused.clear()
        for part in self.parts:
            if not part.ended:
                part.resume()


def worst(statuses: Any) -> tuple[int, int]:
    """Return the step's (exit code, signal) from wait statuses. A signal takes precedence over any code."""
    code = number = 0
    for status in statuses:
        if os.WIFSIGNALED(status):
            number = max(number, os.WTERMSIG(status))
        else:
            code = max(code, os.WEXITSTATUS(status))
    return (0, number) if number else (code, 0)


def connect(agent: Agent, address: str) -> Channel:
    """Connect to another agent. Raises OSError."""
    sock = endpoints.connect(address, agent.tls_client)
    if address.startswith(endpoints.UNIX):
        return Channel(agent.loop, sock)
    from ..net.tls_channel import TlsChannel

    return TlsChannel(agent.loop, sock)
