"""SkyPilot's status words and texts -> Slurm's."""

from __future__ import annotations

import pytest

from slurmsky.model.states import shown_state
from slurmsky.translate.sky_task.status import exit_code, map_status


@pytest.mark.parametrize(
    "args, compact, reason, code",
    [
        # texts as SkyPilot 0.14.1 wrote them
        (("PENDING", "Waiting for other jobs to launch", "WAITING"), "PD", "Priority", None),
        (("PENDING", "", "ALIVE_BACKOFF"), "PD", "Resources", None),
        (("STARTING", "", "LAUNCHING"), "PD", "Resources", None),
        (
            ("STARTING", "Launching (nodes allocated; Slurm job 1326 on oracle)", "LAUNCHING"),
            "CF",
            "None",
            None,
        ),
        (("RUNNING", "", "ALIVE"), "R", "None", None),
        (("RECOVERING", "", "ALIVE"), "RQ", "NodeDown", None),
        (("CANCELLING",), "CG", "None", None),
        (("CANCELLED",), "CA", "None", None),
        (("SUCCEEDED", "", "DONE"), "CD", "None", 0),
        (
            (
                "FAILED",
                "",
                "DONE",
                "Job exited with exit code 5 (user program failure). To see the details, run: x",
            ),
            "F",
            "NonZeroExitCode",
            5,
        ),
        (
            ("FAILED", "", "DONE", "The job driver on the remote cluster failed. This can be caused by OOM"),
            "OOM",
            "OutOfMemory",
            None,
        ),
        (("FAILED", "", "DONE", "words of a later release"), "F", "NonZeroExitCode", 1),
        (("FAILED_SETUP",), "BF", "JobLaunchFailure", None),
        (("FAILED_PRECHECKS",), "F", "BadConstraints", None),
        (("FAILED_NO_RESOURCE",), "BF", "Resources", None),
        (("FAILED_CONTROLLER",), "NF", "SystemFailure", None),
        (("A_NEW_WORD",), "PD", "None", None),
    ],
)
def test_status(args, compact, reason, code):
    found = map_status(*args)
    assert (shown_state(found.state, found.flags)[1], found.reason, found.exit_code) == (
        compact,
        reason,
        code,
    )


@pytest.mark.parametrize(
    "text, code",
    [
        ("Job failed: Job exited with exit code 42 (user program failure).", 42),
        ("Job exited with exit codes [0, 3, 137]", 3),
        ("exit codes [137, 137]", 137),
        ("exit codes [0, 0]", 0),
        ("", None),
        ("no such thing", None),
    ],
)
def test_exit_codes(text, code):
    assert exit_code(text) == code
