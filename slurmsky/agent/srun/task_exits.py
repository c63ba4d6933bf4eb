"""Messages of srun about tasks that have ended."""

from __future__ import annotations

import os
import signal
from typing import Callable, Mapping

from ...model.states import OOM_STATUS
from ..net.event_loop import Loop
from . import srun_verbose

#: seconds in which exits of a node form one line, as slurmstepd sends them in one message
GATHER_S = 0.1


class Exits:
    """Gathers exits of tasks, and prints them by node and status. ``note`` prints lines for -v."""

    def __init__(self, loop: Loop, step: str, say: Callable[[str], None], note: Callable[[str], None]) -> None:
        self._loop = loop
        self._step = step
        self._say = say
        self._note = note
        self._unreported: dict[str, dict[int, list[int]]] = {}  # node -> status -> ranks
        self._gathering = False
        self._out_of_memory = False  # was reported, once for a step

    def add(self, node: str, rank: int, status: int) -> None:
        """Add the exit of a task."""
        self._unreported.setdefault(node, {}).setdefault(status, []).append(rank)
        if not self._gathering:
            self._gathering = True
            self._loop.after(GATHER_S, self.report)

    def report(self) -> None:
        """Print the gathered exits."""
        self._gathering = False
        exits, self._unreported = self._unreported, {}
        for node in sorted(exits):
            for status, ranks in sorted(exits[node].items(), key=lambda item: min(item[1])):
                tasks = tasks_text(sorted(ranks))
                self._note(srun_verbose.finished(self._step, len(ranks), status))
                if status == OOM_STATUS:
                    if not self._out_of_memory:
                        self._say("srun: error: %s: %s: Out Of Memory\n" % (node, tasks))
                    self._out_of_memory = True
                elif status == 0:
                    self._note("%s: %s: Completed" % (node, tasks))
                elif os.WIFSIGNALED(status):
                    core = " (core dumped)" if os.WCOREDUMP(status) else ""
                    self._say(
                        "srun: error: %s: %s: %s%s\n" % (node, tasks, signal.strsignal(os.WTERMSIG(status)), core)
                    )
                else:
                    self._say("srun: error: %s: %s: Exited with exit code %d\n" % (node, tasks, os.WEXITSTATUS(status)))


def states(step: str, ntasks: int, statuses: Mapping[int, int]) -> list[str]:
    """Lines about running and ended tasks, for Ctrl-C and -W."""
    groups: dict[str, list[int]] = {"running": [], "exited": [], "exited abnormally": []}
    for rank in range(ntasks):
        status = statuses.get(rank)
        groups["running" if status is None else "exited abnormally" if status else "exited"].append(rank)
    return ["srun: StepId=%s %s: %s\n" % (step, tasks_text(ranks), word) for word, ranks in groups.items() if ranks]


def tasks_text(ranks: list[int]) -> str:
    """ "task 3" or "tasks 0-1,4"."""
    if len(ranks) == 1:
        return "task %d" % ranks[0]
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return "tasks " + ",".join(str(a) if a == b else "%d-%d" % (a, b) for a, b in runs)
