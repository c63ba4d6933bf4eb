"""User's folder, simulated API server, and the SkyPilot engine.

The nodes are on this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

from cloud import Cloud
from polling import PATIENCE_S
from sky_server import SkyServer

from slurmsky.engines.sky.api.api_access import Access
from slurmsky.engines.sky.api.api_client import Client
from slurmsky.engines.sky.sky_engine import SkyEngine
from slurmsky.model.allocation import Launch, NodeShare
from slurmsky.model.codec import job_to_json
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState
from slurmsky.protocol.messages import Event, JobEvent
from slurmsky.site import load

SITE = load('[[partition]]\nname="debug"\ndefault=true\ninfra="kubernetes/x"', "site.toml")


class World:
    """User's folder, API server with nodes, and an engine.

    ``reported`` has the events that the engine sent.
    """

    def __init__(self, tmp_path: Path) -> None:
        self.user = tmp_path / "user"
        self.project = self.user / "project"
        self.project.mkdir(parents=True)
        self.home = tmp_path / "state"
        self.server = SkyServer()
        self.cloud = Cloud(tmp_path / "cloud", self.user)
        self.reported: list[dict] = []
        self.engine: SkyEngine

    def start_engine(self) -> None:
        access = Access(self.server.endpoint, user_id="00000000", user="me")
        self.engine = SkyEngine(self.home, self._event, SITE, Client(access))

    def _event(self, event: Event) -> None:
        self.reported.append(
            {**{name: getattr(event, name) for name in event._readers}, **event.encode()}
        )  # defaults, too
        if isinstance(event, JobEvent) and event.seq:
            self.engine.acks("", [(event.job_id, event.run, event.seq)])

    def launch(self, script: str, nodes: int = 1, job_id: int = 7, **more) -> Launch:
        spool = self.home / "jobs" / str(job_id)
        spool.mkdir(parents=True, exist_ok=True)
        (spool / "script").write_text(script)
        (spool / "script").chmod(0o700)
        project = str(self.project)
        fields = {
            "job_id": job_id, "name": "job", "user": "me", "uid": os.getuid(), "gid": os.getgid(),
            "group": "me",
            "account": "", "partition": "debug", "qos": "normal", "cluster": "c",
            "spec": JobSpec(job_name="job", nodes_min=nodes), "ntasks": nodes,
            "shares": [NodeShare(f"?{rank}", cpu_ids=(0,), tasks=1) for rank in range(nodes)],
            "submit_dir": project, "submit_host": "laptop", "work_dir": project, "spool": "/nowhere",
            "script": str(spool / "script"), "stdout": f"{project}/slurm-{job_id}.out",
            "environment": {"PATH": "/opt/mine:/usr/bin:/bin", "HOME": str(self.user), "FOO": "b a r"},
        }  # fmt: skip
        launch = Launch(**{**fields, **more})
        job = Job(
            job_id=job_id, spec=launch.spec, name=launch.name, user="me", uid=os.geteuid(), gid=0, group="me",
            account="", partition="debug", state=JobState.PENDING, awaits_nodes=True, array_job_id=launch.array_job_id,
            array_task_id=launch.array_task_id, submit_time=1_700_000_000.0, work_dir=project, time_limit_min=90,
            stdout=launch.stdout,
        )  # fmt: skip
        launch.record = [json.loads(job_to_json(job))]
        return launch

    @property
    def out(self) -> bytes:
        return (self.project / "slurm-7.out").read_bytes()

    def run_jobs(self) -> None:
        """Give nodes to every launched job, unless it was cancelled or will never be scheduled."""
        while len(self.tasks_of_jobs) < len(self.server.jobs):
            job = self.server.jobs[len(self.tasks_of_jobs)]
            runs = not job.cancelled and job.record.get("schedule_state") != "INACTIVE"
            if job.cancelled:
                job.become("CANCELLED")
            self.tasks_of_jobs.append(asyncio.ensure_future(self.cloud.run(job) if runs else asyncio.sleep(0)))

    async def preempt(self, number: int = 1) -> None:
        """A managed job's nodes are lost, and SkyPilot starts it again."""
        job = self.server.jobs[number - 1]
        job.become("RECOVERING", "preempted")
        self.cloud.stop(number, signal.SIGKILL)
        await self.until(lambda: any(event.get("state") == "REQUEUED" for event in self.reported))
        job.log = b""
        self.tasks_of_jobs.append(asyncio.ensure_future(self.cloud.run(job, run=1)))

    async def until(self, condition, patience: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, self.reported[-5:]
            self.run_jobs()
            await asyncio.sleep(0.02)

    def ended(self) -> dict | None:
        return next((event for event in self.reported if event["ev"] == "ended"), None)

    def play(self, what) -> None:
        async def run():
            self.tasks_of_jobs: list[asyncio.Task] = []
            async with self.server:
                self.start_engine()
                try:
                    await what(self)
                finally:
                    await self.engine.close()
                    await self.cloud.close(self.tasks_of_jobs)

        asyncio.run(run())
