"""Jobs of orphaned processes, which the agent adopts as a subreaper."""

from __future__ import annotations

from typing import Callable, Iterable, Optional

from . import process_tree

Owner = tuple[int, str]  # job, step
#: seconds by which a process may seem older than its job, because start times are in clock ticks
_CLOCK_SLACK_S = 0.05


class Orphans:
    """Assigns orphans to jobs by session, environment, or start time.

    ``is_child``: returns True if the agent started a process. ``here``: the owners of processes on this node, each with
    the boot time of its start.
    """

    def __init__(self, is_child: Callable[[int], bool], here: Callable[[], Iterable[tuple[Owner, float]]]) -> None:
        self._is_child = is_child
        self._here = here
        #: session leaders that the agent started: the most reliable evidence of an orphan's owner
        self._sessions: dict[int, Owner] = {}

    def add_session(self, leader: int, owner: Owner) -> None:
        """Record a new session of a job or step."""
        self._sessions[leader] = owner

    def forget_session(self, leader: int) -> None:
        """Forget a session."""
        self._sessions.pop(leader, None)

    def forget(self, job_id: int) -> None:
        """Forget the sessions of an ended job."""
        for leader in [leader for leader, owner in self._sessions.items() if owner[0] == job_id]:
            del self._sessions[leader]

    def of(self, job_id: int, step_id: Optional[str] = None) -> list[int]:
        """Orphans of a job, or of one of its steps."""
        found = []
        for pid in process_tree.own_children():
            if self._is_child(pid):
                continue
            fields = process_tree.stat(pid)
            if fields is None or fields.state == "Z":
                continue
            owner = self._owner(pid, fields)
            if owner is not None and owner[0] == job_id and step_id in (None, owner[1]):
                found.append(pid)
        return found

    def _owner(self, pid: int, fields: process_tree.Stat) -> Optional[Owner]:
        owner = self._sessions.get(fields.session)
        if owner is not None:
            return owner
        env = process_tree.environment_of(pid)
        if env.get(b"SLURM_JOB_ID", b"").isdigit():
            return int(env[b"SLURM_JOB_ID"]), env.get(b"SLURM_STEP_ID", b"batch").decode(errors="replace")
        # Without session and environment, use the only job that ran at the orphan's start.
        started = process_tree.start_time(fields)
        here = {owner for owner, began in self._here() if began <= started + _CLOCK_SLACK_S}
        return here.pop() if len({job_id for job_id, _ in here}) == 1 else None
