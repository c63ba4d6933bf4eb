"""End states and end messages of jobs and steps, as in slurmctld and slurmstepd."""

from __future__ import annotations

import signal
import time
from typing import Callable, Optional

from ...model.states import OOM_SIGNAL
from ...model.step import Step
from ...protocol.messages import Ended

#: exit_signal of a job whose files could not be opened. Source: the oracle, "0:53".
SETUP_FAILED = 53
#: text that slurmstepd adds to its message for each cause (req.c _handle_signal_container)
_CAUSES = {
    "TASK_FAILURE": " DUE TO TASK FAILURE",
    "TIMEOUT": " DUE TO TIME LIMIT",
    "DEADLINE": " DUE TO TIME LIMIT",
    "PREEMPTED": " DUE TO PREEMPTION",
    "REQUEUED": " DUE TO JOB REQUEUE",
    "NODE_FAIL": " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS",
}
_REASONS = {"TIMEOUT": "TimeLimit"}


class CancelMessage:
    """Message of slurmstepd about a terminating signal, written once.

    ``entity``: "JOB 7" or "STEP 7.0"; ``node``: its first node; ``write`` receives the text of the error.
    """

    def __init__(self, node: str, entity: str, write: Callable[[str], None]) -> None:
        self._node = node
        self._entity = entity
        self._write = write
        self._written = False

    def send(self, cause: str, now: float, number: int) -> None:
        """Write the message if the signal ``number`` terminates. ``cause``: a state, "TASK_FAILURE" (srun -K) or ""."""
        if self._written or number not in (signal.SIGTERM, signal.SIGKILL):
            return
        self._written = True
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
        why = _CAUSES.get(cause) or " DUE to SIGNAL %s" % signal.strsignal(number)
        self._write("*** %s ON %s CANCELLED AT %s%s ***" % (self._entity, self._node, stamp, why))


def end_of_job(cause: str, batch: Optional[Step], derived_exit: int) -> Ended:
    """Return the end of a job: state, exit code and reason.

    ``cause``: the state in which the job was terminated, "" if its script ended without termination. Source: the
    oracle, exit_and_output_rules "End states".
    """
    state, code, number, reason = "COMPLETED", 0, 0, "None"
    if cause not in ("", "COMPLETED"):
        state, reason = cause, _REASONS.get(cause, "None")
    elif batch is not None:
        code, number = batch.exit_code, batch.exit_signal
        if number == OOM_SIGNAL:
            return Ended(
                state="OUT_OF_MEMORY", exit_signal=number, reason="OutOfMemory", derived_exit_code=derived_exit
            )
        if code or number:
            state, reason = "FAILED", "NonZeroExitCode" if code else "RaisedSignal"
    return Ended(state=state, exit_code=code, exit_signal=number, reason=reason, derived_exit_code=derived_exit)
