"""Messages and exit codes of invalid command lines (bad_inputs.csv)."""

from __future__ import annotations

import os

import pytest
from local_engine import LocalEngine
from recorded import Answer, Row, answer_all, mapped, rows
from tables import every

# One worker runs all rows, at one controller.
pytestmark = pytest.mark.xdist_group("bad_inputs")

ROWS = rows("bad_inputs.csv")

#: Rows that cannot be recorded here, by their argv, with the reason.
NOT_HERE: dict[str, str] = {
    "squeue -o %999999999i": "the recorded command crashed; see test_no_crash_on_a_huge_width",
    "sacct -T": "the recorded command hung on its accounting database",
    "sacct --json -p": "the recorded command hung on its accounting database",
    "scontrol show assoc": "lists the associations of the recording's accounting database",
    "srun --mpi=list": "lists the plugins that one build was made with",
    "srun --slurmd-debug=9 true": "prints the log of that build's step daemon",
    "sbatch -H --gpu-bind=bogus SCRIPT": "names the argument as it was typed since 23.02",
    "sbatch -H -N1,2 SCRIPT": "a list of node counts is accepted since 23.02",
    "sbatch --requeue=bogus SCRIPT": "--requeue takes a word since 25.11",
    "sacct -R bogus": "the option is there since 25.11",
    "srun -D /no/such/dir pwd": "printed twice in 22.05: by the step's manager and again by its task",
    "sacct -q nosuch": "other rows submit with --qos=nosuch, which is a QOS then; see test_unknown_qos",
    "sbatch -H -w 'n[1-2' SCRIPT": "a bracket without an end is refused since 25.11; see test_slurm_answers.py",
    "squeue -w 'n[1-'": "a bracket without an end is refused since 25.11",
    "sinfo -n 'n['": "a bracket without an end is refused since 25.11",
    "scontrol show node 'n[1-'": "a bracket without an end is refused since 25.11",
    "scontrol show hostnames 'n[1-3'": "a bracket without an end is refused since 25.11",
    "squeue --json=bogus": "the option takes an argument since 23.02",
}
for _row in ROWS:
    if _row.other_user and ("1343" in _row.argv or "nodename" in _row.argv or "partitionname" in _row.argv):
        NOT_HERE[_row.argv] = "asks for another user's queue; each user has a queue and nodes of their own"

#: Rows whose standard output is a page of Slurm's own prose (help) or a document whose layout changed since
#: (JSON): their messages and exit codes are compared, and that something is printed.
OWN_WORDS = {
    "scontrol show hostlist": "prints the whole help",
    "squeue --json -o %i": "the recorded layout is 22.05's; 25.11's is in other tests",
    "scontrol version": "tells the version",
    "sstat -e x": "lists the fields, and newer releases have more of them",
    "sstat -j 999999": "the default columns are those of newer releases",
    "sstat -j 999999.0": "the default columns are those of newer releases",
    "squeue extra": "prints the usage",
    "squeue -h extra words": "prints the usage",
    "scontrol show step": "lists the steps of the recorded queue",
    "scontrol show step abc": "lists the steps of the recorded queue",
}

#: Rows whose output lists what the recorded queue held: a date line and the header are compared.
LISTS = ("squeue", "sacct", "sinfo")

#: What the real command says where the recorded queue was busy and this one is free (seen on the same Slurm).
ON_A_FREE_QUEUE = {
    "srun -I1 -N5 true": "srun: error: Unable to allocate resources: "
    "Requested partition configuration not available now\n",
}


@pytest.fixture(scope="module")
def answers(engine: LocalEngine) -> dict[int, Answer]:
    return answer_all(engine, [row for row in ROWS if row.argv not in NOT_HERE], with_fields=False)


def _messages(row: Row, text: str) -> list[str]:
    """Messages, line by line.

    Lines of srun and of a node's step daemon reach the terminal in any order.
    """
    lines = mapped(text).splitlines()
    return sorted(lines) if row.command[0] == "srun" else lines


def _shown(row: Row, text: str) -> str:
    text = mapped(text[:400])
    if row.argv.startswith(LISTS):
        head = text.splitlines()[:2]
        return "\n".join(head if head[:1] == ["<date>"] else head[:1])
    return text


@every("row", [row for row in ROWS if row.argv not in NOT_HERE], lambda row: row.argv)
def test_bad_input(row: Row, answers: dict[int, Answer]) -> None:
    answer = answers[row.number]
    stderr = ON_A_FREE_QUEUE.get(row.argv, row.stderr)
    assert [_messages(row, answer.stderr), answer.code] == [_messages(row, stderr), row.code]
    if row.argv in OWN_WORDS:
        assert answer.stdout
    else:
        assert _shown(row, answer.stdout) == _shown(row, row.stdout)


def test_no_crash_on_a_huge_width(engine: LocalEngine) -> None:
    done = engine.run(["squeue", "-h", "-j", "1", "-o", "%999999999i"])
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr


def test_unknown_qos(engine: LocalEngine) -> None:
    done = engine.run(["sacct", "-q", "neverasked"])
    first, second = done.stderr.splitlines()
    assert first.startswith("sacct: error: You gave a bad qos 'neverasked'. Valid QOS's are normal")
    assert (second, done.returncode) == ("sacct: fatal: problem processing qos list", 1)


def test_tables_name_rows() -> None:
    argvs = {row.argv for row in ROWS}
    assert set(NOT_HERE) <= argvs and set(OWN_WORDS) <= argvs and set(ON_A_FREE_QUEUE) <= argvs


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do it")
def test_only_root_submits_as_another(engine: LocalEngine) -> None:
    done = engine.run(["sbatch", "--uid=root", "--wrap=true"])
    assert (done.stderr, done.returncode) == ("sbatch: error: --uid only permitted by root user\n", 255)
