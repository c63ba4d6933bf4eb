"""Triggers of strigger: programs that run at an event.

Source: src/slurmctld/trigger_mgr.c. A trigger fires once and is then deleted, unless it is permanent. The program gets
the job's id or the node's name as its last argument.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ...engines.base import background
from ...language import hostlist
from ...language.syntax_errors import LanguageError
from ...model import plain
from ...model.job import Job
from ...model.states import NodeFlag, NodeState
from ..jobs.job_table import JobTable
from ..jobs.lifecycle import LifeCycle
from ..store.database import Store

log = logging.getLogger("slurmsky.controller")

_NOTE = "triggers"

Run = Callable[[list[str]], Coroutine[Any, Any, None]]


class TriggerRefused(Exception):
    """slurm_set_trigger's or slurm_clear_trigger's error; the text is Slurm's."""


@dataclass
class Trigger:
    """A trigger; it fires ``offset_s`` seconds after the event. A negative offset is before the event."""

    number: int
    resource: str  # "job" | "node" | "slurmctld" | "slurmdbd" | "database" | "other"
    name: str  # job id, node names, "*"
    type: str  # the event; of several events, any of which fires it, the names with "+" between them
    offset_s: int
    program: str
    permanent: bool
    uid: int
    user: str
    due: float = 0.0  # when it fires; 0.0: the event has not happened
    by: str = ""  # the job or node of the event

    @property
    def events(self) -> list[str]:
        """Names of the events that fire it."""
        return self.type.split("+")


@dataclass(frozen=True)
class _StoredTriggers:
    next: int
    triggers: list[Trigger]


class Triggers:
    """All triggers of this cluster."""

    def __init__(
        self, store: Store, job_table: JobTable, life: LifeCycle, clock: Callable[[], float], run: Run
    ) -> None:
        self._store = store
        self._job_table = job_table
        self._clock = clock
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Future[None]] = set()
        kept = store.damage.parse_note(_NOTE, lambda kept: plain.read(_StoredTriggers, kept)) or _StoredTriggers(1, [])
        self._next, self.triggers = kept.next, kept.triggers
        life.listeners.append(self._job)
        life.node_listeners.append(self._node)
        self._arm()

    def add(self, resource: str, name: str, types: tuple[str, ...], offset_s: int, program: str, permanent: bool,
            uid: int, user: str) -> None:  # fmt: skip
        """Create a trigger of all these events. Raises Refused, StoreError."""
        if resource == "job":
            job = self._job_table.jobs.get(int(name))
            if job is None:
                raise TriggerRefused("Invalid job id specified")
            if job.state.finished:
                raise TriggerRefused("Job/step already completing or completed")
        elif resource == "node" and name != "*":
            try:
                known = all(node in self._job_table.nodes for node in hostlist.expand(name))
            except LanguageError:
                known = False
            if not known:
                raise TriggerRefused("Invalid node name specified")
        event = "+".join(types)
        if any((one.resource, one.name, one.type, one.offset_s, one.program, one.uid)
               == (resource, name, event, offset_s, program, uid) for one in self.triggers):  # fmt: skip
            raise TriggerRefused("Duplicate event trigger")
        self.triggers.append(Trigger(self._next, resource, name, event, offset_s, program, permanent, uid, user))
        self._next += 1
        self._keep()
        self._arm()

    def clear(self, wanted: Callable[[Trigger], bool]) -> None:
        """Delete triggers. Raises Refused if there are none."""
        left = [one for one in self.triggers if not wanted(one)]
        if len(left) == len(self.triggers):
            raise TriggerRefused("No such process")
        self.triggers = left
        self._keep()

    def _job(self, event: str, job: Job) -> None:
        if not self.triggers:
            return
        for one in self.triggers:
            ours = event == "ended" and one.resource == "job" and one.name == str(job.job_id)
            if ours and ("fini" in one.events or (job.state.name == "TIMEOUT" and not one.due)):
                one.due, one.by = self._clock() + one.offset_s, one.name
        self._arm()

    def _node(self, name: str, word: str) -> None:
        types = {"DOWN": ("down",), "FAIL": ("fail",), "DRAIN": ("draining", "drained"), "RESUME": ("resume", "up"),
                 "IDLE": ("up",), "UNDRAIN": ("resume",)}.get(word, ())  # fmt: skip
        busy = bool(self._job_table.nodes[name].jobs)
        for one in self.triggers:
            met = {event for event in types if event != ("drained" if busy else "draining")}
            if one.resource != "node" or not met.intersection(one.events) or not self._concerns_node(one, name):
                continue
            one.due, one.by = self._clock() + one.offset_s, name
        self._arm()

    def reconfigured(self) -> None:
        """Fire the triggers for scontrol reconfigure."""
        for one in self.triggers:
            if "reconfig" in one.events:
                one.due, one.by = self._clock() + one.offset_s, "reconfig"
        self._arm()

    @staticmethod
    def _concerns_node(one: Trigger, node: str) -> bool:
        return one.name == "*" or node in hostlist.expand(one.name)

    def _due_times(self) -> list[tuple[float, str, Trigger]]:
        """Return each trigger's time, if known, and its job or node."""
        found = []
        for one in self.triggers:
            if one.due:
                found.append((one.due, one.by, one))
            elif one.resource == "job" and "time" in one.events:
                job = self._job_table.jobs.get(int(one.name))
                if job is not None and job.state.active and job.end_time:
                    found.append((job.end_time + min(one.offset_s, 0), one.name, one))
            elif one.resource == "node" and {"idle", "drained"}.intersection(one.events):
                for name, node in self._job_table.nodes.items():
                    if not self._concerns_node(one, name) or node.jobs:
                        continue
                    if "idle" in one.events and node.state is NodeState.IDLE and not node.flags & NodeFlag.DRAIN:
                        found.append(((node.last_busy_time or self._clock()) + one.offset_s, name, one))
                    elif "drained" in one.events and node.flags & NodeFlag.DRAIN and node.last_busy_time:
                        found.append((node.last_busy_time + one.offset_s, name, one))
        return sorted(found, key=lambda item: item[0])

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        dues = self._due_times()
        if dues:
            self._timer = self._loop.call_later(max(0.0, dues[0][0] - self._clock()), self._fire_due)

    def _fire_due(self) -> None:
        self._timer = None
        now = self._clock()
        pulled: set[int] = set()
        for due, by, one in self._due_times():
            if due > now + 0.01 or one.number in pulled:
                continue
            pulled.add(one.number)
            one.due, one.by = 0.0, ""
            task = background(self._run([*one.program.split(), by]))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        kept = [one for one in self.triggers if one.number not in pulled
                or (one.permanent and not {"idle", "drained", "time"}.intersection(one.events))]  # fmt: skip
        if pulled:
            self.triggers = kept
            self._keep()
        self._arm()

    def _keep(self) -> None:
        self._store.put_note(_NOTE, json.dumps(plain.write(_StoredTriggers(self._next, self.triggers))))
