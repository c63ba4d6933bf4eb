"""The SkyPilot provider of warm nodes: its requests to SkyPilot, and the program that it ships."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.agent.cloud.pilot import MARK
from slurmsky.engines.nodes.provider import BringUpFailed, TemporarilyUnavailable
from slurmsky.engines.powered import Order
from slurmsky.engines.sky.account import existing_cluster
from slurmsky.engines.sky.api.api_access import Access
from slurmsky.engines.sky.api.api_client import Client
from slurmsky.engines.sky.api.api_errors import Busy, Interrupted, Rejected
from slurmsky.engines.sky.pilot_provider import Pilots, task_fields
from slurmsky.site import load

SITE = load(
    """
[sky]
idle_minutes = 7
[[partition]]
name = "gpu"
infra = ["kubernetes/lab", "aws/us-east-1"]
nodes = "gpu-[1-8]"
price_ceiling = 30
labels = { team = "Vision" }
shape = { gpus = "H100:8", cpus = "96+", memory = "900+", disk = 512, image = "nvcr.io#a/b:1", spot = true }
[[partition]]
name = "one"
infra = "slurm/oracle/debug"
nodes = "o1"
shape = { cpus = 2, memory = 4 }
[[partition]]
name = "dev"
nodes = "d1"
cluster = "mine"
""",
    "site.toml",
)


def order(tmp_path: Path, partition: str, *nodes: str) -> Order:
    return Order("kept-x", partition, list(nodes), folder=tmp_path / "kept-x")


def test_a_shape_becomes_resources_with_autodown(tmp_path):
    fields = task_fields(dict(SITE.warm_nodes)["gpu"], order(tmp_path, "gpu", "gpu-1", "gpu-2"), SITE)
    assert fields == {
        "name": "kept-x",
        "num_nodes": 2,
        "resources": {
            "cpus": "96+",
            "memory": "900+",
            "accelerators": "H100:8",
            "disk_size": 512,
            "image_id": "docker:nvcr.io/a/b:1",
            "use_spot": True,
            "max_hourly_cost": 30.0,
            "ordered": [{"infra": "kubernetes/lab"}, {"infra": "aws/us-east-1"}],
            "labels": {"slurmsky-partition": "gpu", "slurmsky-nodes": "gpu-1", "team": "vision"},
            "autostop": {"idle_minutes": 1, "down": True},
        },
    }


def test_the_shipment_is_private_and_named_in_the_task(tmp_path):
    one = order(tmp_path, "one", "o1")
    Pilots(Client(Access()), SITE, tmp_path / "kept").prepare(one)
    task = json.loads((one.folder / "task.yaml").read_text())
    assert task["resources"]["infra"] == "slurm/oracle/debug"
    assert task["run"] == "sh ~/.slurmsky/kept-x/start.sh\n"
    settings = json.loads((one.folder / "ship" / "settings.json").read_text())
    assert (settings["order"], settings["nodes"], settings["idle_s"]) == ("kept-x", ["o1"], 420)
    for path in one.folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_node_without_jobs_and_controller_exits(tmp_path):
    one = order(tmp_path, "one", "o1")
    Pilots(Client(Access()), SITE, tmp_path / "kept").prepare(one)
    settings = one.folder / "ship" / "settings.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "idle_s": 0.5}))
    env = {**os.environ, "TMPDIR": str(tmp_path), "SKYPILOT_NODE_RANK": "0", "SKYPILOT_NODE_IPS": "127.0.0.1"}
    done = subprocess.run(
        ["sh", one.folder / "ship" / "start.sh"],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done
    line = done.stdout.decode().strip()
    assert line.startswith(MARK) and json.loads(line[len(MARK) :])["rank"] == 0


class Launches(Client):
    """A server with a cluster that is UP: its jobs, and whether a launch is unfinished."""

    def __init__(self, jobs: list[int], launching: bool) -> None:
        super().__init__(Access())
        self.jobs, self.unfinished, self.posted = jobs, launching, []

    async def launching(self, cluster: str) -> bool:
        return self.unfinished

    async def call(self, path: str, body: dict, *_more: object) -> object:
        if path == "/status":
            return [{"name": body["cluster_names"][0], "status": "UP"}]
        assert path == "/queue"
        return [{"job_id": number} for number in self.jobs]

    async def post(self, path: str, body: dict, method: str = "POST") -> str:
        self.posted.append(path)
        return "r1"

    async def result(self, request_id: str, wait_s: float = 600.0) -> object:
        return {"job_id": 7}


@pytest.mark.parametrize(
    ("jobs", "launching", "job", "posted"),
    [
        ([3, 4], False, 4, []),
        ([], True, None, []),  # SkyPilot has not submitted the job yet
        ([], False, 7, ["/launch"]),  # the server died between the nodes and the job
    ],
)
def test_a_launch_with_a_lost_answer_is_found_by_the_next_controller(tmp_path, jobs, launching, job, posted):
    client = Launches(jobs, launching)
    one = order(tmp_path, "one", "o1")
    pilots = Pilots(client, SITE, tmp_path / "kept")
    pilots.prepare(one)
    one.notes.sent = True
    if job is None:
        with pytest.raises(Interrupted):
            asyncio.run(pilots._launched(one))
    else:
        assert asyncio.run(pilots._launched(one)) == one.notes.job == job
    assert client.posted == posted and bool(one.accepted_at) is (job is not None)


#: pilots of this user and of another on an existing cluster
MINE = existing_cluster.pilot_name("dev", "mine-0123ab")
HERS = "slurmsky-dev-00000000-fedcba"


def existing(tmp_path: Path) -> Order:
    return Order("mine", "dev", ["d1"], existing=True, folder=tmp_path / "mine-0123ab")


@pytest.mark.parametrize("name, job, posted", [(MINE, 4, []), ("train", 7, ["/launch"])])
def test_after_a_lost_answer_no_job_of_another_user_is_adopted(tmp_path, name, job, posted):
    class Shared(Launches):
        async def call(self, path: str, body: dict, *_more: object) -> object:
            if path == "/queue":
                return [{"job_id": 3, "job_name": HERS}, {"job_id": 4, "job_name": name}]
            return await super().call(path, body)

    client = Shared([], False)
    one = existing(tmp_path)
    pilots = Pilots(client, SITE, tmp_path / "kept")
    pilots.prepare(one)
    one.notes.sent = True
    assert asyncio.run(pilots._launched(one)) == job and client.posted == posted


def test_an_existing_cluster_with_another_number_of_nodes_is_refused(tmp_path):
    class Larger(Launches):
        async def call(self, path: str, body: dict, *_more: object) -> object:
            return [{"name": "mine", "status": "UP", "nodes": 2}]

    client = Larger([], False)
    one = existing(tmp_path)
    pilots = Pilots(client, SITE, tmp_path / "kept")
    pilots.prepare(one)
    with pytest.raises(BringUpFailed, match="number of nodes in the partition: 1, in cluster mine: 2"):
        asyncio.run(pilots._launched(one))
    assert not client.posted


class OneCluster(Launches):
    """A cluster with the jobs of several users. ``busy``: its status while another user launches on it."""

    def __init__(self, rows: list[dict[str, object]], job: str = "RUNNING", busy: str = "") -> None:
        super().__init__([], False)
        self.rows, self.job, self.busy = rows, job, busy
        self.called: list[tuple[str, dict]] = []

    async def call(self, path: str, body: dict, *_more: object) -> object:
        self.called.append((path, body))
        if path == "/cancel" and self.busy:
            raise Rejected("ClusterNotUpError", "skipped for cluster 'mine'")
        if path == "/status":
            return [{"name": "mine", "status": self.busy or "UP", "nodes": 1}]
        return {"/queue": self.rows, "/job_status": {"7": self.job}, "/cancel": None}[path]


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ({"job_name": HERS, "status": "JobStatus.RUNNING"}, True),
        ({"job_name": HERS, "status": "PENDING"}, False),  # which of the two waits is the node's decision
        ({"job_name": MINE.replace("0123ab", "fedcba"), "status": "RUNNING"}, False),
        ({"job_name": "train", "status": "RUNNING"}, False),
    ],
)
def test_a_cluster_that_another_users_pilot_holds_is_refused_before_a_launch(tmp_path, row, refused):
    client, one = OneCluster([{"job_id": 2, "username": "ada", **row}]), existing(tmp_path)
    pilots = Pilots(client, SITE, tmp_path / "kept")
    pilots.prepare(one)
    if refused:
        with pytest.raises(BringUpFailed, match=r"cluster mine is in use by ada \(ExclusiveUser\)"):
            asyncio.run(pilots._launched(one))
    else:
        assert asyncio.run(pilots._launched(one)) == 7
    assert client.posted == ([] if refused else ["/launch"])


def test_a_pending_pilot_names_the_jobs_that_hold_the_cluster(tmp_path):
    reports: list[str] = []

    def say(text: str) -> None:
        reports.append(text)
        client.job = "RUNNING"

    client = OneCluster([
        {"job_id": 2, "job_name": "train", "username": "ada", "status": "RUNNING"},
        {"job_id": 7, "job_name": MINE, "username": "me", "status": "PENDING"},
    ], job="PENDING")  # fmt: skip
    pilots = Pilots(client, SITE, tmp_path / "kept")

    async def wait() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("slurmsky.engines.sky.intervals.RUNNING_POLL_S", 0.0)
            await pilots._report_wait(existing(tmp_path), say)

    asyncio.run(wait())
    assert reports == ["cluster mine is used by job 2 (train) of ada"]


@pytest.mark.parametrize(("busy", "again"), [("", False), ("INIT", True), ("STOPPED", False)])
def test_an_abandoned_order_cancels_its_pilot_and_leaves_the_cluster(tmp_path, busy, again):
    client, one = OneCluster([], busy=busy), existing(tmp_path)
    one.notes.sent, one.notes.request, one.notes.job = True, "r1", 7
    pilots = Pilots(client, SITE, tmp_path / "kept")
    if again:
        with pytest.raises(TemporarilyUnavailable):
            asyncio.run(pilots.down(one))
    else:
        asyncio.run(pilots.down(one))
    assert client.called[0] == ("/cancel", {"cluster_name": "mine", "job_ids": [7]})
    assert "/down" not in [path for path, _ in client.called]


class Server(Client):
    """Answers of SkyPilot's server about one cluster."""

    def __init__(self, status: str, job: str | Exception) -> None:
        super().__init__(Access())
        self.status, self.job = status, job

    async def call(self, path: str, body: dict, *_more: object) -> object:
        if path == "/status":
            return [{"name": "kept-x", "status": self.status}] if self.status else []
        if isinstance(self.job, Exception):
            raise self.job
        return {"1": self.job}


@pytest.mark.parametrize(
    ("status", "job", "alive"),
    [
        ("", "RUNNING", False),
        ("UP", "RUNNING", True),
        ("UP", "JobStatus.FAILED", False),
        ("INIT", "RUNNING", True),
        ("INIT", Rejected("ClusterNotUpError", "is not up"), False),
    ],
)
def test_nodes_are_lost_when_skypilot_reports_their_end(tmp_path, status, job, alive):
    pilots = Pilots(Server(status, job), SITE, tmp_path / "kept")
    assert asyncio.run(pilots.alive(order(tmp_path, "one", "o1"))) is alive


@pytest.mark.parametrize("error", [Busy("restarting"), Rejected("ClusterNotUpError", "is not up")])
def test_a_server_that_does_not_answer_loses_no_node(tmp_path, error):
    pilots = Pilots(Server("UP", error), SITE, tmp_path / "kept")
    with pytest.raises(TemporarilyUnavailable):
        asyncio.run(pilots.alive(order(tmp_path, "one", "o1")))


def test_no_request_outlives_a_bring_up(tmp_path):
    """A client that is closed then would leave the connection of a cancelled request open."""
    ended = []

    class Slow(Pilots):
        async def price(self, partition: str, nodes: int = 1) -> float:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(partition)

        async def _launched(self, order: Order) -> int:
            await asyncio.sleep(0)
            raise BringUpFailed("no nodes")

    async def bring_up() -> list[str]:
        with pytest.raises(BringUpFailed):
            await Slow(Client(Access()), SITE, tmp_path / "kept").up(order(tmp_path, "one", "o1"), lambda text: None)
        return ended.copy()

    assert asyncio.run(bring_up()) == ["one"]
