"""What a user's longer day holds, on the real SkyPilot: an array that loses its nodes, a chain, steps, a requeue by the
job itself, and a server that is killed in mid-job.

A launch costs SkyPilot a minute of a busy machine, so three jobs, side by side, hold all of it; the tests look at
what came out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from on_skypilot import PATIENCE_S, LocalEngine, answers, commands, wait

pytestmark = [
    pytest.mark.rig,
    pytest.mark.timeout(3000),
    pytest.mark.skipif("SLURMSKY_RIG_DAY" not in os.environ, reason="takes a quarter of an hour: SLURMSKY_RIG_DAY=1"),
]
DAY_S = 1800  # six launches on a machine that has other things to do
HERE = Path(__file__).parent
REAL = {"PATH": "/usr/bin:/bin"}  # Slurm's own commands, which end SkyPilot's allocation as an administrator would

SCRIPTS = {
    # Its last element stays until the nodes are taken.
    "array": """#!/bin/bash
#SBATCH -a 0-7%4 -J array -o array-%a.out --open-mode=append
echo "$SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT run ${SLURM_RESTART_COUNT:-0}"
date +%s.%N; sleep 2; date +%s.%N
[ "$SLURM_ARRAY_TASK_ID-${SLURM_RESTART_COUNT:-0}" = 7-0 ] && sleep 3000
exit $((SLURM_ARRAY_TASK_ID % 3))
""",
    # A job that submits another, with a script that it has just written, to run after it; then it is requeued.
    "chain": """#!/bin/bash
#SBATCH -J chain --requeue -t 10 --signal=B:USR1@580 --open-mode=append -o chain.out
echo "run ${SLURM_RESTART_COUNT:-0}"
[ "${SLURM_RESTART_COUNT:-0}" = 1 ] && { echo data > made.txt; exit 0; }
trap 'echo warned; scontrol requeue $SLURM_JOB_ID; sleep 300' USR1
echo '#!/bin/bash' > made.sh; echo 'echo made by $MAKER; cat made.txt' >> made.sh
export MAKER=$SLURM_JOB_ID
sbatch --parsable -J made -o made.out -d afterok:$SLURM_JOB_ID made.sh
for i in $(seq 600); do sleep 0.5; done
""",
    # Steps, of which each line tells one thing: "NAME what came out"; then the job waits to be told.
    "steps": r"""#!/bin/bash
#SBATCH -N2 -n2 -J steps -o steps.out
tell() { echo "$1 $(sort | tr '\n' ' ')"; }
srun -l sh -c 'echo $SLURM_NODEID.$SLURM_LOCALID/$SLURM_NTASKS' | tell places
[ "$(srun -r1 -N1 -n1 printenv SLURMD_NODENAME)" = "$(scontrol show hostnames | tail -n1)" ] && echo relative yes
printf 'a\nb\n' | srun -l cat | tell input
printf '0 echo zero %%t\n* echo rest %%t\n' > programs; srun --multi-prog programs | tell multi-prog
srun sh -c 'exit $((SLURM_PROCID + 3))' 2> /dev/null; echo code $?
srun sh -c 'kill -9 $$' 2> /dev/null; echo killed $?
srun -K sh -c '[ $SLURM_PROCID = 0 ] && exit 2; sleep 300' 2> /dev/null; echo kill-on-bad-exit $?
srun -W1 sh -c '[ $SLURM_PROCID = 0 ] && exit; sleep 300' 2> /dev/null; echo wait $?
srun -o part.%t sh -c 'echo $SLURM_PROCID'; echo files $?
srun head -c 20000000 /dev/zero | wc -c | tell bytes
srun --mpi=pmi2 sh -c 'echo $PMI_RANK/$PMI_SIZE' | tell pmi
(ulimit -Sn 512; srun -n1 -N1 sh -c 'ulimit -Sn') | tell limits
echo "run ${SLURM_RESTART_COUNT:-0}"
trap 'told=1' USR1
while [ -z "$told" ]; do echo $((++line)); sleep 0.5; done
echo told
exit 3
""",
}
STEPS = {
    "places": "0: 0.0/2 1: 1.0/2",
    "relative": "yes",
    "input": "0: a 0: b 1: a 1: b",
    "multi-prog": "rest 1 zero 0",
    "code": "4",
    "killed": "137",
    "kill-on-bad-exit": "143",
    "wait": "137",
    "files": "0",
    "bytes": "40000000",
    "pmi": "0/2 1/2",
    "limits": "512",
}
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}


@dataclass
class Day:
    """The folder that the jobs were submitted from, their ids, and what was seen of them."""

    folder: Path  # in it one for each script: jobs of one folder that share a node see each other's files
    engine: LocalEngine
    ids: dict[str, str] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)  # of sacct, at the end
    recorded: int = 0  # lines of the job that saw the server die, before that

    def submit(self, name: str, script: str) -> None:
        """sbatch, from a folder of that name."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        (folder / "job.sh").write_text(script)
        said = self.engine.run(["sbatch", "--parsable", "job.sh"], cwd=folder)
        assert said.returncode == 0, said.stderr
        self.ids[name] = said.stdout.strip()

    def look(self) -> None:
        """Ask sacct for all jobs."""
        said = self.engine.run(["sacct", "-nXP", "-a", "-o", "jobid,state,exitcode,jobname"]).stdout
        self.rows = [line.split("|") for line in said.splitlines()]

    def states(self, name: str) -> dict[str, str]:
        """Job id as sacct prints it -> "STATE exit code", of one submission."""
        base = self.ids[name]
        return {row[0]: f"{row[1]} {row[2]}" for row in self.rows if row[0].split("_")[0] == base}

    def text(self, name: str, file: str) -> str:
        """What a file holds by now; nothing while it is not there."""
        path = self.folder / name / file
        return path.read_text() if path.exists() else ""

    def own_lines(self, name: str, file: str) -> list[str]:
        """The same without what Slurm says of the job's end."""
        return [line for line in self.text(name, file).splitlines() if not line.startswith("slurmstepd")]

    def numbers(self) -> list[str]:
        """What the job that goes through it all has counted by now."""
        return [line for line in self.text("steps", "steps.out").splitlines() if line.isdigit()]

    def open(self) -> set[str]:
        """Ids of our jobs and arrays in the queue: SkyPilot's other managed jobs have higher ones."""
        listed = self.engine.run(["squeue", "-h", "-o", "%F"]).stdout.split()
        return {job_id for job_id in listed if int(job_id) < 60_000_000}

    def allocations(self, name: str, *command: str) -> list[str]:
        """The lines, without that word, that a real Slurm command has for a submission's nodes."""
        done = subprocess.run(command, env=REAL, capture_output=True, text=True, check=True)
        pairs = [line.partition(" ") for line in done.stdout.splitlines()]
        return [rest for word, _, rest in pairs if word.startswith(f"{name}-s{self.ids[name]}-")]


def take_nodes(day: Day) -> None:
    """End the real Slurm's jobs under the array's nodes: to SkyPilot, a preemption."""
    under = day.allocations("array", "squeue", "-h", "-o", "%j %i")
    assert under, day.ids
    subprocess.run(["scancel", *under], env=REAL, check=True)


def kill_server() -> None:
    """SkyPilot's API server dies with all its workers, and is started again."""
    (server,) = (one for one in psutil.process_iter(["cmdline"]) if "sky.server.server" in (one.info["cmdline"] or ()))
    for process in (server, *server.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait(60)
    assert not answers()
    started = subprocess.run([HERE / "sky_up.sh"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert started.returncode == 0 and answers(), started.stdout.decode(errors="replace")[-3000:]


def live_on(day: Day) -> None:
    """What happens to the jobs until all but one are over: nodes are taken, and a requeue is not waited for."""
    taken = hurried = False
    deadline = time.monotonic() + DAY_S
    while (left := day.open()) != {day.ids["steps"]}:
        assert time.monotonic() < deadline, (left, day.ids, day.rows)
        time.sleep(3)
        day.look()
        if not taken and len([row for row in day.rows if row[3] == "array" and row[1] in ENDED]) == 7:
            take_nodes(day)
            taken = True
        why = day.engine.run(["squeue", "-h", "-j", day.ids["chain"], "-o", "%r"]).stdout
        if not hurried and why == "BeginTime\n":
            day.engine.run(["scontrol", "update", f"jobid={day.ids['chain']}", "starttime=now"])
            hurried = True


def go_through(day: Day) -> None:
    """The server is killed while a job runs, which must be heard of afterwards, and be within reach."""
    grown(day, 0)
    kill_server()
    day.recorded = len(day.numbers())
    grown(day, day.recorded)
    told = day.engine.run(["scancel", "-b", "-s", "USR1", day.ids["steps"]])
    assert told.returncode == 0, told.stderr
    wait(day.engine, ["sacct", "-nXPj", day.ids["steps"], "-o", "state"], ENDED)


def grown(day: Day, lines: int) -> None:
    """Wait until the job that goes through it all has counted further than that."""
    deadline = time.monotonic() + PATIENCE_S
    while len(day.numbers()) <= lines:
        assert time.monotonic() < deadline, day.engine.run(["scontrol", "show", "job", day.ids["steps"]]).stdout
        time.sleep(1)


@pytest.fixture(scope="module")
def day(rig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    with commands(tmp_path_factory.mktemp("site")) as engine:
        day = Day(rig / "days", engine)
        for name, script in SCRIPTS.items():
            day.submit(name, script)
        live_on(day)
        go_through(day)
        day.look()
        yield day


def test_an_array_keeps_to_its_throttle(day: Day) -> None:
    base = day.ids["array"]
    codes = [("COMPLETED" if not index % 3 else "FAILED") + f" {index % 3}:0" for index in range(8)]
    assert day.states("array") == {f"{base}_{index}": codes[index] for index in range(8)}
    moments = []
    for index in range(8):
        first, begin, end = day.own_lines("array", f"array-{index}.out")[-3:]
        assert first == f"{base} {index} of 8 run {int(index == 7)}"
        if index < 7:  # the last one has run anew, alone
            moments += [(float(begin), 1), (float(end), -1)]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert 1 < most <= 4


def test_only_what_had_not_ended_runs_again_after_nodes_were_taken(day: Day) -> None:
    runs = [len(day.own_lines("array", f"array-{index}.out")) / 3 for index in range(8)]
    assert runs == [1, 1, 1, 1, 1, 1, 1, 2]


def test_a_warning_then_a_requeue_by_the_job_itself(day: Day) -> None:
    assert day.states("chain") == {day.ids["chain"]: "COMPLETED 0:0"}
    first, made, *rest = day.own_lines("chain", "chain.out")
    assert (first, rest) == ("run 0", ["warned", "run 1"]) and made.isdigit()


def test_a_chain(day: Day) -> None:
    """A job submits another with a script that it has just written; its id is known at once, it runs afterwards."""
    made = day.own_lines("chain", "chain.out")[1]
    assert [row[:3] for row in day.rows if row[3] == "made"] == [[made, "COMPLETED", "0:0"]]
    assert day.text("chain", "made.out") == f"made by {day.ids['chain']}\ndata\n"


def test_steps(day: Day) -> None:
    """A short list of what tests/node holds everywhere, once where it counts."""
    base = day.ids["steps"]
    lines = day.text("steps", "steps.out").splitlines()
    pairs = [line.partition(" ") for line in lines[: lines.index("run 0")]]
    assert {name: rest.strip() for name, _, rest in pairs} == STEPS
    assert [day.text("steps", f"part.{rank}") for rank in (0, 1)] == ["0\n", "1\n"]
    rows = day.engine.run(["sacct", "-nPj", base, "-o", "jobid,state"]).stdout.splitlines()
    told = dict(row.split("|") for row in rows)
    assert set(told) >= {f"{base}.batch", *(f"{base}.{step}" for step in range(11))}
    assert {state.split(" ")[0] for state in told.values()} <= ENDED


def test_a_job_goes_on_while_the_server_is_killed_and_started_again(day: Day) -> None:
    """Its output is complete, what is sent to it arrives, its end is known, and it ran once."""
    assert day.states("steps") == {day.ids["steps"]: "FAILED 3:0"}
    lines = day.text("steps", "steps.out").splitlines()
    assert [line for line in lines if line.startswith("run")] == ["run 0"] and lines[-1] == "told"
    numbers = day.numbers()
    assert len(numbers) > day.recorded > 0
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    listed = day.allocations("steps", "sacct", "-nXP", "--delimiter= ", "-S", "now-3hours", "-o", "jobname,jobid")
    assert len(listed) == 1
