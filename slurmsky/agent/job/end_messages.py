"""End states and end messages of jobs and steps, as slurmctld and slurmstepd have them."""

from __future__ import annotations

import signal
import time
from typing import Optional

from ...model.step import Step
from ...protocol.messages import Ended

#: exit_signal of a job whose files could not be opened. Source: the oracle, "0:53".
SETUP_FAILED = 53
#: text that slurmstepd adds to its message for each cause (req.c _handle_signal_container)
_CAUSES = {
    "TIMEOUT": " DUE TO TIME LIMIT",
    "DEADLINE": " DUE TO TIME LIMIT",
    "PREEMPTED": " DUE TO PREEMPTION",
    "REQUEUED": " DUE TO JOB REQUEUE",
    "NODE_FAIL": " DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS",
}
_REASONS = {"TIMEOUT": "TimeLimit"}


def cancel_line(node: str, what: str, cause: str, now: float, number: int) -> str:
    """slurmstepd's message for a terminated job or step. ``what``: "JOB 7" or "STEP 7.0"; ``number``: the signal."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
    return "slurmstepd-%s: error: *** %s ON %s CANCELLED AT %s%s ***\n" % (
        node,
        what,
        node,
        stamp,
        _CAUSES.get(cause) or " DUE to SIGNAL %s" % signal.strsignal(number),
    )


def verdict(cause: str, batch: Optional[Step], derived_exit: int) -> Ended:
    """The end of a job: state, exit code and reason. Source: the oracle, exit_and_output_rules "End states".

    ``cause``: the state in which the job was terminated, "" when its script ended without termination.
    """
    state, code, number, reason = "COMPLETED", 0, 0, "None"
    if cause not in ("", "COMPLETED"):
        state, reason = cause, _REASONS.get(cause, "None")
    elif batch is not None:
        code, number = batch.exit_code, batch.exit_signal
        if number == signal.SIGHUP:
            # slurmctld treats the raw wait status 1 as exit code 1 (job_mgr.c).
            code, number = 1, 0
        if code or number:
            state, reason = "FAILED", "JobLaunchFailure" if number == signal.SIGKILL else "NonZeroExitCode"
    return Ended(state=state, exit_code=code, exit_signal=number, reason=reason, derived_exit_code=derived_exit)
