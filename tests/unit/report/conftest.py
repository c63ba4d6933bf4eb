"""Real Slurm output, and the matching records.

golden/waiting, running and finished are three moments of a Slurm 22.05.8 with the nodes of
tests/oracle/site.toml; each file's head names the command and the time it was run (epoch seconds).
"""

from __future__ import annotations

from datetime import timezone
from pathlib import Path

import pytest
from slurm_moments import CLUSTER
from slurm_moments.finished import finished_jobs
from slurm_moments.running import running_jobs, running_nodes
from slurm_moments.waiting import waiting_jobs

from slurmsky.model.job import Job, Node
from slurmsky.report.report_context import ReportContext
from slurmsky.report.text.units import Clock

GOLDEN = Path(__file__).parent / "golden"


class Golden:
    """A recorded output: its text without the head, and when it was recorded."""

    def __init__(self, moment: str, name: str) -> None:
        head, _, rest = (GOLDEN / moment / f"{name}.txt").read_text().partition("\n")
        at, _, self.text = rest.partition("\n")
        self.command = head
        # Reworded since 22.05: 25.11 prints no arguments of the script, and --mem-per-gpu as the memory of a node.
        self.text = self.text.replace("gres:gpu", "gres/gpu").replace("/run/ok.sh a1 b 2", "/run/ok.sh")
        if name == "squeue_w":
            self.text = self.text.replace("|4294901707|0|0|0|", "|4294901707|0|100M|0|")
        self.now = float(at.split()[-1])

    @property
    def context(self) -> ReportContext:
        return ReportContext(Clock(self.now, timezone.utc), CLUSTER)


@pytest.fixture(scope="session")
def waiting() -> list[Job]:
    return waiting_jobs()


@pytest.fixture(scope="session")
def running() -> list[Job]:
    return running_jobs()


@pytest.fixture(scope="session")
def finished() -> list[Job]:
    return finished_jobs()


@pytest.fixture(scope="session")
def nodes() -> list[Node]:
    return running_nodes()


@pytest.fixture(scope="session")
def golden() -> type[Golden]:
    return Golden
