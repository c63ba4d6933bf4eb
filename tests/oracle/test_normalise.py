"""The normaliser replaces only text in which two correct systems differ."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from differences import comparable
from normalise import Context, first_job_id, normalise

BEGAN = datetime(2026, 11, 21, 8, 0, 0)
CONTEXT = Context("/tmp/so.abcdef/case", BEGAN.timestamp())


def _at(**later: int) -> str:
    return (BEGAN + timedelta(**later)).isoformat()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("JobId=70005 ArrayJobId=70003", "JobId=<J+2> ArrayJobId=<J+0>"),
        ("slurm-70004_3.out of 70004_[1-3]", "slurm-<J+1>_3.out of <J+1>_[1-3]"),
        ("70002 60000 170003 70003.5", "70002 60000 170003 <J+0>.5"),  # earlier jobs, counts, other numbers
        (f"StartTime={_at(seconds=3)}", "StartTime=<now>.............."),
        (f"EndTime={_at(hours=1, seconds=2)} x", "EndTime=<now+1:00>......... x"),
        ("EligibleTime=2031-02-03T04:05:06", "EligibleTime=2031-02-03T04:05:06"),
        ("RunTime=00:00:07 TimeLimit=00:01:00", "RunTime=<elapsed> TimeLimit=00:01:00"),
        ("DelayBoot=00:00:05", "DelayBoot=00:00:05"),
        ("ExitCode=0:15 ReqB:S:C:T=0:0:*:*", "ExitCode=0:15 ReqB:S:C:T=0:0:*:*"),
        (" R       0:03      1 n1", " R       0:SS      1 n1"),
        ("WorkDir=/tmp/so.abcdef/case", "WorkDir=<dir>"),
        ("Priority=4294901757 Nice=0", "Priority=<priority> Nice=0"),
        ("Priority=0", "Priority=0"),
        ("AllocNode:Sid=vm:123 Partition=a", "AllocNode:Sid=<AllocNode:Sid> Partition=a"),
        ("srun: job 70003 queued and waiting for resources\nx", "x"),
        ("salloc: Granted job allocation 70003\n", "salloc: Granted job allocation <J+0>\n"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text, CONTEXT, 70003) == expected


def test_first_job_id() -> None:
    assert first_job_id(["Submitted batch job 70009\n", "70001", "JobId=70010"]) == 70009
    assert first_job_id(["nothing"]) is None


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        # Added and dropped keys go, with their lines; the rest stays, in order.
        ("scontrol show job 1", ["   NumCPUs=1", "   TRES=cpu=1", "   Power="], ["NumCPUs=1"]),
        ("scontrol -o show job 1", ["A=1 ReqTRES=cpu=1 AllocTRES=x B=2"], ["A=1 B=2"]),
        ("scontrol show job 1", ["   Comment=two words", ""], ["Comment=two words"]),
        ("squeue", ["TRES=cpu=1", ""], ["TRES=cpu=1", ""]),
        ("cat batch.env", ["SLURM_JOB_START_TIME=1", "SLURM_JOB_ID=1"], ["SLURM_JOB_ID=1"]),
    ],
)
def test_comparable(line: str, text: list[str], expected: list[str]) -> None:
    assert comparable(line, text) == expected
