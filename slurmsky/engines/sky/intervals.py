"""The SkyPilot engine's clocks, in seconds.

Budget: all that is asked of the API server for states stays under one request a second however many jobs run
(``PACE_S``): few jobs are asked one by one through the light /jobs/events, many together through one heavy
queue read.
"""

from __future__ import annotations

PACE_S = 2.5  # between two reads of states; a read is two requests
POLL_S = 5.0  # how often one job is asked about while it waits for nodes
RUNNING_POLL_S = 30.0  # ... and while its log is followed, which tells more
MANY = 6  # from so many jobs on, the queue is read as a whole
FOLLOWERS = 40  # logs read at a time; a server has 128 threads for all its users (requests/executor.py)
HOLD_S = 60.0  # how long one of them is held while other jobs wait for their turn
LOG_END_S = 60.0  # a log that does not end so long after its job is left: who kept it open may be dead
CANCEL_AGAIN_S = 60.0  # after a cancel of an ended job that SkyPilot runs again, while it still does
GONE_POLL_S = 60.0  # between two reads of the queue for ended jobs whose nodes SkyPilot takes down
ENDING_SOON_S = 600.0  # so long an ended job is asked about every POLL_S, later every RUNNING_POLL_S
ENDED_MOST_S = 86400.0  # an ended job is watched no longer than that
LOG_FETCH_S: tuple[float, ...] = (0, 5, 15, 30, 60)  # pauses before the reads of an ended job's log
RETRY_S: tuple[float, ...] = (1, 2, 5, 10, 20, 30, 60)  # pauses after failures; the last one again and again


def retry_s(attempt: int) -> float:
    """The pause after the failure with that number, from 0."""
    return RETRY_S[min(attempt, len(RETRY_S) - 1)]
