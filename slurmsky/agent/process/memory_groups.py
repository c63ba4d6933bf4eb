"""Memory limits of jobs and steps, by control groups.

``<agent>-memory/job_7/step_0``: the job's group has the limit of the job on this node, and a step's group that of the
step, if it requested less. Processes are in the steps' groups only, as cgroup v2 requires. The batch script is the step
"batch". A job without a limit has no group, and costs nothing. Source: Slurm's task/cgroup with ConstrainRAMSpace=yes
(task_cgroup_memory.c); MinRAMSpace of cgroup.conf.
"""

from __future__ import annotations

import os
import sys
from typing import Optional

from . import cgroup_tree
from .cgroup_tree import MemoryPlace

#: smallest limit. Source: MinRAMSpace's default
_LEAST_MIB = 30


class MemoryGroup:
    """The group of a step's processes on this node."""

    def __init__(self, folder: str, events: str) -> None:
        self.folder = folder
        self._events = os.path.join(folder, events)
        self._reported = False
        #: OOM kills of processes before this step: an earlier run of the job, not cleaned up, used the same cgroup
        self.earlier = 0

    def members(self) -> list[int]:
        """Processes of the step, including those that left its sessions."""
        return cgroup_tree.members(self.folder)

    def oom_error(self, step_name: str) -> str:
        """Return slurmstepd's error about memory kills, once; else ""."""
        killed = 0 if self._reported else self.killed() - self.earlier
        if not killed:
            return ""
        self._reported = True
        return "Detected %d oom_kill event%s in StepId=%s. Some of the step tasks have been OOM Killed." % (
            killed,
            "" if killed == 1 else "s",
            step_name,
        )

    @property
    def had_oom_error(self) -> bool:
        """True if ``oom_error`` has returned an error."""
        return self._reported

    def killed(self) -> int:
        """Number of processes that the kernel killed for their memory."""
        for line in cgroup_tree.read(self._events).splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return 0

    def close(self) -> None:
        """Remove an ended step's group; after the last step the job's."""
        if cgroup_tree.remove(self.folder):
            cgroup_tree.rmdir(os.path.dirname(self.folder))


class MemoryGroups:
    """Groups of one agent, created at the first limited step."""

    def __init__(self, agent_socket: str) -> None:
        self._place = cgroup_tree.memory_place()
        self._folder = ""
        self._made = False
        self._failed = False
        if self._place is not None:
            self._folder = os.path.join(self._place.folder, cgroup_tree.name_of(agent_socket) + "-memory")

    def take_over(self) -> None:
        """Kill the processes of an earlier agent, and remove its groups."""
        if self._folder and os.path.isdir(self._folder):
            cgroup_tree.kill_all(self._folder)
            cgroup_tree.remove(self._folder)

    leave = take_over

    def open(
        self, job_id: int, step_id: str, job_mib: int, step_mib: int = 0, together: bool = False
    ) -> Optional[MemoryGroup]:
        """Return the group for a starting step; None: memory is not limited.

        The log has the reason if the node cannot limit memory. ``job_mib``, ``step_mib``: memory on this node, 0: no
        limit. ``oom_group``: the kernel kills all processes of the step on this node, or none (--oom-kill-step).
        """
        if not (job_mib or step_mib):
            return None
        if self._place is None:
            self._log("no memory controller that this user may use: the memory of jobs is not limited")
            return None
        try:
            return self._open(self._place, "job_%d" % job_id, "step_%s" % step_id, job_mib, step_mib, together)
        except OSError as error:
            self._log("job %d: its memory is not limited: %s: %s" % (job_id, error.filename, error.strerror))
            return None

    def _open(
        self, place: MemoryPlace, job: str, step: str, job_mib: int, step_mib: int, together: bool
    ) -> MemoryGroup:
        if not self._made:
            place.make(self._folder)
            self._made = True
        files = place.files
        above = os.path.join(self._folder, job)
        folder = os.path.join(above, step)
        place.make(above)
        if job_mib:
            cgroup_tree.write_group_file(os.path.join(above, files.limit), b"%d" % _limit(job_mib))
        group = MemoryGroup(folder, files.events)
        if not cgroup_tree.make(folder):
            group.earlier = group.killed()
        if step_mib and step_mib != job_mib:
            cgroup_tree.write_group_file(os.path.join(folder, files.limit), b"%d" % _limit(step_mib))
        if together and files.oom_group:
            cgroup_tree.write(os.path.join(folder, files.oom_group), b"1")  # since Linux 4.19
        return group

    def _log(self, text: str) -> None:
        if not self._failed:
            self._failed = True
            print(text, file=sys.stderr, flush=True)


def _limit(mib: int) -> int:
    """Return a limit in bytes, at least MinRAMSpace."""
    return max(mib, _LEAST_MIB) << 20
