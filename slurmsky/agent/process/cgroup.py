"""One cgroup v2 per agent, used to kill a dead agent's jobs.

Without the permission to create a cgroup, the class has no effect. A job's processes may change their session and
environment, but stay in the group; after the agent's death one write kills them all. A live agent finds a job's
processes by descent (it is a subreaper), session and environment. An agent's jobs end with the agent, so one group for
all jobs is enough. It costs nothing per job, because children inherit the group. Jobs whose memory is limited have
groups of their own (``memory_groups``). Source: the kernel's admin-guide/cgroup-v2 (cgroup.procs; cgroup.kill since
Linux 5.14).
"""

from __future__ import annotations

import os
from typing import Optional

from . import cgroup_tree


class Cgroup:
    """Cgroup of the agent that listens at ``agent_socket``. Has no effect if none can be created."""

    def __init__(self, agent_socket: str) -> None:
        self._parent = cgroup_tree.own_group()
        self._folder: Optional[str] = None
        if self._parent is None:
            return
        folder = os.path.join(self._parent, cgroup_tree.name_of(agent_socket))
        try:
            cgroup_tree.make(folder)
        except OSError:
            return  # this user may not create the group
        self._folder = folder

    def take_over(self) -> None:
        """Kill the processes of an earlier agent, then join the group."""
        if self._folder is not None:
            cgroup_tree.kill_all(self._folder)
            cgroup_tree.join(self._folder)

    def leave_cgroup(self) -> None:
        """Move this process back to its original group. If that group may have no processes, to a new group in it."""
        if self._folder is None or self._parent is None or cgroup_tree.join(self._parent):
            return
        beside = os.path.join(self._parent, "%scontrollers-%d" % (cgroup_tree.PREFIX, os.geteuid()))
        try:
            cgroup_tree.make(beside)
        except OSError:
            return
        cgroup_tree.join(beside)

    def leave(self) -> None:
        """Move back to the original group, and remove an empty group."""
        if self._folder is not None:
            self.leave_cgroup()
            cgroup_tree.remove(self._folder)
