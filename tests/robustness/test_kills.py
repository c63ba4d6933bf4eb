"""kill -9 of controllers and agents: each job has the expected end and number of runs.

SLURMSKY_ALL_KILLS sets the number of kills (a thousand for the full test), SLURMSKY_KILL_SEED the moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polling import alive, wait_for

from .conftest import Engine
from .test_agent_killed import submit

Run = Callable[..., Any]

KILLS = int(os.environ.get("SLURMSKY_ALL_KILLS", "10"))
SEED = int(os.environ.get("SLURMSKY_KILL_SEED", "7"))
#: jobs that are in the queue at a time
AT_ONCE = 8

#: kind -> options and script; ``{mark}`` is a file to which each run of the job adds a line
KINDS: dict[str, tuple[list[str], str]] = {
    "batch": (["--requeue"], "echo run >> {mark}; sleep 0.3; exit 0"),
    "fails": (["--requeue"], "echo run >> {mark}; sleep 0.2; exit 3"),
    "once": (["--no-requeue"], "echo run >> {mark}; sleep 0.3"),
    "steps": (["--requeue", "-N2"], "echo run >> {mark}; srun -N2 sleep 0.2; srun -n1 true"),
    "array": (["--requeue", "-a1-4%2"], "echo run $SLURM_ARRAY_TASK_ID >> {mark}; sleep 0.1"),
    "begin": (["--requeue", "--begin=now+1"], "echo run >> {mark}"),
    "het": (["--requeue", "-n1", ":", "-n1"], "echo run >> {mark}; srun --het-group=0,1 true"),
}
#: what sacct may say of each kind's last run
ENDS = {kind: {"COMPLETED"} for kind in KINDS} | {"fails": {"FAILED"}, "once": {"COMPLETED", "NODE_FAIL"}}


@pytest.fixture
def limits() -> str:
    return "job_files_days = 1"


def _kill(engine: Engine, chance: random.Random, turn: int, with_agents: bool = True) -> None:
    """Kill the controller and one agent in turn, sometimes both at once; or the controller alone."""
    agents = engine.agents() if with_agents else []
    both = chance.random() < 0.15
    victims = [engine.controller()] if turn % 2 == 0 or both else []
    if agents and (turn % 2 or both):
        victims.append(chance.choice(agents))
    for pid in filter(None, victims):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # an idle one has left
        wait_for(lambda pid=pid: not alive(pid))


def test_an_agents_child_that_has_not_executed_its_program_is_no_agent(engine: Engine) -> None:
    """A kill of it would be the end of a script."""
    code = "import os, time; os.fork() and print(flush=True); time.sleep(600)"
    words = [sys.executable, "-c", code, "slurmsky.agent", str(engine.home), "--node", "n1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            assert engine.agents() == engine.agents("n1") == [process.pid]
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.timeout(max(300, KILLS * 8))
def test_jobs_of_all_kinds_outlive_kills_of_all_processes(engine: Engine, run: Run, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    jobs: dict[str, str] = {}  # id -> kind
    marks, marked = tmp_path / "marks", dict[str, Path]()
    marks.mkdir()

    def feed() -> None:
        waiting = run("squeue", "-ho%A")[1].split()
        for _ in range(AT_ONCE - len(waiting)):
            kind = chance.choice(sorted(KINDS))
            options, script = KINDS[kind]
            mark = marks / str(len(jobs))
            job = submit(run, "-o/dev/null", *options, "--wrap", script.format(mark=mark))
            assert job not in jobs, "an id was given twice"
            jobs[job] = kind
            marked[job] = mark

    for turn in range(KILLS):
        feed()
        time.sleep(chance.random() * 0.8)
        _kill(engine, chance, turn)
    wait_for(lambda: not run("squeue", "-ho%A")[1], 300, "jobs that never end")
    found: dict[str, Counter[str]] = {}
    for line in run("sacct", "-nXPoJobID,State")[1].splitlines():
        job, _, state = line.partition("|")
        found.setdefault(job.partition("_")[0].partition("+")[0], Counter())[state.split()[0]] += 1
    wrong = {}
    for job, kind in jobs.items():
        states = found.get(job, Counter())
        records = {"array": 4, "het": 2}.get(kind, 1)
        runs = len(marked[job].read_text().splitlines()) if marked[job].exists() else 0
        ran = runs <= 1 if kind == "once" else runs >= {"array": 4}.get(kind, 1)
        if not set(states) <= ENDS[kind] or sum(states.values()) != records or not ran:
            wrong[f"{job} ({kind})"] = (dict(states), runs)
    assert not wrong, f"of {Counter(jobs.values())}: {wrong}"
    assert engine.faults() == []
    logs = [engine.home / "controller.log", *engine.home.glob("nodes/*/agent.log")]
    assert max(log.stat().st_size for log in logs) < 200_000 + 2000 * KILLS


@pytest.mark.slow
@pytest.mark.timeout(max(600, KILLS * 10))
@pytest.mark.parametrize("agents", [False, True], ids=["controllers", "both"])
def test_short_elements_of_an_array_outlive_kills(engine: Engine, run: Run, tmp_path: Path, agents: bool) -> None:
    """Followers of elements are neither lost nor run twice."""
    chance, count = random.Random(SEED), 40 * KILLS
    mark, waited = tmp_path / "mark", 0
    job = submit(run, "-o/dev/null", "--requeue", f"-a1-{count}", "--wrap", f"echo $SLURM_ARRAY_TASK_ID >> {mark}")
    for turn in range(KILLS):
        wait_for(lambda turn=turn: mark.exists() and len(mark.read_text().split()) > turn * 20)
        time.sleep(chance.random() * 0.1)
        _kill(engine, chance, turn if agents else 0, agents)
        with sqlite3.connect(engine.home / "queue.db") as database:
            (record,) = database.execute("SELECT record FROM jobs WHERE job_id=?", (job,)).fetchone()
            waited += bool(json.loads(record).get("followers"))
        run("squeue")
    wait_for(lambda: not run("squeue", "-ho%A")[1], 600, "elements that never end")
    print(f"{KILLS} kills, {waited} while elements waited behind others")
    runs = Counter(map(int, mark.read_text().split()))
    rows = run("sacct", "-nXDPoJobID,State", "-j", job)[1].split()
    ended = Counter(rows)
    done = {task for task in range(1, count + 1) if ended[f"{job}_{task}|COMPLETED"] == 1}
    lost = Counter(int(row.split("|")[0].partition("_")[2]) for row in rows if row.endswith("|NODE_FAIL"))
    assert done == set(runs) == set(range(1, count + 1))
    assert len(rows) == count + sum(lost.values())
    assert agents or not lost
    assert {task: times for task, times in runs.items() if times > 1 + lost[task]} == {}
    assert engine.faults() == []
