"""sprio, sshare, sreport, sacctmgr, sdiag, strigger, scrontab, seff, swait."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine
from polling import PATIENCE_S

HERE = Path(__file__).parent


def _answers(text: str) -> list[tuple[str, str, int]]:
    found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*?)= (\d+)$", text, re.MULTILINE)
    return [(line, answer, int(code)) for line, answer, code in found]


ANSWERS = _answers((HERE / "answers.txt").read_text())


def _plain(line: str, text: str) -> list[str]:
    """The compared part of the output: words for columns whose width depends on the values, else lines."""
    if line.startswith("sreport"):
        text = text.replace(" Allocate ", " Allocated ").replace("PLND Dow ", "PLND Down ")
        rows = [row.split() for row in text.splitlines()]
        return [" ".join(row) for row in rows if not all(set(word) == {"-"} for word in row)]
    return [row.rstrip() for row in text.splitlines()]


def test_all_lines_have_an_answer() -> None:
    assert [line for line, _, _ in ANSWERS] == (HERE / "lines.txt").read_text().splitlines()


@pytest.mark.parametrize(("line", "answer", "code"), ANSWERS, ids=[line for line, _, _ in ANSWERS])
def test_answers_as_slurm(line: str, answer: str, code: int, engine: LocalEngine) -> None:
    done = engine.run(line + " 2>&1")
    ours = done.stdout
    if line == "sacctmgr show cluster":
        host = ours.splitlines()[2].split()[1]
        ours = ours.replace(f"{host:>15}", f"{'127.0.0.1':>15}").replace(f"{6817:>12}", f"{25300:>12}")
    if "NumNodes=99" in line:  # slurmctld keeps the maximum of the refused update
        answer = answer.replace("NumNodes=1-99", "NumNodes=1")
    assert (_plain(line, ours), done.returncode) == (_plain(line, answer), code)


def test_changes_of_accounts_answer_as_slurm(engine: LocalEngine) -> None:
    """Run the lines in order in one shell.

    The recorded answers are those on which 22.05 and 25.11 agree.
    """
    lines = (HERE / "changes.txt").read_text().splitlines()
    recorded = _answers((HERE / "changed.txt").read_text())
    assert [line for line, _, _ in recorded] == lines
    steps = (f"echo '$ '{shlex.quote(line)}; {{ {line}; }} 2>&1; echo = $?" for line in lines)
    assert _answers(engine.run("\n".join(steps)).stdout) == recorded


@pytest.mark.parametrize(
    ("words", "name", "count"),
    [("show node", "nodes", 4), ("show node n1,n3", "nodes", 2), ("show partition gpu", "partitions", 1),
     ("show reservation", "reservations", 1), ("show licenses", "licenses", 0), ("ping", "pings", 1),
     ("show step $J", "steps", 1), ("show job $J", "jobs", 1)],
)  # fmt: skip
def test_documents_of_scontrol(words: str, name: str, count: int, engine: LocalEngine) -> None:
    make = "scontrol create reservation reservationname=doc starttime=now+1day duration=5 nodes=n4 users=root"
    start = "J=$(sbatch --parsable -t 5 -o /dev/null --wrap 'touch up; sleep 60'); until test -e up; do sleep 0.1; done"
    done = engine.run(f"{make} >/dev/null; {start}; scontrol {words} --json; scontrol {words} --yaml;"
                      " scancel $J; rm up; scontrol delete reservation=doc")  # fmt: skip
    text, _, yaml = done.stdout.partition("%YAML 1.1\n")
    document = json.loads(text)
    assert len(document[name]) == count
    assert not document["errors"]
    assert yaml.startswith(f"---\n{name}:") and yaml.endswith("...\n")


def _wait(path: Path, text: str, limit_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + limit_s
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < end, path.read_text() if path.exists() else "nothing was written"
        time.sleep(0.1)


def test_sums_of_what_jobs_used(engine: LocalEngine) -> None:
    engine.run("sbatch -W -n4 -o /dev/null --wrap 'sleep 3'")
    seconds = int(engine.run("sacct -nXPo cputimeraw | sort -n | tail -n 1").stdout)
    assert seconds >= 12
    day = "start=today end=now+1minute -t seconds"
    used = engine.run(f"sreport -nP user top {day} format=login,account,used").stdout.split("|")
    assert int(used[-1]) >= seconds
    shown = engine.run(f"sreport -nP cluster util {day} format=alloc,idle,planned,reported").stdout.strip().split("|")
    allocated, idle, planned, reported = map(int, shown)
    assert allocated >= seconds
    assert abs(allocated + idle + planned - reported) <= 2
    assert engine.run("sreport -nP job sizesbyaccount printjobcount grouping=4 start=today end=now+1minute").stdout


def test_seff(engine: LocalEngine) -> None:
    script = "'python3 -c \"x=bytearray(80<<20)\"; exit 3'"
    number = engine.run(f"sbatch --parsable -W -n2 -o /dev/null --wrap {script}").stdout.strip()
    lines = dict(line.split(": ", 1) for line in engine.run(["seff", number]).stdout.splitlines())
    assert lines["Job ID"] == number
    assert lines["State"] == "FAILED (exit code 3)"
    assert (lines["Nodes"], lines["Cores per node"]) == ("1", "2")
    assert 80 <= float(lines["Memory Utilized"].removesuffix(" MB")) < 200
    assert re.fullmatch(r"[\d.]+% of 3.91 GB \(3.91 GB/node\)", lines["Memory Efficiency"])
    assert re.fullmatch(r"[\d.]+% of 00:0\d:\d\d core-walltime", lines["CPU Efficiency"])
    killed = engine.run("sbatch --parsable -W -o /dev/null --wrap 'kill -9 $$'").stdout.strip()
    # Slurm's seff prints the exit code's byte alone, without the signal.
    assert "State: FAILED (exit code 0)\n" in engine.run(["seff", killed]).stdout
    gone = engine.run("seff 99999999")
    assert (gone.returncode, gone.stderr) == (2, "Job not found.\n")
    assert engine.run("seff").returncode == 1


def test_swait(engine: LocalEngine) -> None:
    submit = "sbatch --parsable -o /dev/null"
    numbers = [engine.run(f"{submit} --wrap 'sleep {n}; exit {n}'").stdout.strip() for n in (1, 2)]
    assert engine.run(["swait", *numbers]).returncode == 2
    array = engine.run(f"{submit} -a 1-3 --wrap 'exit $SLURM_ARRAY_TASK_ID'").stdout.strip()
    assert engine.run(["swait", array]).returncode == 3
    assert engine.run(["swait", array]).returncode == 3
    slow = engine.run(f"{submit} --wrap 'sleep 60'").stdout.strip()
    assert engine.run(["swait", "-t", "0:01", slow]).returncode == 124
    engine.run(["scancel", slow])
    assert engine.run(["swait", slow]).returncode == 1
    unknown = engine.run(["swait", "99999999"])
    assert (unknown.returncode, unknown.stderr) == (1, "swait: error: Invalid job id specified: 99999999\n")


def test_sdiag_counts(engine: LocalEngine) -> None:
    def numbers() -> dict[str, int]:
        return {name: int(value) for name, value in
                re.findall(r"^(Jobs \w+): +(\d+)$", engine.run(["sdiag"]).stdout, re.MULTILINE)}  # fmt: skip

    assert engine.run(["sdiag", "-r"]).stdout == "Reset scheduling statistics\n"
    engine.run("sbatch -W -o /dev/null --wrap true")
    engine.run(["scancel", engine.run("sbatch -H --parsable --wrap true").stdout.strip()])
    engine.run("squeue; squeue")
    counted = numbers()
    assert (counted["Jobs submitted"], counted["Jobs started"], counted["Jobs completed"]) == (2, 1, 1)
    assert counted["Jobs canceled"] == 1
    assert re.search(r"^\tsqueue +\( *\d+\) count:2 ", engine.run(["sdiag", "-i"]).stdout, re.MULTILINE)


def test_triggers(engine: LocalEngine, tmp_path: Path) -> None:
    program, diary, go = tmp_path / "program", tmp_path / "diary", tmp_path / "go"
    program.write_text(f'#!/bin/sh\necho "$@" >>{diary}\n')
    program.chmod(0o755)
    job = engine.run(f"sbatch --parsable -o /dev/null --wrap 'until test -e {go}; do sleep 0.1; done'").stdout.strip()
    for words in (f"-f -j {job} -p '{program} over'", f"--down --flags=perm -p '{program} down'",
                  f"-u -nn2 -p '{program} up'"):  # fmt: skip
        assert engine.run(f"strigger --set {words}").returncode == 0
    listed = engine.run(["strigger", "--get"]).stdout.splitlines()
    assert listed[0] == "TRIG_ID RES_TYPE   RES_ID TYPE                                OFFSET USER     FLAGS PROGRAM"
    shown = [row.split()[1:4] for row in listed[1:]]
    assert shown == [["job", job, "fini"], ["node", "*", "down"], ["node", "n2", "up"]]
    again = engine.run(f"strigger --set -f -j {job} -p '{program} over'")
    assert (again.returncode, again.stderr) == (1, "slurm_set_trigger: Duplicate event trigger\n")
    go.touch()
    _wait(diary, f"over {job}\n")
    engine.run("scontrol update nodename=n2 state=down reason=test; scontrol update nodename=n2 state=resume")
    _wait(diary, "down n2\n")
    _wait(diary, "up n2\n")
    left = engine.run(["strigger", "--get", "-N"]).stdout.split()
    assert left[1:4] == ["node", "*", "down"]
    assert engine.run(["strigger", "--clear", "--id", left[0]]).returncode == 0
    assert engine.run(["strigger", "--get"]).stdout == ""


TABLE = """# mine
WORD=tick
#SCRON -t 5 -J clock
#SCRON -o {dir}/%j.out
* * * * * echo $WORD $SLURM_JOB_NAME
@yearly {dir}/never
"""


@pytest.fixture
def table(engine: LocalEngine, tmp_path: Path) -> Iterator[str]:
    text = TABLE.format(dir=tmp_path)
    done = engine.run(["scrontab", "-"], stdin=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    yield text
    engine.run(["scrontab", "-r"])
    # The minute may just have begun, and a job with it.
    deadline = time.monotonic() + 30
    while (left := engine.run("squeue -h").stdout) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == ""


@pytest.mark.slow
def test_a_job_of_scrontab_runs_at_the_minute_and_waits_again(engine: LocalEngine, table: str, tmp_path: Path) -> None:
    """Further runs are in tests/unit/controller/test_middle.py, in virtual time."""
    assert engine.run(["scrontab", "-l"]).stdout == table
    shown = dict(row.split()[::-1] for row in engine.run("squeue -h -O JobID,Name").stdout.splitlines())
    job = shown["clock"]
    assert engine.run(f"squeue -h -j {job} -O CronJob,Reason").stdout.split() == ["Yes", "BeginTime"]
    _wait(tmp_path / f"{job}.out", "tick clock\n", 90)
    deadline = time.monotonic() + PATIENCE_S
    while (state := engine.run(f"squeue -h -j {job} -O State,CronJob").stdout.split()) != ["PENDING", "Yes"]:
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    assert engine.run(f"sacct -DnXPj {job} -o state").stdout.split()[0] == "COMPLETED"
    engine.run(["scancel", job])
    lines = table.splitlines()
    wanted = [*lines[:2], *(f"#DISABLED: {line}" for line in lines[2:5]), lines[5]]
    assert engine.run(["scrontab", "-l"]).stdout.splitlines() == wanted
    assert engine.run(f"squeue -h -j {job}").stdout == ""


def test_scrontab_outlives_the_controller(engine: LocalEngine, table: str) -> None:
    before = engine.run("squeue -h -O JobID,StartTime:30,CronJob").stdout
    engine.run("slurmsky stop; sleep 1")
    assert engine.run("squeue -h -O JobID,StartTime:30,CronJob").stdout == before
    assert engine.run(["scrontab", "-l"]).stdout == table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("* * * x\n", "scrontab: error: something is broken\n"),
        ("@noon x\n", "scrontab: error: invalid @ line\nscrontab: error: something is broken\n"),
        ("*/1 * * * * x\n", "scrontab: error: bad step value\nscrontab: error: something is broken\n"),
        ("#SCRON --time=foo\n* * * * * x\n", "scrontab: error: Invalid --time specification\n"),
        ("#SCRON --nosuch\n* * * * * x\n", "scrontab: unrecognized option '--nosuch'\n"),
        ("#SCRON -p nosuch\n* * * * * x\n", "scrontab: error: invalid partition specified: nosuch\n"),
    ],
)
def test_scrontab_refuses(text: str, message: str, engine: LocalEngine) -> None:
    done = engine.run(["scrontab", "-"], stdin=text)
    assert (done.returncode, done.stdout) == (1, "There are errors in your crontab.\n")
    assert done.stderr.startswith(message)
    none = engine.run(["scrontab", "-l"])
    assert (none.returncode, none.stdout.startswith("no crontab for ")) == (1, True)


def test_scrontab_edits_in_the_terminal(engine: LocalEngine, table: str, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "0 5 * * * later" >>"$1"\n')
    editor.chmod(0o755)
    assert engine.run("scrontab -e").stderr == "scrontab: fatal: Standard input is not a TTY\n"
    pid, screen = pty.fork()
    if not pid:
        os.execvpe("scrontab", ["scrontab", "-e"], {**engine.env, "EDITOR": str(editor)})
    with os.fdopen(screen, "rb", buffering=0) as terminal:
        try:
            while terminal.read(1024):
                pass
        except OSError:
            pass  # the terminal closed with its program
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert engine.run(["scrontab", "-l"]).stdout == f"{table}0 5 * * * later\n"
    assert len(engine.run("squeue -h").stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        # Each entity has conditions of its own; every other word is refused, some with a hint.
        ("sacctmgr show user where description=x", 1,
         " Unknown condition: description=x\n Use keyword 'set' to modify value\n"),
        ("sacctmgr show qos start=1 name=normal", 1,
         " Unknown condition: start=1\n Use keyword 'set' to modify SLURM_PRINT_VALUE\n"),
        ("sacctmgr show assoc name=cpu nosuch=2", 1, " Unknown condition: name=cpu\n Unknown condition: nosuch=2\n"),
        ("sacctmgr show problem name=root", 1, " Unknown condition: name=root\n"),
        ("sacctmgr show runaway type=gres", 1, " Unknown condition: type=gres\n"),
        ("sacctmgr show event root", 1, " Unknown event type: 'root'  Valid events are Cluster and Node.\n"),
        ("sacctmgr show transactions tree x", 1,
         "sacctmgr: error: Invalid value for Transaction ID (tree)\n"
         "sacctmgr: error: Invalid value for Transaction ID (x)\n"),
        ("sacctmgr show wckey format=user,GrpCPUs,x", 1, "Unknown field 'grpcpus'\nUnknown field 'x'\n"),
        ("sacctmgr show cluster format=cluster,Usa", 1, "Unknown field 'usa'\n"),
        ("sacctmgr show user format=", 1, "Unknown field ''\n"),
        ("sacctmgr -nP show qos format=name,prio,name", 0, "0|normal\n"),
        ("sacctmgr -i modify account nosuch set maxjobs=3", 1,
         " Modified account associations...\n  Nothing modified\n"),
        ("sacctmgr -i modify qos normal", 1, " You didn't give me anything to set\n"),
        ("sshare -u 99999 -o nosuch", 1, "Invalid user id: 99999\n"),
        ("sshare -nP -u nosuchuser -o account", 0, "root\n"),
        ("sshare -nP -A nosuch -A root -o account,user%0", 0, "root|\n root|root\n"),
        ("sshare -nP -M oracle -u 0 -o account%0", 0, "CLUSTER: oracle\nroot\n root\n"),
        ("sshare -u nosuchuser -o nosuch", 1, 'sshare: error: Invalid field requested: "nosuch"\n'),
        ("sreport -n cluster userutilizationbyaccount topcount=2 start=2030-01-01", 1,
         " Unknown condition: topcount=2\nUse keyword set to modify value\n"),
        ("sreport -n cluster wckeyutilizationbyuser topcount=2 start=2030-01-01", 1,
         " Unknown condition: topcount=2\n"),
        ("strigger --down --flags=x", 1, "strigger: error: Invalid flags x\n"),
        ("strigger --jobid=x --time", 1, "strigger: error: Invalid jobid x\n"),
        ("strigger --user=nosuchuser -u", 1, "strigger: error: Invalid user nosuchuser\n"),
        ("strigger --clear --id=y", 1, "strigger: error: You must specify a --id, --jobid, or --user to clear\n"),
    ],
)  # fmt: skip
def test_words_of_the_family(line: str, code: int, message: str, engine: LocalEngine) -> None:
    done = engine.run(line)
    assert (done.returncode, done.stdout + done.stderr) == (code, message)


def test_a_trigger_of_reconfigure(engine: LocalEngine, tmp_path: Path) -> None:
    program, log = tmp_path / "program", tmp_path / "log"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    program.chmod(0o755)
    assert engine.run(f"strigger --set --reconfig -p '{program} done'").returncode == 0
    assert engine.run("scontrol reconfigure").returncode == 0
    _wait(log, "done reconfig\n")
    assert engine.run("strigger --get").stdout == ""


def test_triggers_of_no_job_and_no_node(engine: LocalEngine) -> None:
    for event in ("-a", "--burst_buffer"):
        assert engine.run(f"strigger --set {event} -p /bin/true").returncode == 0
    listed = [line.split() for line in engine.run("strigger --get -N").stdout.splitlines()]
    assert [words[1:3] for words in listed] == [["slurmctld", "*"], ["other", "(null)"]]
    for words in listed:
        assert engine.run(f"strigger --clear --id {words[0]}").returncode == 0


def test_a_trigger_of_several_events_fires_once(engine: LocalEngine, tmp_path: Path) -> None:
    program, log = tmp_path / "program", tmp_path / "log"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    program.chmod(0o755)
    assert engine.run(f"strigger --set --down --up -nn2 -p '{program} event'").returncode == 0
    assert engine.run("strigger --set -a --primary_database_failure -p /bin/true").returncode == 0
    listed = [line.split() for line in engine.run("strigger --get -N").stdout.splitlines()]
    assert [words[1:4] for words in listed] == [["node", "n2", "unknown"], ["database", "*", "unknown"]]
    engine.run("scontrol update nodename=n2 state=down reason=test; scontrol update nodename=n2 state=resume")
    _wait(log, "event n2\n")
    assert engine.run("strigger --get -N").stdout.split()[1] == "database"
    assert engine.run(["strigger", "--clear", "--id", listed[1][0]]).returncode == 0


def test_verbose(engine: LocalEngine) -> None:
    """The words that the real commands print at -v and -vv."""
    assert engine.run("strigger -v --set --up --node n1 -p /bin/true").stderr == "strigger: trigger set\n"
    listed = engine.run("strigger -v --get -N")
    assert listed.stderr.endswith("trigger records\n")
    number = listed.stdout.split()[0]
    assert engine.run(f"strigger -v --clear --id {number}").stderr == f"strigger: trigger {number} cleared\n"
    assert (
        engine.run("sshare -v -u root,x -A a").stderr
        == "Users requested:\n\t: root\n\t: x\nAccounts requested:\n\t: a\n"
    )
    assert engine.run("sshare -v").stderr.endswith("Accounts requested:\n\t: all\n")
    requested = "sstat: debug:  Jobs requested:\n\nsstat: debug:  \t: All steps for job 99999\n\n"
    assert engine.run("sstat -vv 99999").stderr.startswith(requested)
