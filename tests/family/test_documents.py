"""--json and --yaml of all commands on varied jobs.

The types are those of Slurm 25.11's data parser.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml
from data_parser import faults
from local_engine import LocalEngine

_FLEET = """
    sbatch -W -o /dev/null --wrap 'srun -n2 true; srun false; exit 3'
    sbatch -o /dev/null -n2 --mem=100M -t 9 -J 'Ünï <b>"x"\\\\' --comment='a: b, #c' --wrap 'touch up; srun sleep 300'
    sbatch -H -o /dev/null --array=1,3-5%2 --mail-type=END --wrap true
    sbatch -o /dev/null -J role --gres=gpu:1 --exclusive --wrap 'sleep 300' : -n1 -J other
    sbatch -o /dev/null --begin=now+1hour --deadline=now+2days --signal=B:USR1@30 --nice=7 --wrap true
    J=$(sbatch --parsable -H -o /dev/null -N2 --wrap true); scancel $J
    scontrol create reservation reservationname=docs starttime=now+1day duration=5 nodes=n4 users=root
    until test -e up; do sleep 0.1; done
"""

LINES = [
    ("squeue", "JOB_INFO_RESP"), ("squeue -t all", "JOB_INFO_RESP"), ("scontrol show job", "JOB_INFO_RESP"),
    ("squeue -s", "STEP_INFO_MSG"), ("scontrol show step", "STEP_INFO_MSG"),
    ("squeue --only-job-state", "JOB_STATE_RESP"), ("sacct", "SLURMDBD_JOBS_RESP"),
    ("sinfo", "SINFO_RESP"), ("scontrol show node", "NODES_RESP"), ("scontrol show partition", "PARTITION_RESP"),
    ("scontrol show reservation", "RESERVATION_RESP"), ("scontrol show licenses", "LICENSES_RESP"),
    ("scontrol ping", "PING_ARRAY_RESP"), ("scontrol listjobs", "LISTJOBS_INFO_RESP"),
    ("scontrol listpids", "LISTPIDS_INFO_RESP"), ("scontrol liststeps", "LISTSTEPS_INFO_RESP"),
    ("scontrol show resources $(squeue -ht R -n role -o %i)", "RESOURCE_LAYOUT_RESP"),
    ("sdiag", "DIAG_RESP"), ("sshare -a", "SHARES_RESP"), ("sacctmgr show association", "ASSOCS_RESP"),
    ("sacctmgr show user", "USERS_RESP"), ("sacctmgr show account", "ACCOUNTS_RESP"),
    ("sacctmgr show cluster", "CLUSTERS_RESP"), ("sacctmgr show qos", "SLURMDBD_QOS_RESP"),
    ("sacctmgr show tres", "TRES_RESP"), ("sacctmgr show wckey", "WCKEY_RESP"),
    ("sacctmgr show instance", "INSTANCES_RESP"), ("sacctmgr ping", "SLURMDBD_PING_RESP"),
]  # fmt: skip


@pytest.fixture(scope="module")
def fleet(engine: LocalEngine) -> Iterator[LocalEngine]:
    done = engine.run(_FLEET)
    assert not done.stderr.replace("sbatch: ", ""), done.stderr
    yield engine
    engine.run("scancel --me --ctld; scontrol delete reservation=docs; rm -f up")
    engine.run('until test -z "$(squeue -h)"; do sleep 0.1; done')


@pytest.mark.parametrize(("line", "kind"), LINES)
def test_layout(line: str, kind: str, fleet: LocalEngine) -> None:
    done = fleet.run(f"{line} --json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert faults(document, f"OPENAPI_{kind}") == []
    name = next(iter(document))
    if line.split()[-1] not in ("licenses", "wckey", "instance"):
        assert document[name]
    again = yaml.safe_load(fleet.run(f"{line} --yaml").stdout)
    # What the two lines tell of themselves, and of the time between them, differs.
    assert again.keys() == document.keys()
    if name in ("jobs", "nodes", "partitions", "associations", "qos", "reservations") and "sacct" not in line:
        assert again[name] == document[name]


def test_states_alone_name_every_element(fleet: LocalEngine) -> None:
    jobs = json.loads(fleet.run("squeue --only-job-state --json").stdout)["jobs"]
    held = [job["job_id"].split("_")[1] for job in jobs if "_" in job["job_id"]]
    assert held == ["1", "3", "4", "5"]
    assert sorted(job["job_id"].split("+")[1] for job in jobs if "+" in job["job_id"]) == ["0", "1"]


def test_data_parsers(fleet: LocalEngine) -> None:
    listed = "".join(f"data_parser/v0.0.{number}\n" for number in (41, 42, 43, 44))
    for line in ("squeue --json=list", "scontrol --json=list", "sacctmgr --yaml=list", "sdiag --json=list"):
        done = fleet.run(line)
        assert (done.returncode, done.stdout, done.stderr) == (0, listed, "Possible data_parser plugins:\n")
    old = json.loads(fleet.run("scontrol show job --json=v0.0.42").stdout)
    assert old["meta"]["plugin"]["data_parser"] == "data_parser/v0.0.42"
    assert "submit_line" not in old["jobs"][0] and "priority_by_partition" in old["jobs"][0]
    for line, code in (("squeue --json=v9", 1), ("sinfo --json=v9", 1), ("scontrol show job --json=v9", 1),
                       ("sacct --json=v9", 0)):  # fmt: skip
        done = fleet.run(line)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.splitlines()[-1].endswith("error: application/json output not supported by v0.0.44")
    done = fleet.run("SLURM_JSON=dense squeue --json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'squeue: fatal: Unable to parse serializer "dense" flags: Invalid argument\n'
    assert fleet.run("SLURM_JSON=compact squeue --yaml --json").stdout.count("\n") == 1


@pytest.mark.parametrize(
    "words", ["show job 9", "show step 9.0", "show node nope", "show partition nope", "show reservation nope"]
)
def test_an_empty_answer_is_a_document_without_records(words: str, fleet: LocalEngine) -> None:
    done = fleet.run(f"scontrol {words} --json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr, next(iter(document.values()))) == (0, "", [])


def test_answers_without_a_layout_are_printed_as_text(fleet: LocalEngine) -> None:
    assert fleet.run("scontrol show config --json").stdout.startswith("Configuration data as of")
