"""Intervals and timeouts of the SkyPilot engine, in seconds.

Budget: all state queries to the API server stay under one request per second for any number of jobs (``PACE_S``). Few
jobs are queried individually through the cheap /jobs/events, many jobs by one expensive read of the queue.
"""

from __future__ import annotations

PACE_S = 2.5  # between two reads of states; a read is two requests
POLL_S = 5.0  # interval of a job's queries while it waits for nodes
RUNNING_POLL_S = 30.0  # interval of a job's queries while its log is followed, which reports more
MANY = 6  # with at least this many jobs, the whole queue is read
FOLLOWERS = 40  # logs read concurrently; a server has 128 threads for all its users (requests/executor.py)
HOLD_S = 60.0  # seconds for which one log is read while other jobs wait for a turn
SILENT_S = 60.0  # seconds without news after which a log is read again: its stream may be dead
SILENT_MOST_S = 3600.0  # longest such time; it doubles after each read without news
LOG_END_S = 60.0  # seconds after its job's end at which an open log is left: its writer may be dead
CANCEL_AGAIN_S = 60.0  # interval of repeated cancellations while SkyPilot restarts an ended job
GONE_POLL_S = 60.0  # interval of queue reads for ended jobs whose nodes SkyPilot is taking down
ENDING_SOON_S = 600.0  # seconds for which an ended job is queried every POLL_S, later every RUNNING_POLL_S
ENDED_MOST_S = 86400.0  # longest time for which an ended job is watched
LOG_FETCH_S: tuple[float, ...] = (0, 5, 15, 30, 60)  # pauses before reads of an ended job's log
RETRY_S: tuple[float, ...] = (1, 2, 5, 10, 20, 30, 60)  # pauses after failures; the last repeats


def retry_s(attempt: int) -> float:
    """Pause after failure number ``attempt``, counted from 0."""
    return RETRY_S[min(attempt, len(RETRY_S) - 1)]
