"""Examples as slurmsky translate writes them, launched by SkyPilot's own command, without slurmsky."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from on_skypilot import PATIENCE_S, SITE, SKY_BIN, commands, requested

from slurmsky.engines.sky.api import api_server
from slurmsky.engines.sky.api.api_client import Client
from slurmsky.engines.sky.watch.state_poller import TERMINAL
from slurmsky.site import load

pytestmark = [pytest.mark.rig, pytest.mark.timeout(1500)]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "sbatch"


@dataclass(frozen=True)
class Run:
    """One example: options of translate and launch, its final status at SkyPilot, and lines of its log."""

    script: str
    translate: tuple[str, ...] = ()
    launch: tuple[str, ...] = ()
    status: str = "SUCCEEDED"
    log: tuple[str, ...] = ()


RUNS = {
    "nodes": Run(
        "hello.sh", ("-N2", "-n2"), log=("a step: task 0 of 2", "a step: task 1 of 2", r"Hello from job \S+ \(hello\)")
    ),
    "workdir": Run("openmp.sh", log=("Using 4 threads on 127", "4 threads, sum 4999950000")),
    "element": Run(
        "array_bash_list.sh", launch=("--env", "TASK_ID=3"), status="FAILED",
        log=(r"Task 3 \(0..9 step 3\): heart_1", "no reads for heart_1"),
    ),
}  # fmt: skip


@dataclass
class Ended:
    """The final status at SkyPilot."""

    status: str
    reason: str
    log: str


def launch(client: Client, folder: Path, name: str, run: Run) -> int:
    """Run sky jobs launch; returns the managed job's id."""
    line = [SKY_BIN / "sky", "jobs", "launch", "-y", "-d", "-n", name, *run.launch, f"{name}.yaml"]
    env = {**os.environ, "PATH": f"{SKY_BIN}:{os.environ['PATH']}"}
    done = subprocess.run(line, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    (found,) = requested(client, client.find(name))
    return found


async def ends(client: Client, ids: dict[str, int]) -> dict[str, Ended]:
    """Wait for all, then read their logs."""
    deadline = time.monotonic() + PATIENCE_S
    left = set(ids.values())
    while left:
        assert time.monotonic() < deadline, await client.queue(list(left))
        await asyncio.sleep(3)
        for number in sorted(left):
            events = await client.events(number, limit=1)
            if events and events[0].new_status in TERMINAL:
                left.discard(number)
    rows = {row.job_id: row for row in await client.queue(list(ids.values()))}
    found = {}
    for name, number in ids.items():
        log = b""
        for _ in range(24):  # SkyPilot fetches the log of an ended job after it reports the end
            log = b"".join([chunk async for chunk in client.logs(number, follow=False)])
            if all(re.search(pattern, log.decode(errors="replace")) for pattern in RUNS[name].log):
                break
            await asyncio.sleep(5)
        found[name] = Ended(rows[number].status, rows[number].failure_reason, log.decode(errors="replace"))
    return found


@pytest.fixture(scope="module")
def ended(rig: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    folder = rig / "translated"
    shutil.copytree(EXAMPLES, folder)
    names = {key: f"kept-{key}-{os.getpid()}" for key in RUNS}
    with commands(tmp_path_factory.mktemp("site")) as engine:
        for key, run in RUNS.items():
            target = f"{names[key]}.yaml"
            words = ["--check", "-o", target, *run.translate, run.script]
            done = engine.run(["slurmsky", "translate", *words], cwd=folder, limit_s=300)
            assert done.returncode == 0, done.stderr
            yaml = (folder / target).read_text()
            assert "slurmsky" not in yaml and "srun" not in yaml
    client = api_server.connect(os.environ, load(SITE, "site.toml"), "root")
    ids = {key: launch(client, folder, names[key], run) for key, run in RUNS.items()}
    try:
        return requested(client, ends(client, ids))
    except BaseException:
        requested(client, client.cancel(list(ids.values())))
        raise


@pytest.mark.parametrize("key", RUNS)
def test_it_runs_as_it_did(ended: dict[str, Ended], key: str) -> None:
    run, end = RUNS[key], ended[key]
    assert end.status == run.status, end
    for pattern in run.log:
        assert re.search(pattern, end.log), end.log
    if run.status == "FAILED":
        assert "exit code 4" in end.reason
