"""Restarts a controller that died while jobs need it.

Job dependencies, --begin and the commands inside jobs need a controller, but the user may run no command for days that
would start a controller. A controller that exits normally announces its exit to the agents; a killed one cannot.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Callable

from ..net.event_loop import Loop
from ..process import processes

#: seconds before each attempt until an attempt succeeds; the last value repeats
_PAUSES_S = (1.0, 5.0, 20.0, 60.0, 300.0)
#: fewest seconds between two attempts on demand
_LEAST_GAP_S = 2.0


class ControllerRestart:
    """Starts the controller of ``home``; ``root``: folder of this package.

    ``needed()`` is called before each attempt. ``leave_cgroup()`` runs in the new process.
    """

    def __init__(
        self, loop: Loop, root: str, home: str, needed: Callable[[], bool], leave_cgroup: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._root = root
        self._home = home
        self._needed = needed
        self._step_out = leave_cgroup
        self._scheduled = False
        self._attempts = 0
        self._last = -_LEAST_GAP_S

    def schedule(self) -> None:
        """Schedule a start, unless the controller reconnects within the pause."""
        if not self._scheduled:
            self._scheduled = True
            pause = _PAUSES_S[min(self._attempts, len(_PAUSES_S) - 1)]
            self._loop.after(pause, self._due)

    def _due(self) -> None:
        self._scheduled = False
        if not self._needed():
            self._attempts = 0
            return
        self._attempts += 1
        self.start_now()
        self.schedule()

    def start_now(self) -> None:
        """Start the controller now, for a command that needs it."""
        if time.monotonic() - self._last < _LEAST_GAP_S or not os.path.isdir(self._home):
            return
        self._last = time.monotonic()
        processes.detached(self._start)

    def _start(self) -> None:
        from ... import client_start, paths

        self._step_out()
        socket = os.fsencode(os.path.join(self._home, paths.SOCKET_NAME))
        try:
            client_start.start(self._root, self._home, socket).close()
        except client_start.CannotStart as error:
            print("agent: the controller cannot be started again: %s" % error, file=sys.stderr, flush=True)
