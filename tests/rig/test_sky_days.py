"""What a user's longer day holds, on the real SkyPilot: an array that loses its nodes, a chain, a het job's steps, a
requeue by the job itself, a server that is killed in mid-job, and what is cancelled or refused.

A launch costs SkyPilot a minute of a busy machine, so three jobs, side by side, hold all of it; the tests look at
what came out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from lateness import STAMP, Lateness
from on_skypilot import PATIENCE_S, SITE, SKY_BIN, LocalEngine, Nodes, answers, cluster_of

from slurmsky.site import load

pytestmark = [pytest.mark.rig, pytest.mark.timeout(3000)]
DAY_S = 1800  # six launches on a machine with other work
REAL = {"PATH": "/usr/bin:/bin"}  # Slurm's own commands, which end SkyPilot's allocation as an administrator would
REAL_QUEUE = ("squeue", "-h", "-o", "%j|%i")
REAL_HISTORY = ("sacct", "-nXP", "-S", "now-3hours", "-o", "jobname,jobid")

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
    # Two components. Each line is one result: "NAME output"; then the job waits for its cancellation.
    "steps": r"""#!/bin/bash
#SBATCH -N2 -n2 -t 60 -J steps -o steps.out
#SBATCH hetjob
#SBATCH -N1 -n1
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
srun -l --het-group=0,1 sh -c 'echo $SLURM_PROCID/$SLURM_NTASKS $SKYPILOT_NODE_RANK/$SKYPILOT_NUM_NODES' | tell both
srun --het-group=1 sh -c 'echo $SLURM_NODEID/$SLURM_NNODES; exit 6' 2> /dev/null | tell second
echo its-code ${PIPESTATUS[0]}
[ "$(srun --het-group=1 printenv SLURMD_NODENAME)" = "$SLURM_JOB_NODELIST_HET_GROUP_1" ] && echo named yes
echo sizes $SLURM_HET_SIZE $SLURM_JOB_NUM_NODES_HET_GROUP_0 $SLURM_JOB_NUM_NODES_HET_GROUP_1
for node in $(scontrol show hostnames; scontrol show hostnames $SLURM_JOB_NODELIST_HET_GROUP_1); do
    getent ahostsv4 $node | awk 'NR == 1 { print $1 }'
done | diff - <(echo "$SKYPILOT_NODE_IPS") > /dev/null && echo addresses yes
squeue -h -j $SLURM_JOB_ID -o '%j %T %D' | tell queue
echo "run ${SLURM_RESTART_COUNT:-0}"
trap 'told=1' USR1
while [ -z "$told" ]; do echo $((++line)); date +%s.%N; sleep 0.5; done
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
    "both": "0: 0/3 0/3 1: 1/3 1/3 2: 2/3 2/3",
    "second": "0/1",
    "its-code": "6",
    "named": "yes",
    "sizes": "2 2 1",
    "addresses": "yes",
    "queue": "steps RUNNING 1 steps RUNNING 2",
}
WAITS = "#!/bin/bash\nsleep 600\n"
ENDED = {"COMPLETED", "FAILED", "CANCELLED"}


def submission(job_id: str) -> str:
    """The id that sbatch printed for a job, given the id of its array element or het component."""
    return re.split(r"[_+]", job_id)[0]


@dataclass
class Day:
    """The submit folder of the jobs, their ids, and the recorded events."""

    nodes: str  # managed or kept
    folder: Path  # in it one for each script: jobs of one folder that share a node see each other's files
    engine: LocalEngine
    ids: dict[str, str] = field(default_factory=dict)
    rows: list[list[str]] = field(default_factory=list)  # of sacct, at the end
    earlier: set[str] = field(default_factory=lambda: {job_id for _, job_id in real_jobs(REAL_HISTORY)})
    recorded: int = 0  # lines of the job that saw the server die, before that
    clusters: dict[str, str] = field(default_factory=dict)  # of warm nodes, by submission
    late_s: list[float] = field(default_factory=list)  # after SkyPilot's own stream, lines of that job came here

    def submit(self, name: str, script: str, *options: str) -> None:
        """Run sbatch in a folder of that name."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        (folder / "job.sh").write_text(script)
        done = self.engine.run(["sbatch", *options, "job.sh"], cwd=folder)
        reported = re.fullmatch(r"Submitted batch job (\d+)\n", done.stdout)
        assert reported and done.returncode == 0, done.stderr
        self.ids[name] = reported[1]

    def read_states(self) -> None:
        """Query sacct for all jobs."""
        output = self.engine.run(["sacct", "-nXP", "-a", "-o", "jobid,state,exitcode,jobname"]).stdout
        self.rows = [line.split("|") for line in output.splitlines()]

    def states(self, name: str) -> dict[str, str]:
        """Job id as sacct prints it -> "STATE exit code", of one submission."""
        base = self.ids[name]
        return {row[0]: f"{row[1]} {row[2]}" for row in self.rows if submission(row[0]) == base}

    def text(self, name: str, file: str) -> str:
        """The content of a file; "" if it does not exist."""
        path = self.folder / name / file
        return path.read_text() if path.exists() else ""

    def own_lines(self, name: str, file: str) -> list[str]:
        """The content without Slurm's lines on the job's end, and without those of an ending shell."""
        lines = self.text(name, file).splitlines()
        return [line for line in lines if not (line.startswith("slurmstepd") or line.endswith("Terminated"))]

    def numbers(self) -> list[str]:
        """The numbers that the surviving job has printed."""
        return [line for line in self.text("steps", "steps.out").splitlines() if line.isdigit()]

    def over(self, name: str) -> bool:
        """Whether the jobs of a submission and all their steps have ended."""
        rows = self.engine.run(["sacct", "-nPj", self.ids[name], "-o", "state"]).stdout.splitlines()
        return bool(rows) and {row.split(" ")[0] for row in rows} <= ENDED

    def open(self) -> set[str]:
        """Our jobs in the queue, by the ids that sbatch printed. SkyPilot's other managed jobs have higher ids."""
        listed = self.engine.run(["squeue", "-h", "-o", "%i"]).stdout.split()
        return {job_id for job_id in map(submission, listed) if int(job_id) < 60_000_000}

    def allocations(self, name: str, command: Sequence[str]) -> list[str]:
        """Ids of the real Slurm's jobs under a submission in a command's output, without those of earlier days.

        Warm nodes may have been up before this day; no two of their clusters have the same name.
        """
        managed = self.nodes == "managed"
        start = f"{name}-s{self.ids[name]}" if managed else self.clusters[name]
        return [job_id for job, job_id in real_jobs(command)
                if job.startswith(f"{start}-") and not (managed and job_id in self.earlier)]  # fmt: skip

    def note_cluster(self, name: str) -> None:
        """Record the cluster of the warm nodes on which a submission's job runs."""
        shown = self.engine.run(["squeue", "-h", "-t", "R", "-j", self.ids[name], "-o", "%N"]).stdout.split()
        if self.nodes == "kept" and shown:
            first = self.engine.run(["scontrol", "show", "hostnames", shown[0]]).stdout.split()[0]
            self.clusters[name] = cluster_of(self.engine, first)


def real_jobs(command: Sequence[str]) -> list[list[str]]:
    """Name and id of the real Slurm's jobs."""
    done = subprocess.run(command, env=REAL, capture_output=True, text=True, check=True)
    return [line.rsplit("|", 1) for line in done.stdout.splitlines()]


def take_nodes(day: Day) -> None:
    """End the real Slurm's jobs under the array's nodes, which SkyPilot treats as a preemption."""
    day.note_cluster("array")
    under = day.allocations("array", REAL_QUEUE)
    assert under, day.ids
    subprocess.run(["scancel", *under], env=REAL, check=True)


def kill_server() -> None:
    """SkyPilot's API server dies with all its workers, and is restarted."""
    (server,) = (one for one in psutil.process_iter(["cmdline"]) if "sky.server.server" in (one.info["cmdline"] or ()))
    for process in (server, *server.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait(60)
    assert not answers()
    env = {**os.environ, "PATH": f"{SKY_BIN}:{os.environ['PATH']}", "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    started = subprocess.run([SKY_BIN / "sky", "api", "start"], env=env, cwd="/", capture_output=True, text=True)
    assert started.returncode == 0 and answers(), started


def live_on(day: Day) -> None:
    """Disturb the jobs until all but one have ended: nodes are lost, and a requeued job does not wait."""
    taken = hurried = False
    deadline = time.monotonic() + DAY_S
    while (left := day.open()) != {day.ids["steps"]}:
        assert time.monotonic() < deadline, (left, day.ids, day.rows)
        time.sleep(3)
        day.read_states()
        if not taken and len([row for row in day.rows if row[3] == "array" and row[1] in ENDED]) == 7:
            take_nodes(day)
            taken = True
        why = day.engine.run(["squeue", "-h", "-j", day.ids["chain"], "-o", "%r"]).stdout
        if not hurried and why == "BeginTime\n":
            day.engine.run(["scontrol", "update", f"jobid={day.ids['chain']}", "starttime=now"])
            hurried = True


def go_through(day: Day) -> None:
    """The server is killed while a job runs; the job must be reported and reachable afterwards."""
    grown(day, 0)
    day.note_cluster("steps")
    day.late_s = sorted(lateness(day))
    kill_server()
    day.recorded = len(day.numbers())
    day.submit("late", WAITS, "-d", f"afterok:{day.ids['steps']}")  # which will not be
    grown(day, day.recorded)
    deadline = time.monotonic() + PATIENCE_S
    while (reported := day.engine.run(["scancel", "-b", "-s", "USR1", day.ids["steps"]])).returncode:
        # Tunnels through the server break with it, and each of a node's connections is restored on its own.
        assert "does not answer now" in reported.stderr and time.monotonic() < deadline, reported.stderr
        time.sleep(1)
    while not day.over("steps"):
        assert time.monotonic() < deadline, day.engine.run(["sacct", "-j", day.ids["steps"]]).stdout
        time.sleep(2)


def lateness(day: Day) -> list[float]:
    """Read SkyPilot's stream of that job's log beside its output file, for about ten seconds."""
    if day.nodes == "kept":
        return arrivals(day)
    (record,) = day.engine.home.glob(f"sky/{day.ids['steps']}/run*/record.json")
    managed_job_id = json.loads(record.read_text())["managed_job_id"]
    both = Lateness(managed_job_id, day.folder / "steps" / "steps.out", os.environ, load(SITE, "site.toml"))
    both.start()
    deadline = time.monotonic() + PATIENCE_S
    while len(both.late_s) < 20 and both.is_alive():
        assert time.monotonic() < deadline, (len(both.shown), len(both.there))
        time.sleep(1)
    both.stop()
    return both.late_s


def arrivals(day: Day) -> list[float]:
    """Delays of 20 lines of that job from its warm node."""
    late: list[float] = []
    deadline = time.monotonic() + PATIENCE_S
    seen = len(STAMP.findall(day.text("steps", "steps.out").encode()))
    while len(late) < 20:
        assert time.monotonic() < deadline, late
        stamps = STAMP.findall(day.text("steps", "steps.out").encode())
        late += [time.time() - float(stamp) for stamp in stamps[seen:]]
        seen = len(stamps)
        time.sleep(0.02)
    return late


def grown(day: Day, lines: int) -> None:
    """Wait until the surviving job has counted beyond that number."""
    deadline = time.monotonic() + PATIENCE_S
    while len(day.numbers()) <= lines:
        assert time.monotonic() < deadline, day.engine.run(["scontrol", "show", "job", day.ids["steps"]]).stdout
        time.sleep(1)


@pytest.fixture(scope="module")
def day(nodes: Nodes, rig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    apart = {"array": ("-p", "apart")} if nodes.kept else {}  # on a node that other jobs do not share: it is taken
    with nodes.commands(tmp_path_factory.mktemp("site")) as engine:
        day = Day(nodes.kind, rig / f"days-{nodes.kind}", engine)
        for name, script in SCRIPTS.items():
            day.submit(name, script, *apart.get(name, ()))
        day.submit("never", WAITS)
        assert engine.run(["scancel", day.ids["never"]]).returncode == 0
        live_on(day)
        go_through(day)
        day.read_states()
        yield day


def test_an_array_keeps_to_its_throttle(day: Day) -> None:
    base = day.ids["array"]
    codes = [("COMPLETED" if not index % 3 else "FAILED") + f" {index % 3}:0" for index in range(8)]
    assert day.states("array") == {f"{base}_{index}": codes[index] for index in range(8)}
    moments = []
    for index in range(8):
        first, begin, end = day.own_lines("array", f"array-{index}.out")[-3:]
        assert first == f"{base} {index} of 8 run {int(index == 7)}"
        if index < 7:  # the last one ran again, alone
            moments += [(float(begin), 1), (float(end), -1)]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    assert 1 < most <= 4


def test_only_unfinished_elements_run_again_after_a_preemption(day: Day) -> None:
    runs = [len(day.own_lines("array", f"array-{index}.out")) / 3 for index in range(8)]
    assert runs == [1, 1, 1, 1, 1, 1, 1, 2]


def test_a_warning_then_a_requeue_by_the_job_itself(day: Day) -> None:
    assert day.states("chain") == {day.ids["chain"]: "COMPLETED 0:0"}
    first, made, *rest = day.own_lines("chain", "chain.out")
    assert (first, rest) == ("run 0", ["warned", "run 1"]) and made.isdigit()


def test_a_job_submits_the_next_job(day: Day) -> None:
    """A job submits another with a script that it has just written. Its id is known at once, and it runs later."""
    made = day.own_lines("chain", "chain.out")[1]
    assert [row[:3] for row in day.rows if row[3] == "made"] == [[made, "COMPLETED", "0:0"]]
    assert day.text("chain", "made.out") == f"made by {day.ids['chain']}\ndata\n"


def test_steps(day: Day) -> None:
    """The main checks of tests/node, on the real nodes; the last ones have two components."""
    base = day.ids["steps"]
    lines = day.text("steps", "steps.out").splitlines()
    pairs = [line.partition(" ") for line in lines[: lines.index("run 0")]]
    assert {name: rest.strip() for name, _, rest in pairs} == STEPS
    assert [day.text("steps", f"part.{rank}") for rank in (0, 1)] == ["0\n", "1\n"]
    rows = day.engine.run(["sacct", "-nPj", base, "-o", "jobid,state"]).stdout.splitlines()
    reported = dict(row.split("|") for row in rows)
    assert set(reported) >= {f"{base}+0.batch", *(f"{base}+0.{step}" for step in range(13))}
    assert {step for step in reported if step.startswith(f"{base}+1.")} == {f"{base}+1.{step}" for step in (12, 13, 14)}
    assert {state.split(" ")[0] for state in reported.values()} <= ENDED


def test_a_job_continues_while_the_server_is_killed_and_started_again(day: Day) -> None:
    """The job's output is complete, requests reach it, its end is reported, and it ran once."""
    base = day.ids["steps"]
    assert day.states("steps") == {f"{base}+0": "FAILED 3:0", f"{base}+1": "FAILED 3:0"}
    lines = day.text("steps", "steps.out").splitlines()
    assert [line for line in lines if line.startswith("run")] == ["run 0"] and lines[-1] == "told"
    numbers = day.numbers()
    assert len(numbers) > day.recorded > 0
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert len(day.allocations("steps", REAL_HISTORY)) == 1


def test_lines_come_as_soon_as_skypilot_shows_them(day: Day) -> None:
    """Lines reach the user's file within 2 s. Other work on the machine may delay a single line."""
    late = day.late_s
    median, most = statistics.median(late), late[len(late) * 9 // 10]
    print(f"{len(late)} lines: median {median:.2f} s, 90% {most:.2f} s, last {late[-1]:.2f} s after SkyPilot")
    assert len(late) >= 20 and median < 2


def test_a_job_without_nodes_waits(day: Day) -> None:
    """Jobs that were cancelled at once, waited for a success that did not occur, or were refused."""
    (state,) = day.states("never").values()
    assert state.startswith("CANCELLED")
    assert day.engine.run(["squeue", "-h", "-j", day.ids["late"], "-o", "%r"]).stdout == "DependencyNeverSatisfied\n"
    assert day.engine.run(["scancel", day.ids["late"]]).returncode == 0
    refused = day.engine.run(["sbatch", "--gpus-per-node=a100:99", "--wrap", "true"])
    # No warm node has such a device, and no node of SkyPilot's infra has that number of them.
    words = {"managed": "Requested node configuration is not available", "kept": "Invalid generic resource (gres)"}
    assert refused.returncode == 1 and words[day.nodes] in refused.stderr
