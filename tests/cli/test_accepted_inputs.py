"""Unusual submissions that are accepted, and the resulting jobs (accepted_inputs.csv)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from local_engine import LocalEngine
from recorded import Answer, Row, answer_all, mapped, rows
from tables import every

pytestmark = pytest.mark.xdist_group("accepted_inputs")

ROWS = rows("accepted_inputs.csv")

#: Column of the table -> key of `scontrol show job`; the first that is shown counts.
KEYS: dict[str, tuple[str, ...]] = {
    "NumNodes": ("NumNodes",), "NumCPUs": ("NumCPUs",), "NumTasks": ("NumTasks",),
    "CPUsPerTask": ("CPUs/Task",), "TimeLimit": ("TimeLimit",),
    "MinMemory": ("MinMemoryCPU", "MinMemoryNode"), "ArrayTaskId": ("ArrayTaskId",),
    "ArrayTaskThrottle": ("ArrayTaskThrottle",), "Dependency": ("Dependency",), "Nice": ("Nice",),
    "TresPer": ("TresPerNode", "TresPerJob", "TresPerTask", "TresPerSocket"), "MailType": ("MailType",),
}  # fmt: skip

#: (argv, column) -> why the column is not compared.
NOT_COMPARED: dict[tuple[str, str], str] = {
    (
        "sbatch -d afterok:999999999 SCRIPT",
        "Dependency",
    ): "dropped at the next scheduling pass: a matter of timing",
    ("sbatch -N2-1k SCRIPT", "NumNodes"): "recorded of a job that waits; this one runs at once",
    ("sbatch -H -N1 -n9 SCRIPT", "NumNodes"): "25.11 shows the nodes that the tasks need",
    ("sbatch -N2-1k SCRIPT", "NumTasks"): "the same",
    ("sbatch -N2-1k SCRIPT", "NumCPUs"): "recorded of a job that waits; this one runs at once",
}

#: argv -> why the row is not queried here.
NOT_HERE = {
    "sbatch --gid=nogroup -H SCRIPT": "refused: jobs run as their owner",
    "sbatch -H --deadline=now+1minute -t 10 SCRIPT": "newer releases refuse a time limit beyond the deadline",
}

#: slurmsky's own line for a job that waits until a user changes the job or the cluster
_ENDLESS = re.compile(r"^sbatch: job \d+ can never start: .*\n?", re.MULTILINE)
#: slurmsky's own warning of a job that will fail before its script begins
_WARNED = re.compile(
    r"^sbatch: warning: the (?:script's interpreter|job's (?:working folder|output file)) .*\n?", re.MULTILINE
)

#: argv -> why the messages are not compared.
OTHER_WORDS = {"sbatch -v -H SCRIPT": "names the plugins of one build; its own listing is compared up to them"}


@pytest.fixture(scope="module")
def answers(engine: LocalEngine) -> dict[int, Answer]:
    return answer_all(engine, [row for row in ROWS if row.argv not in NOT_HERE], with_fields=True)


@every("row", [row for row in ROWS if row.argv not in NOT_HERE], lambda row: row.argv)
def test_accepted(row: Row, answers: dict[int, Answer]) -> None:
    answer = answers[row.number]
    message = mapped(_WARNED.sub("", _ENDLESS.sub("", answer.stderr))).strip()
    if row.argv in OTHER_WORDS:
        assert message.split("\nsbatch: select/", 1)[0] == row.stderr.split("\nsbatch: select/", 1)[0]
    else:
        assert message == mapped(row.stderr).strip()
    assert (answer.stdout.startswith("Submitted batch job "), answer.code) == (True, row.code)


def test_the_notice_of_a_job_that_can_never_start_has_its_reason(answers: dict[int, Answer]) -> None:
    lines = {row.argv: _ENDLESS.findall(answers[row.number].stderr) for row in ROWS if row.number in answers}
    assert {argv for argv, found in lines.items() if found} == {
        row.argv for row in ROWS if row.fields["Reason"].startswith("Partition") and row.number in answers
    }
    assert all(" See: slurmsky why " in found[0] for found in lines.values() if found)
    scripts = [found[0] for argv, found in lines.items() if found and "--wrap" not in argv]
    assert all(re.search(r"slurmsky why \d+, slurmsky explain \S+$", line.strip()) for line in scripts)


@every("row", [row for row in ROWS if row.argv not in NOT_HERE and not row.other_user], lambda row: row.argv)
def test_accepted_options_make_the_expected_job(row: Row, answers: dict[int, Answer]) -> None:
    fields = answers[row.number].fields
    assert fields, "no job was shown"
    wanted = {column: row.fields[column] for column in KEYS if (row.argv, column) not in NOT_COMPARED}
    ours = {column: next((fields[key] for key in KEYS[column] if key in fields), "") for column in wanted}
    for sizes in (wanted, ours):  # of a job without computed nodes 25.11 shows 1-1
        sizes["NumNodes"] = re.sub(r"^(\d+)-\1$", r"\1", sizes.get("NumNodes", ""))
    if "TresPer" in wanted:  # newer releases name devices as other TRES, and list --cpus-per-task among a task's
        wanted["TresPer"] = wanted["TresPer"].replace("gres:", "gres/")
        ours["TresPer"] = re.sub(r"^cpu=\d+,?", "", ours["TresPer"])
    if row.fields["Reason"] == "JobHeldUser":
        for column in ("JobState", "Reason"):
            wanted[column], ours[column] = row.fields[column], fields[column]
    elif row.fields["Reason"].startswith("Partition"):
        # Which of the partition's limits it is comes with the next scheduling pass.
        assert fields["Reason"] == "None" or fields["Reason"].startswith("Partition")
    assert ours == wanted


@every("row", [row for row in ROWS if re.search(r" (-b|--begin)", row.argv)], lambda row: row.argv)
def test_begin(row: Row, answers: dict[int, Answer]) -> None:
    """Times are equal relative to the submission."""
    fields = answers[row.number].fields
    recorded, ours = row.fields["EligibleTime"], fields["EligibleTime"]
    if recorded == "Unknown" or recorded.startswith("2030"):
        assert ours == recorded
        return
    then, now = (datetime.fromisoformat(text) for text in (row.fields["SubmitTime"], fields["SubmitTime"]))
    meant, got = datetime.fromisoformat(recorded), datetime.fromisoformat(ours)
    if "now+" in row.argv:
        assert abs((got - now) - (meant - then)) <= timedelta(seconds=1)
    else:  # a time of day: its next occurrence, midnight's being tomorrow
        expected = now.replace(hour=meant.hour, minute=meant.minute, second=0)
        assert got == (expected if expected > now else expected + timedelta(days=1))
