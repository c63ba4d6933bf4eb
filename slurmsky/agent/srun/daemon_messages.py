"""Messages of the node's daemon about a step, which srun --slurmd-debug requests.

Source: slurmstepd/mgr.c; srun/opt.c for the limits of the level.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, Sequence

from ...model.states import OOM_STATUS

_LEVELS = ("quiet", "fatal", "error", "info", "verbose", "debug", "debug2")
_ERROR, _VERBOSE, _DEBUG = 2, 4, 5


def level_of(text: str) -> int:
    """Read a level by name or number; 2, error, for other texts. Levels above debug2 are debug2.

    >>> level_of("verbose"), level_of("9"), level_of("debug3"), level_of("loud")
    (4, 6, 6, 2)
    """
    word = text.lower()
    if word.isdecimal():
        return min(int(word), len(_LEVELS) - 1)
    if word.startswith("debug"):
        return min(_DEBUG + int(word[5:] or 1) - 1, len(_LEVELS) - 1) if word[5:].isdecimal() or word == "debug" else 2
    return _LEVELS.index(word) if word in _LEVELS else _ERROR


class DaemonMessages:
    """Prints messages of a step's nodes, if the level includes them."""

    def __init__(self, level: str, say: Callable[[str], None]) -> None:
        self.level = level_of(level)
        self._say = say
        if self.level < _ERROR:
            self.level = _ERROR
            say("srun: Using min slurmd-debug level of error\n")

    def launching(self, ranks: Sequence[Sequence[int]]) -> None:
        """Print the level and the number of tasks of each node."""
        for here in ranks:
            levels = "debug levels are stderr='%s', logfile='info', syslog='quiet'" % _LEVELS[self.level]
            self._print(_VERBOSE, levels)
            self._print(_DEBUG, "debug:  IO handler started pid=%d" % os.getpid())
            self._print(_VERBOSE, "starting %d tasks" % len(here))

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
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
            self._say("[%s.%03d] %s\n" % (stamp, now % 1 * 1000, text))
