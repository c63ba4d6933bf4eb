"""Steps on the head agent: which nodes and CPUs of the job one gets, and its life over the nodes."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional, Protocol

from ..model.allocation import NodeShare
from ..model.job import Step
from ..model.spec import JobSpec, StepSpec
from ..model.states import JobState
from . import layout, transport, wire
from .channel import Channel
from .host import TASK_INPUT, TASK_OUTPUT, Plan, StepHost
from .jobs import cancel_line
from .usage import TaskUsage, combine

if TYPE_CHECKING:
    from .agent import Agent
    from .jobs import Job


_TERM = int(signal.SIGTERM)


class StepRefused(Exception):
    """The step can never run in this job; the text is Slurm's."""


class StepBusy(Exception):
    """Its resources are in use by other steps; the text is Slurm's reason."""


@dataclass
class Shape:
    """What a step gets."""

    shares: list[NodeShare]  # the job's shares it runs on, in step order
    cpus: list[tuple[int, ...]]  # CPUs of the step on each
    memory_mib: list[int]
    gpus: list[tuple[int, ...]]
    ranks: list[list[int]]
    distribution: str
    cpus_per_task: int
    overlap: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass
class _Use:
    """What running steps hold on one node."""

    cpus: set[int] = field(default_factory=set)
    gpus: set[int] = field(default_factory=set)
    memory_mib: int = 0


def _wanted_nodes(spec: JobSpec, available: int) -> tuple[int, int]:
    least = spec.nodes_min or 0
    most = spec.nodes_max or least or available
    return least, min(most, available)


def task_count(spec: JobSpec, job_nodes: int, job_tasks: int) -> int:
    """Tasks of a step: as asked, else per node, else one per node, else the job's number."""
    if spec.ntasks is not None:
        return spec.ntasks
    nodes = spec.nodes_min or job_nodes
    if spec.ntasks_per_node:
        return spec.ntasks_per_node * nodes
    return nodes if spec.nodes_min else job_tasks


def candidates(job: Job, step: StepSpec) -> list[NodeShare]:
    """The job's nodes that -w, -x and -r leave. Raises StepRefused."""
    shares = job.launch.shares
    spec = step.job
    if spec.nodelist and "nodelist" in step.typed:
        from ..language.hostlist import expand

        wanted = expand(spec.nodelist)
        known = {share.name for share in shares}
        if any(name not in known for name in wanted):
            raise StepRefused("Requested node configuration is not available")
        # -w of fewer nodes than the step has: these must be among them, so they come first.
        first = [share for share in shares if share.name in wanted]
        shares = (
            first
            if not (spec.nodes_min and spec.nodes_min > len(first))
            else (first + [share for share in shares if share.name not in wanted])
        )
    if spec.exclude:
        from ..language.hostlist import expand

        unwanted = set(expand(spec.exclude))
        shares = [share for share in shares if share.name not in unwanted]
    if step.relative is not None:
        if step.relative >= len(job.launch.shares):
            raise StepRefused("Requested node configuration is not available")
        shares = shares[step.relative :] + shares[: step.relative]
    if not shares:
        raise StepRefused("Requested node configuration is not available")
    return shares


def gpus_per_node(spec: JobSpec, tasks: int) -> Optional[int]:
    """GPUs that a step asks for on a node with so many of its tasks; None: all that the job has there."""

    def number(text: Optional[str]) -> Optional[int]:
        if not text:
            return None
        total = 0
        for part in text.split(","):
            words = part.split("=")[0].split(":") if "=" not in part else part.replace("=", ":").split(":")
            if words and words[0] in ("gres/gpu", "gpu"):
                words = words[1:] or ["1"]
            total += int(words[-1]) if words[-1].isdigit() else 1
        return total

    if spec.gres is not None:
        if spec.gres.lower() == "none":
            return 0
        gpus = [
            part for part in spec.gres.split(",") if part.split(":")[0].split("=")[0] in ("gpu", "gres/gpu")
        ]
        return number(",".join(gpus)) if gpus else None
    per_task = number(spec.gpus_per_task)
    if per_task is not None:
        return per_task * tasks
    return number(spec.gpus_per_node)


def choose(job: Job, step: StepSpec) -> Shape:
    """Nodes, CPUs, memory and layout for a step. Raises StepRefused, StepBusy.

    Without --exact (which -c implies) a step has all CPUs of its nodes; without --overlap it does not share
    them
    with other steps. Source: step_mgr.c _pick_step_nodes, the oracle.
    """
    spec = step.job
    launch = job.launch
    shares = candidates(job, step)
    least, most = _wanted_nodes(spec, len(shares))
    if least > len(launch.shares):
        raise StepRefused("Only allocated %d nodes asked for %d" % (len(launch.shares), least))
    ntasks = task_count(spec, len(launch.shares), launch.ntasks)
    exact = step.exact or step.exclusive or bool(spec.cpus_per_task)
    per_task = spec.cpus_per_task or 1
    use = _in_use(job)
    free: list[tuple[int, ...]] = []
    for share in shares:
        taken = set() if step.overlap else use[share.name].cpus
        free.append(tuple(cpu for cpu in share.cpu_ids if cpu not in taken))
    overcommit = spec.overcommit
    total = sum(len(share.cpu_ids) // per_task for share in shares)
    if not overcommit and total < ntasks and not _arbitrary(spec):
        raise StepRefused("More processors requested than permitted")
    # Nodes that have room now, in the job's order; all of the wanted ones when nothing says how many.
    chosen: list[int] = []
    room = 0
    want = least or (1 if exact else 0)
    for index, share in enumerate(shares):
        usable = (
            len(free[index]) // per_task
            if exact
            else (len(free[index]) // per_task if len(free[index]) == len(share.cpu_ids) else 0)
        )
        if overcommit:
            usable = max(usable, 1) if (free[index] or step.overlap) else usable
        if usable < 1 and not step.overlap:
            continue
        if len(chosen) >= most:
            break
        if chosen and len(chosen) >= max(want, 1) and room >= ntasks and least:
            break
        if chosen and len(chosen) >= ntasks:
            break
        chosen.append(index)
        room += max(usable, 1 if step.overlap else 0)
    if len(chosen) < max(1, least) or (
        room < ntasks and not overcommit and not step.overlap and not _arbitrary(spec)
    ):
        raise StepBusy("Requested nodes are busy")
    picked = [shares[index] for index in chosen]
    have = [free[index] if not step.overlap else shares[index].cpu_ids for index in chosen]
    distribution, plane_size, pack = _distribution(spec, ntasks, len(picked))
    if distribution == "arbitrary":
        hosts = _arbitrary(spec)
        picked = [share for share in launch.shares if share.name in hosts]
        have = [share.cpu_ids for share in picked]
        ranks = layout.arbitrary(hosts, [share.name for share in picked])
    else:
        ranks = layout.lay_out(
            ntasks,
            [len(cpus) for cpus in have],
            per_task,
            distribution,
            plane_size=plane_size,
            per_node=spec.ntasks_per_node,
            pack=pack,
        )
    cpus: list[tuple[int, ...]] = []
    memory: list[int] = []
    gpus: list[tuple[int, ...]] = []
    for share, ids, here in zip(picked, have, ranks):
        cpus.append(tuple(ids[: max(1, len(here) * per_task)]) if exact else tuple(ids))
        amount = spec.mem_mib or (spec.mem_per_cpu_mib or 0) * len(cpus[-1])
        if not amount and exact and "mem_per_cpu_mib" in launch.spec.to_dict():
            amount = (launch.spec.mem_per_cpu_mib or 0) * len(cpus[-1])
        memory.append(amount)
        if share.memory_mib and amount > share.memory_mib:
            raise StepRefused("Memory required by task is not available")
        if (
            share.memory_mib
            and amount
            and not step.overlap
            and use[share.name].memory_mib + amount > share.memory_mib
        ):
            raise StepBusy("Requested nodes are busy")
        gpus.append(_choose_gpus(spec, share, len(here), use[share.name].gpus, step.overlap))
    return Shape(picked, cpus, memory, gpus, ranks, distribution, per_task, step.overlap)


def _choose_gpus(
    spec: JobSpec, share: NodeShare, tasks: int, taken: set[int], overlap: bool
) -> tuple[int, ...]:
    from .environment import gpu_indices

    have = gpu_indices(share.gres)
    count = gpus_per_node(spec, tasks)
    if count is None:
        return have
    if count > len(have):
        raise StepRefused("Invalid generic resource (gres) specification")
    free = have if overlap else tuple(index for index in have if index not in taken)
    if count > len(free):
        raise StepBusy("Requested nodes are busy")
    return free[:count]


def _arbitrary(spec: JobSpec) -> list[str]:
    if (spec.distribution or "").lower().startswith("arbitrary") and spec.nodelist:
        from ..language.hostlist import expand

        return expand(spec.nodelist)
    return []


def _distribution(spec: JobSpec, ntasks: int, nodes: int) -> tuple[str, int, bool]:
    text = (spec.distribution or "").lower()
    base, _, option = text.partition(",")
    word, _, size = base.partition(":")[0].partition("=")
    if word == "plane":
        return "plane", int(size or 1), False
    if word in ("block", "cyclic", "arbitrary"):
        return word, 0, option == "pack"
    return layout.default_distribution(ntasks, nodes), 0, option == "pack"


def _in_use(job: Job) -> dict[str, _Use]:
    use = {share.name: _Use() for share in job.launch.shares}
    for run in job.steps.values():
        if run.shape.overlap:
            continue
        for share, cpus, memory, gpus in zip(
            run.shape.shares, run.shape.cpus, run.shape.memory_mib, run.shape.gpus
        ):
            held = use[share.name]
            held.cpus.update(cpus)
            held.memory_mib += memory
            if gpus_per_node(run.spec.job, 1) is not None:
                held.gpus.update(gpus)
    return use


# --- the life of a step


class Watcher(Protocol):
    """Who looks at a step: its srun, or an sattach."""

    def output(self, rank: int, stream: int, data: bytes) -> None: ...
    def exited(self, node: str, rank: int, status: int) -> None: ...
    def cancelled(self, line: str, cause: str) -> None: ...
    def over(self) -> None: ...


class _Part:
    """One node's part of a step, here or elsewhere."""

    def __init__(self, run: StepRun, index: int, share: NodeShare) -> None:
        self.run = run
        self.index = index
        self.name = share.name
        self.ended = False

    # what the node says (host.Sink)
    def started(self, pids: dict[int, int]) -> None:
        self.run.pids.update(pids)

    def output(self, rank: int, stream: int, data: bytes) -> None:
        self.run.output(rank, stream, data)

    def consumed(self, count: int) -> None:
        self.run.consumed(self.index, count)

    def exited(self, rank: int, status: int, usage: list[float]) -> None:
        self.run.task_exited(self, rank, status, usage)

    def over(self) -> None:
        self.ended = True
        self.run.part_over()


class _Local(_Part):
    """On this node."""

    def __init__(self, run: StepRun, index: int, share: NodeShare, plan: Plan) -> None:
        super().__init__(run, index, share)
        self.host = StepHost(run.job.agent, plan, self)
        self.start = self.host.start
        self.signal = self.host.signal
        self.write_stdin = self.host.write_stdin
        self.pause = self.host.pause
        self.resume = self.host.resume
        self.set_size = self.host.set_size

    def look(self, done: Callable[[dict[int, list[float]]], None]) -> None:
        """Usage so far."""
        done(self.host.look())


class _Remote(_Part):
    """On another node, over a connection of its own: what it cannot send is what its tasks cannot write."""

    def __init__(self, run: StepRun, index: int, share: NodeShare, plan: Plan) -> None:
        super().__init__(run, index, share)
        self.plan = plan
        self.left = set(plan.ranks)
        self._on_look: Optional[Callable[[dict[int, list[float]]], None]] = None
        agent = run.job.agent
        self.channel = agent.connect(share.address)
        self.channel.on_frame = self._received
        self.channel.on_close = self._lost
        self.pause = self.channel.pause
        self.resume = self.channel.resume

    def start(self) -> None:
        """Hand the plan over."""
        self.channel.send_json({"op": "hello", "role": "agent"})
        self.channel.send_json({"op": "step", "plan": self.plan.__dict__})

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        self.channel.send_json({"op": "signal", "signal": int(number)})

    def write_stdin(self, data: bytes) -> None:
        """Pass stdin on; empty: it has ended."""
        self.channel.send(TASK_INPUT, data)

    def set_size(self, rows: int, columns: int) -> None:
        """Pass the terminal's size on."""
        self.channel.send_json({"op": "winsize", "rows": rows, "columns": columns})

    def look(self, done: Callable[[dict[int, list[float]]], None]) -> None:
        """Ask for the usage so far."""
        self._on_look = done
        self.channel.send_json({"op": "look"})

    def _received(self, kind: bytes, payload: bytes) -> None:
        if kind == TASK_OUTPUT:
            rank, stream = struct.unpack(">IB", payload[:5])
            self.output(rank, stream, payload[5:])
            return
        if kind != wire.JSON:
            return
        message = json.loads(payload)
        event = message["ev"]
        if event == "exit":
            self.left.discard(message["rank"])
            self.exited(message["rank"], message["status"], message["usage"])
        elif event == "started":
            self.started({int(rank): pid for rank, pid in message["pids"].items()})
        elif event == "consumed":
            self.consumed(message["count"])
        elif event == "look" and self._on_look is not None:
            self._on_look({int(rank): usage for rank, usage in message["usage"].items()})
        elif event == "over":
            self._finished()

    def _finished(self) -> None:
        self.channel.on_close = lambda: None
        self.channel.close()
        self.over()

    def _lost(self) -> None:
        # The node's agent is gone, and with it the tasks.
        self.run.node_failed(self.name)
        for rank in sorted(self.left):
            self.exited(rank, signal.SIGKILL, [0.0] * 7)
        self.over()


class StepRun:
    """A running step on its head agent."""

    def __init__(self, job: Job, record: Step, spec: StepSpec, shape: Shape) -> None:
        self.job = job
        self.record = record
        self.spec = spec
        self.shape = shape
        self.watchers: list[Watcher] = []
        self.parts: list[Any] = []
        self.pids: dict[int, int] = {}
        self.statuses: dict[int, int] = {}
        self.usage: list[tuple[int, str, TaskUsage]] = []
        self.on_stdin: Callable[[int], None] = lambda count: None
        self.failed_nodes: list[str] = []
        self.cause = ""
        self._given = 0
        self._consumed: list[int] = []
        self._told = 0
        self._paused: set[object] = set()
        self._over = False

    @property
    def step_id(self) -> str:
        """The number as text."""
        return self.record.step_id

    def start(self, plans: list[Plan]) -> None:
        """Start the tasks on all nodes, the far ones first. Raises OSError when a node cannot be reached."""
        for index, (share, plan) in enumerate(zip(self.shape.shares, plans)):
            here = share.name == self.job.node
            self.parts.append((_Local if here else _Remote)(self, index, share, plan))
        self._consumed = [0] * len(self.parts)
        self.job.emit_step(self.record)
        for part in sorted(self.parts, key=lambda part: isinstance(part, _Local)):
            part.start()

    # --- from the nodes
    def output(self, rank: int, stream: int, data: bytes) -> None:
        """A task has written."""
        for watcher in list(self.watchers):
            watcher.output(rank, stream, data)

    def consumed(self, part: int, count: int) -> None:
        """A node's tasks have read so much stdin; the slowest node counts."""
        self._consumed[part] += count
        self._tell_consumed()

    def _tell_consumed(self) -> None:
        counts = [count for part, count in zip(self.parts, self._consumed) if not part.ended]
        done = min(counts) if counts else self._given
        if done > self._told:
            count, self._told = done - self._told, done
            self.on_stdin(count)

    def task_exited(self, part: Any, rank: int, status: int, usage: list[float]) -> None:
        """A task has ended."""
        self.statuses[rank] = status
        self.usage.append((rank, part.name, TaskUsage.from_list(usage)))
        for watcher in list(self.watchers):
            watcher.exited(part.name, rank, status)

    def node_failed(self, name: str) -> None:
        """A node's agent is gone."""
        self.failed_nodes.append(name)

    def part_over(self) -> None:
        """A node has done its part."""
        self._tell_consumed()
        if self._over or not all(part.ended for part in self.parts):
            return
        self._over = True
        record = self.record
        record.end_time = time.time()
        code, number = worst(self.statuses.values())
        record.exit_code, record.exit_signal = code, number
        record.state = (
            JobState.CANCELLED if number or self.cause else (JobState.FAILED if code else JobState.COMPLETED)
        )
        if self.cause == "TIMEOUT":
            record.state = JobState.TIMEOUT
        if self.failed_nodes:
            record.state = JobState.NODE_FAIL
        record.usage = combine(self.usage)
        self.job.derived_exit = max(self.job.derived_exit, code)
        self.job.emit_step(record)
        self.job.step_over(self.step_id)
        for watcher in list(self.watchers):
            watcher.over()

    # --- to the nodes
    def write_stdin(self, data: bytes) -> None:
        """To all tasks that read the stream; empty: it has ended."""
        self._given += len(data)
        for part in self.parts:
            if not part.ended:
                part.write_stdin(data)
        self._tell_consumed()

    def signal(self, number: int) -> None:
        """To all processes of the step."""
        for part in self.parts:
            if not part.ended:
                part.signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.resume_all()
        self.signal(signal.SIGKILL)

    def cancel(self, cause: str, now: float, number: int = _TERM) -> None:
        """End the step from outside, with slurmstepd's line."""
        if self.cause:
            return
        self.cause = cause
        # Of all the step's slurmstepds only the first says it.
        line = cancel_line(
            self.shape.shares[0].name, "STEP %d.%s" % (self.job.job_id, self.step_id), cause, now
        )
        for watcher in list(self.watchers):
            watcher.cancelled(line, cause)
        self.signal(number)
        self.signal(signal.SIGCONT)

    def set_size(self, rows: int, columns: int) -> None:
        """The terminal's new size."""
        for part in self.parts:
            if not part.ended:
                part.set_size(rows, columns)

    def pause(self, who: object) -> None:
        """A watcher is slow."""
        if not self._paused:
            for part in self.parts:
                if not part.ended:
                    part.pause()
        self._paused.add(who)

    def resume(self, who: object) -> None:
        """A watcher has caught up."""
        if who in self._paused:
            self._paused.discard(who)
            if not self._paused:
                self.resume_all()

    def resume_all(self) -> None:
        """Nobody is waited for."""
        self._paused.clear()
        for part in self.parts:
            if not part.ended:
                part.resume()


def worst(statuses: Any) -> tuple[int, int]:
    """The step's (exit code, signal) of its tasks' wait statuses: a signal outweighs any code."""
    code = number = 0
    for status in statuses:
        if os.WIFSIGNALED(status):
            number = max(number, os.WTERMSIG(status))
        else:
            code = max(code, os.WEXITSTATUS(status))
    return (0, number) if number else (code, 0)


def connect(agent: Agent, address: str) -> Channel:
    """A channel to another agent. Raises OSError."""
    sock = transport.connect(address, agent.tls_client)
    if address.startswith(transport.UNIX):
        return Channel(agent.loop, sock)
    from .tls import TlsChannel

    return TlsChannel(agent.loop, sock)
