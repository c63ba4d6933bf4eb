"""Messages of the node's daemon about a step, which srun --slurmd-debug requests.

Source: slurmstepd/mgr.c; srun/opt.c for the limits of the level.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, Mapping, Sequence

from ...model.states import OOM_STATUS

_LEVELS = ("quiet", "fatal", "error", "info", "verbose", "debug", "debug2")
_TIME = "%Y-%m-%dT%H:%M:%S"
_ERROR, _VERBOSE, _DEBUG, _MOST = 2, 4, 5, 6


def level_of(text: str) -> int:
    """Read a level by name or number. Other texts are above debug2, as in log_string2num.

    >>> level_of("Verbose"), level_of("9"), level_of("debug3"), level_of("loud")
    (4, 9, 7, 7)
    """
    word = text.lower()
    if word.isdecimal():
        return int(word)
    return _LEVELS.index(word) if word in _LEVELS else _MOST + 1


class DaemonMessages:
    """Prints messages of a step's nodes, if the level includes them."""

    def __init__(self, level: str, say: Callable[[str], None]) -> None:
        requested = level_of(level)
        self.level = min(max(requested, _ERROR), _MOST)
        self._say = say
        if requested > _MOST:
            say("srun: Using max slurmd-debug value of 'debug2'\n")
        elif requested < _ERROR:
            say("srun: Using min slurmd-debug level of error\n")

    def launching(self, ranks: Sequence[Sequence[int]]) -> None:
        """Print the level and the number of tasks of each node."""
        for here in ranks:
            levels = "debug levels are stderr='%s', logfile='info', syslog='quiet'" % _LEVELS[self.level]
            self._print(_VERBOSE, levels)
            self._print(_DEBUG, "debug:  IO handler started pid=%d" % os.getpid())
            self._print(_VERBOSE, "starting %d tasks" % len(here))

    def started(self, pids: Mapping[int, int]) -> None:
        """Print the start of tasks. ``pids``: process ids, by rank."""
        for rank, pid in sorted(pids.items()):
            self._print(_VERBOSE, "task %d (%d) started %s" % (rank, pid, time.strftime(_TIME)))

    def exited(self, rank: int, pid: int, status: int) -> None:
        """Print the end of a task. The kernel ends a task out of memory by SIGKILL."""
        if self.level < _VERBOSE:
            return
        status = signal.SIGKILL if status == OOM_STATUS else status
        text = "task %d (%d) exited" % (rank, pid)
        if os.WIFSIGNALED(status):
            core = " (core dumped)" if os.WCOREDUMP(status) else ""
            self._print(_VERBOSE, "%s. Killed by signal %d%s." % (text, os.WTERMSIG(status), core))
        else:
            self._print(_VERBOSE, "%s with exit code %d." % (text, os.WEXITSTATUS(status)))

    def _print(self, level: int, text: str) -> None:
        if self.level >= level:
            now = time.time()
            stamp = time.strftime(_TIME, time.localtime(now))
            self._say("[%s.%03d] %s\n" % (stamp, now % 1 * 1000, text))
