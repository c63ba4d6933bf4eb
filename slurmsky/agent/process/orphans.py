"""Processes that lost their parent and became the agent's children: whose are they?"""

from __future__ import annotations

from typing import Callable, Iterable, Optional

from . import processes

Owner = tuple[int, str]  # job, step
#: how much later than its process a job may have come: start times are told in clock ticks
_CLOCK_SLACK_S = 0.05


class Orphans:
    """What became of the processes of jobs, known by their session, their environment or when they started.

    ``is_child``: whether a process was started by the agent itself. ``here``: the owners that have been on this node,
    each with the boot time of its coming.
    """

    def __init__(self, is_child: Callable[[int], bool], here: Callable[[], Iterable[tuple[Owner, float]]]) -> None:
        self._is_child = is_child
        self._here = here
        #: session leaders that the agent started: the surest sign whose an orphan is
        self._sessions: dict[int, Owner] = {}

    def expect(self, leader: int, owner: Owner) -> None:
        """A session of a job or step has begun."""
        self._sessions[leader] = owner

    def over(self, leader: int) -> None:
        """That session is no more."""
        self._sessions.pop(leader, None)

    def forget(self, job_id: int) -> None:
        """The job is over, and nothing is left of it."""
        for leader in [leader for leader, owner in self._sessions.items() if owner[0] == job_id]:
            del self._sessions[leader]

    def of(self, job_id: int, step_id: Optional[str] = None) -> list[int]:
        """Those of a job, or with ``step_id`` only that step's."""
        found = []
        for pid in processes.own_children():
            if self._is_child(pid):
                continue
            fields = processes.stat(pid)
            if fields is None or fields.state == "Z":
                continue
            owner = self._owner(pid, fields)
            if owner is not None and owner[0] == job_id and step_id in (None, owner[1]):
                found.append(pid)
        return found

    def _owner(self, pid: int, fields: processes.Stat) -> Optional[Owner]:
        owner = self._sessions.get(fields.session)
        if owner is not None:
            return owner
        env = processes.environment_of(pid)
        if env.get(b"SLURM_JOB_ID", b"").isdigit():
            return int(env[b"SLURM_JOB_ID"]), env.get(b"SLURM_STEP_ID", b"batch").decode(errors="replace")
        # It hid its origin: it belongs to the job that was here when it started, where that was only one.
        started = processes.start_time(fields)
        here = {owner for owner, began in self._here() if began <= started + _CLOCK_SLACK_S}
        return here.pop() if len({job_id for job_id, _ in here}) == 1 else None
