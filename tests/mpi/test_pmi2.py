"""`srun --mpi=pmi2`: replies as Slurm's, and the start and end of MPICH's programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from local_engine import LocalEngine

PROGRAMS = Path(__file__).parent / "programs"
GOLDEN = Path(__file__).parent / "golden"
# Slurm's srun keeps names for a step; ours keeps none, and says so.
_NAMES = ("name-publish", "name-lookup", "name-unpublish", "publish_name", "lookup_name", "unpublish_name")


def _command(request: str) -> str:
    return request.removeprefix("cmd=").replace(";", " ").split()[0]


def _expand(mapping: str) -> str:
    """A mapping with one block per rank's run. Blocks may be written in more than one way."""
    blocks = [tuple(map(int, block.split(","))) for block in mapping.strip("();").split("(", 1)[1].split("),(")]
    return repr([first + node for first, count, each in blocks for node in range(count) for _ in range(each)])


def _comparable(request: str, answer: str) -> str:
    if "PMI_process_mapping" in request:
        start, _, mapping = answer.partition("value=")
        return start + _expand(mapping)
    # Our answers name the thread of the request, as PMI-2 requires; Slurm leaves it out.
    return answer.replace("thrid=7;", "")


@pytest.mark.parametrize("version", ["1", "2"])
def test_answers_are_those_of_slurm(engine: LocalEngine, version: str) -> None:
    done = engine.run(
        f"srun --mpi=pmi2 -N2 -n4 -m cyclic {engine.env['SLURMSKY_PYTHON']} "
        f"{PROGRAMS}/dialogue.py {version} {PROGRAMS}/pmi{version}.txt | sort"
    )
    assert done.stderr == ""
    ours = [json.loads(line) for line in done.stdout.splitlines()]
    theirs = [json.loads(line) for line in (GOLDEN / f"pmi{version}.jsonl").read_text().splitlines()]
    assert [task["environment"] for task in ours] == [task["environment"] for task in theirs]
    for our, their in zip(ours, theirs, strict=True):
        requested = [request for request, _ in their["answers"]]
        assert [request for request, _ in our["answers"]] == requested
        for (request, answer), (_, expected) in zip(our["answers"], their["answers"], strict=True):
            if _command(request) in _NAMES:
                assert "keeps" in answer and ("rc=1" in answer or "rc=-1" in answer)
            else:
                assert _comparable(request, answer) == _comparable(request, expected), request


@pytest.mark.parametrize(
    ("version", "request_line", "answer", "stderr"),
    [
        ("1", "mcmd=spawn\\nexecname=x\\ntotspawns=1\\nspawnssofar=1\\nendcmd", "cmd=spawn_result rc=-1", ""),
        ("1", "cmd=nonsense", "cmd=nonsense_result rc=-1", "invalid pmi1 command received: 'nonsense'"),
        ("2", "cmd=spawn;thrid=3;ncmds=1;", "cmd=spawn-response;thrid=3;rc=1;errmsg=", ""),
        ("2", "cmd=job-connect;jobid=x;", "cmd=job-connect-response;rc=1;errmsg=", ""),
        ("2", "cmd=nonsense;", "cmd=nonsense-response;rc=-1;", "invalid pmi2 command received: 'nonsense'"),
        ("2", "cmd=info-getjobattr;key=nonsuch;", "cmd=info-getjobattr-response;rc=0;found=FALSE;", ""),
        ("2", "cmd=info-getnodeattr;key=nonsuch;wait=FALSE;", "cmd=info-getnodeattr-response;rc=0;found=FALSE;", ""),
    ],
)  # fmt: skip
def test_refused_pmi_commands_get_an_answer(
    engine: LocalEngine, version: str, request_line: str, answer: str, stderr: str
) -> None:
    script = engine.root / "requests.txt"
    init = f"cmd=init pmi_version={version} pmi_subversion=1"
    script.write_text(f"{init}\n{request_line}\n")
    done = engine.run(["srun", "--mpi=pmi2", "python3", str(PROGRAMS / "dialogue.py"), version, "requests.txt"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answers"][1][1].startswith(answer)
    assert stderr in done.stderr
    assert stderr or not done.stderr


def test_a_get_waits_for_a_node_attribute(engine: LocalEngine) -> None:
    script = engine.root / "requests.txt"
    script.write_text(
        "cmd=init pmi_version=2 pmi_subversion=0\n"
        "@0 cmd=info-getnodeattr;key=late;wait=TRUE;\n"
        "@1 cmd=kvs-put;key=a;value=b;\n"
        "@1 cmd=info-putnodeattr;key=other;value=no;\n"
        "@1 cmd=info-putnodeattr;key=late;value=yes;;;\n"
    )
    done = engine.run(f"srun -N1 -n2 --mpi=pmi2 python3 {PROGRAMS}/dialogue.py 2 requests.txt | sort")
    assert done.stderr == ""
    first = json.loads(done.stdout.splitlines()[0])
    assert first["answers"][1][1] == "cmd=info-getnodeattr-response;rc=0;found=TRUE;value=yes;;;"


def test_without_the_option_tasks_have_no_pmi(engine: LocalEngine) -> None:
    done = engine.run("srun --mpi=none env | grep -c ^PMI_; srun env | grep -c ^PMI_")
    assert done.stdout == "0\n0\n"


def test_list(engine: LocalEngine) -> None:
    done = engine.run(["srun", "--mpi=list"])
    assert (done.returncode, done.stderr) == (0, "")
    title, *types = done.stdout.splitlines()
    assert title == "MPI plugin types are..."
    assert {"\tnone", "\tpmi2"} <= set(types)


@pytest.mark.mpi
class TestMpich:
    """The `mpich` wheel, by mpi4py."""

    @pytest.mark.parametrize(
        ("shape", "size", "on_node"),
        [("-n1", 1, {1}), ("-N2 -n4 --ntasks-per-node=2", 4, {2}), ("-N2 -n4 -m cyclic", 4, {3, 1}),
         ("-N4 -n16 --ntasks-per-node=4", 16, {4})],
    )  # fmt: skip
    def test_check(self, engine: LocalEngine, mpich: Path, shape: str, size: int, on_node: set[int]) -> None:
        done = engine.run(f"srun --mpi=pmi2 {shape} {mpich}/python {PROGRAMS}/check.py")
        assert (done.returncode, done.stderr) == (0, "")
        rows = sorted(tuple(map(int, line.split())) for line in done.stdout.splitlines())
        assert [row[:2] for row in rows] == [(rank, size) for rank in range(size)]
        assert {row[2] for row in rows} == on_node

    def test_exit_code(self, engine: LocalEngine, mpich: Path) -> None:
        done = engine.run(f"srun --mpi=pmi2 -N2 -n4 {mpich}/python {PROGRAMS}/check.py 7")
        assert done.returncode == 7
        assert "task 3: Exited with exit code 7" in done.stderr

    def test_abort(self, engine: LocalEngine, mpich: Path) -> None:
        done = engine.run(f"srun --mpi=pmi2 -N2 -n4 --ntasks-per-node=2 {mpich}/python {PROGRAMS}/abort.py")
        assert done.returncode == 137
        lines = done.stderr.splitlines()
        assert lines[0].startswith("Abort(3) on node 1")
        assert lines[1] == "srun: Job step aborted: Waiting up to 32 seconds for job step to finish."
        assert lines[2].startswith("slurmstepd-n1: error: *** STEP ") and " CANCELLED AT " in lines[2]
        assert sorted(lines[3:]) == ["srun: error: n1: tasks 0-1: Killed", "srun: error: n2: tasks 2-3: Killed"]

    def test_messages_of_two_simultaneous_steps_do_not_mix(self, engine: LocalEngine, mpich: Path) -> None:
        step = f"srun --mpi=pmi2 --exact -N2 -n4 {mpich}/python {PROGRAMS}/check.py"
        script = f"{step} & {step} & wait -n && wait -n"
        done = engine.run(["salloc", "-N2", "--ntasks-per-node=8", "bash", "-c", script])
        assert done.returncode == 0, done.stderr
        assert sorted(line.split()[0] for line in done.stdout.splitlines()) == sorted("01230123")
