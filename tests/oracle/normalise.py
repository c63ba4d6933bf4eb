"""Replaces ids, times and host names in text of either side by placeholders.

Replaced are values in which two correct systems must differ: ids, times, names of machines and processes. The width of
columns is kept, since both sides run under ids of five digits and folders whose names are equally long.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
from dataclasses import dataclass
from datetime import datetime

# key=value facts of a host, of a process or of the clock, in all output.
_HOST_KEYS = (
    "AllocNode:Sid", "LastSchedEval", "Scheduler", "AccrueTime", "SrunHost:Pid", "CPULoad", "FreeMem", "OS",
    "Arch", "NodeAddr", "NodeHostName", "Port", "Version", "BootTime", "SlurmdStartTime", "LastBusyTime",
    "SLURM_TASK_PID", "SLURM_SRUN_COMM_PORT", "SLURM_SRUN_COMM_HOST", "SLURM_STEP_LAUNCHER_PORT",
    "SLURM_LAUNCH_NODE_IPADDR", "SLURM_CONF", "SLURM_SUBMIT_HOST", "SLURM_WORKING_CLUSTER", "SRUN_DEBUG",
    "SLURM_JOB_START_TIME", "SLURM_JOB_END_TIME", "SLURM_PTY_PORT", "TMPDIR", "HOME",
)  # fmt: skip
_HOST_VALUE = re.compile(
    r"(?<![\w/:])(" + "|".join(map(re.escape, _HOST_KEYS)) + r")=(.*?)(?=$|\s+[A-Za-z][\w/:]*=)", re.M
)

# Whether a job had to wait a moment before it started is a matter of timing, not of behaviour.
_TIMING_LINES = re.compile(
    r"^(?:(?:srun|salloc): job \d+ (?:queued and waiting for resources|has been allocated resources)"
    r"|salloc: Pending job allocation \d+"
    r"|srun: Job \d+ step creation (?:still |temporarily )?disabled, retrying.*"
    r"|srun: Step created for .*)\n", re.M)  # fmt: skip

# Whether salloc still receives the revocation of its allocation is a race.
_REVOKED = re.compile(r"(salloc: Relinquishing job allocation \d+\n)salloc: Job allocation \d+ has been revoked\.\n")

_ISO = re.compile(r"\b(20\d\d)-\d\d-\d\dT\d\d:\d\d:\d\d\b")
_CTIME = re.compile(r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d 20\d\d\b")
# Priorities count down from a start value with each job: only "not zero" is comparable.
_PRIORITY = re.compile(r"\b(4294\d{6}|0\.99\d+)\b")
_NUMBER = re.compile(r"(?<![\w.])(\d{5})(?!\d)|(?<=slurm-)(\d{5})(?!\d)|(?<=job)(\d{5})(?!\d)")


@dataclass(frozen=True)
class Context:
    """The context of a case's answers: its folder, and its start (seconds since the epoch).

    A time of less than `minutes` is how long something has run.
    """

    folder: str
    began: float
    minutes: int = 2


def normalise(text: str, context: Context, first_id: int | None) -> str:
    """`text` with placeholders. `first_id`: the lowest job id of the case, None without jobs."""
    text = text.replace(context.folder, "<dir>")
    text = _REVOKED.sub(r"\1", _TIMING_LINES.sub("", text))
    text = _HOST_VALUE.sub(lambda match: f"{match[1]}=<{match[1]}>", text)
    text = re.sub(r"\bRunTime=\S+", "RunTime=<elapsed>", text)
    # Of two commands that both say "now", the later one may come some seconds later.
    text = re.sub(r"(\bDuration=(?:\d+-)?\d\d:\d\d):0\d", r"\1:00", text)
    young = f"[0-{context.minutes - 1}]"
    text = re.sub(rf"(?<![=\w:-])00:0{young}:\d\d\b", "00:00:SS", text)  # columns of jobs that live for seconds
    text = re.sub(rf"(?<![=\w:-]){young}:\d\d(?![\w:])", "0:SS", text)
    text = _ISO.sub(lambda match: _relative(match[0], context.began), text)
    text = _CTIME.sub("<date>", text)
    # The backfill scheduler gives a year to a job without limit; which scheduler came first is timing.
    text = text.replace("TimeLimit=365-00:00:00", "TimeLimit=UNLIMITED")
    text = re.sub(r"EndTime=<now\+8760:00>\.*", "EndTime=Unknown", text)
    text = _PRIORITY.sub("<priority>", text)
    if first_id is not None:
        text = _NUMBER.sub(lambda match: _job(match, first_id), text)
    text = re.sub(r"(: line \d+: +)\d+ ", r"\1<pid> ", text)  # what bash says of a child that was killed
    host = socket.gethostname()
    text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "<host>", text)
    return _people(text)


def first_job_id(texts: list[str]) -> int | None:
    """The lowest job id in the output of a case; None without jobs."""
    ids = [int(number) for text in texts for number in re.findall(
        r"(?:Submitted batch job|[Gg]ranted job allocation|srun: job|salloc: job|\bJobId=|"
        r"SLURM_JOB_ID=|StepId=|\bJOB|\bSTEP|\bfor job|: Job) ?(\d{5})(?!\d)", text)]  # fmt: skip
    return min(ids, default=None)


def _job(match: re.Match[str], first_id: int) -> str:
    offset = int(match[match.lastindex or 0]) - first_id
    return f"<J{offset:+d}>" if 0 <= offset < 300 else match[0]


def _relative(text: str, began: float) -> str:
    """Replace times by their distance from the case's start.

    The steps are ten minutes. Times that a case fixed stay.
    """
    if int(text[:4]) >= 2030 or text < "2021":
        return text
    tens = round((datetime.fromisoformat(text).timestamp() - began) / 600)
    if tens == 0:
        return "<now>".ljust(19, ".")
    hours, minutes = divmod(abs(tens) * 10, 60)
    return f"<now{'-' if tens < 0 else '+'}{hours}:{minutes:02d}>".ljust(19, ".")


def _people(text: str) -> str:
    """Replace the user who ran the case by root, who recorded the golden text."""
    if os.getuid() == 0:
        return text
    me = pwd.getpwuid(os.getuid())
    text = text.replace(f"{me.pw_name}({me.pw_uid})", "root(0)")
    return re.sub(rf"\b{re.escape(me.pw_name)}\b", "root", text)
