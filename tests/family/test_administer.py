"""scontrol's administrator verbs: effects, and messages for invalid words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

FAILURE = "callerid failure: Unspecified error\n"
SITE = Path(__file__).resolve().parent.parent / "oracle" / "site.toml"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("schedloglevel 3", 1, "invalid schedlog level: 3\n"),
        ("schedloglevel enable", 0, ""),
        ("setdebugflags +Backfill -Steps", 0, ""),
        ("setdebugflags +foo", 1, "invalid debug flag: +foo\n"),
        ("setdebug nosuch", 1, "invalid debug level: nosuch\n"),
        ("fsdampeningfactor 0", 1, "invalid dampening factor: 0\n"),
        ("write foo", 1, "invalid write argument:foo\n"),
        ("write config a b", 1, "too many arguments for keyword:write\n"),
        ("token foo=3", 1, "Invalid option: `foo=3`\n"),
        ("callerid 1.2.3.4 5", 1, "too few arguments for keyword:callerid\n"),
        ("callerid ::1 5 ::1 6 5", 1, f"scontrol: error: Invalid address family: 5\n{FAILURE}"),
        ("callerid x 5 ::1 6", 1, f"scontrol: error: inet_pton failed for 'x'\n{FAILURE}"),
        ("listjobs", 1, "No slurmstepd's found on this node\n"),
        # abbreviations, and how many words there may be
        ("s", 1, "invalid keyword: s\n"),
        ("sh part", 1, "invalid keyword: sh\n"),
        ("wr config", 1, "invalid keyword: wr\n"),
        ("up", 1, "too few arguments for up keyword\n"),
        ("errnum", 1, "one arguments required for keyword:errnum\n"),
        ("errnostr x", 1, "numeric arguments required for keyword:errnostr\n"),
        ("quit now", 1, "too many arguments for keyword:quit\n"),
        (
            "holdall 999999",
            1,
            "Invalid job id specified for job 999999\nslurm_suspend error:Invalid job id specified\n",
        ),
        ("top 1 2", 1, "too many arguments for keyword:top\n"),
        ("top 999999", 1, "Invalid job id specified for job 999999\n"),
        (
            "cluster nosuch",
            1,
            "scontrol: error: No cluster 'nosuch' known by database.\nscontrol: error: 'nosuch' can't be reached now,"
            " or it is an invalid entry for --cluster.  Use 'sacctmgr list clusters' to see available clusters.\n"
            "scontrol: fatal: Could not get cluster information\n",
        ),
        # what a cluster without power saving, a backup or a RebootProgram answers
        ("power", 1, "too few arguments for keyword:power\n"),
        ("power sideways n1", 1, "unexpected argument: 'sideways'\n"),
        ("power up asap n1", 1, "The 'asap' argument is not valid for power up requests\n"),
        ("power down force", 1, "Mandatory argument {ALL|<NodeList>|<NodeSet>} missing\n"),
        ("power down n1 reason=", 1, "missing reason\n"),
        ("power down n1 reason=x", 1, "scontrol_power_nodes error:Invalid node state transition\n"),
        ("power up n9", 1, "scontrol_power_nodes error:Invalid node name specified\n"),
        ("reboot", 1, "Missing node list. Specify ALL|<NodeList>\n"),
        ("reboot ASAP nextstate=up n1", 1, "Invalid state: up\n Valid states: DOWN, RESUME\n"),
        (
            "reboot ASAP reason=x n1",
            1,
            "scontrol: error: RebootProgram isn't defined\nscontrol_reboot_nodes error:Unspecified error\n",
        ),
        ("cancel_reboot n1", 1, "slurm_update error: Invalid node state transition\n"),
        ("takeover 3", 1, "takeover: invalid backup controller index (3)\n"),
        ("shutdown foo", 1, "invalid shutdown argument:foo\n"),
        ("create node=n9", 1, "Error creating node(s): Requested operation not supported on this system\n"),
        ("delete node=n9", 1, "delete_node node=n9: Invalid node name specified\n"),
        ("getaddrs", 1, "one argument required for keyword:getaddrs\n"),
        ("gethost n1", 1, "two arguments required for keyword:gethost\n"),
        ("getent", 0, "No steps found on this node\n"),
        ("gethost n1 n2", 0, "No steps found on this node\n"),
        ("show resources 999999", 1, "scontrol: error: JobId=999999 lookup failed: Invalid job id specified\n"),
        ("update suspendexcnodes=n1", 1, "slurm_update error: Requested operation not supported on this system\n"),
        ("update slurmctlddebug=x", 1, "invalid debug level: x\n"),
        ("update stepid=x timelimit=5", 1, "Invalid StepID parameter: stepid=x\nRequest aborted\n"),
        ("update stepid=999999.0 timelimit=5", 1, "slurm_update error: Invalid job id specified\n"),
    ],
)
def test_words(engine: LocalEngine, words: str, code: int, message: str) -> None:
    done = engine.run(["scontrol", *words.split()])
    assert (done.returncode, done.stdout, done.stderr) == (code, "", message)


def _answer(engine: LocalEngine, words: str) -> tuple[int, str, str]:
    done = engine.run(["scontrol", *words.split()])
    return done.returncode, done.stdout, done.stderr


def test_requests_of_sacctmgr_and_scontrol_have_answers(engine: LocalEngine) -> None:
    assert _answer(engine, "errnumstr 2017") == (0, "Invalid job id specified\n", "")
    assert _answer(engine, "errnumstr 2") == (0, "No such file or directory\n", "")
    assert _answer(engine, "getaddrs n[1-2]") == (0, "n1: 127.0.0.1:6818\nn2: 127.0.0.1:6818\n", "")
    job = engine.run("sbatch --parsable -n2 --gres=gpu:h100:1 -o /dev/null --wrap 'touch up; sleep 60';"
                     " until test -e up; do sleep 0.1; done; rm up").stdout.strip()  # fmt: skip
    assert _answer(engine, f"show resources {job}")[1].splitlines() == [
        "Node=n1 AbstractCores=0-1 Memory=0", " Gres=gpu Type=h100 Count=1 Index=0"
    ]  # fmt: skip
    assert _answer(engine, "gethost n1 n1") == (0, f"JobId={job}.batch:\nHost:\n127.0.0.1       n1\n\n", "")
    code, out, err = _answer(engine, "getent")
    assert (code, err) == (0, "") and out.startswith(f"JobId={job}.batch:\nUser:\n") and "\nGroups:\n" in out
    engine.run(["scancel", job])


def test_changes_follow_newer_releases(engine: LocalEngine) -> None:
    job = engine.run(["sbatch", "-H", "-t", "9", "--parsable", "--wrap=true"]).stdout.strip()

    def shown(key: str) -> str:
        words = engine.run(["scontrol", "-o", "show", "job", job]).stdout.split()
        return next(word.partition("=")[2] for word in words if word.startswith(f"{key}="))

    def update(*words: str) -> tuple[int, str]:
        done = engine.run(["scontrol", "update", f"jobid={job}", *words])
        return done.returncode, done.stderr

    assert update("stderr=e.txt", "StdI=x") == (
        1, "Update of this parameter is not supported: StdI=x\nRequest aborted\n")  # fmt: skip
    assert update("STDERR=e.txt") == (0, "") and shown("StdErr").endswith("/e.txt")
    assert update("cpuspertask=2") == (0, "") and (shown("CPUs/Task"), shown("MinCPUsNode")) == ("2", "1")
    assert update("cpuspertask=1") == (0, "") and shown("NumNodes") == "1-1"
    assert update("NumTasks=4") == (0, "") and (shown("NumTasks"), shown("NumCPUs")) == ("4", "4")
    assert update("numnodes=2", "ta=3") == (0, "") and (shown("NumTasks"), shown("NumNodes")) == ("6", "2")
    assert update("cpuspertask=0") == (1, f"CPU count specification invalid for job {job}\n")
    assert update("timelimit+=6") == (0, "") and shown("TimeLimit") == "00:15:00"
    assert update("timelimit+=-6") == (1, "scontrol: error: Invalid syntax, variations of +=- are not accepted.\n")
    assert update("comment+=x") == (1, "scontrol: error: Option comment+=x does not accept [+|-]= syntax\n")
    assert update("arraytaskthrottle=2") == (
        1, "scontrol: error: Update of ArrayTaskThrottle is only allowed on ArrayJobId\n"
           f"Requested operation not supported on this system for job {job}\n")  # fmt: skip
    for text in ("gres/gpu:map:0,1", "gres/gpu:mask:0x1*2"):
        assert update(f"TresBind={text}") == (0, "") and shown("TresBind") == text
    assert update("TresBind=gres/gpu:map:x") == (
        1, f"Invalid Trackable RESource (TRES) specification for job {job}\n")  # fmt: skip
    assert update("TresBind=") == (0, "")
    # The first fault is reported, and the updates before it stay.
    assert update("features=nosuch", "comment=kept", "name=never") == (
        1, f"Invalid feature specification for job {job}\n")  # fmt: skip
    assert (shown("Comment"), shown("JobName")) == ("kept", "wrap")
    assert _answer(engine, f"requeuehold {job}") == (1, "", f"Job is pending execution for job {job}\n")
    assert _answer(engine, f"requeue incomplete {job}") == (0, "", "")
    engine.run(["scancel", job])


def test_top_swaps_priorities(engine: LocalEngine) -> None:
    jobs = [engine.run(["sbatch", "--parsable", "-b2034-01-01", "--wrap=true"]).stdout.strip() for _ in range(3)]
    assert _answer(engine, f"top {jobs[2]}") == (0, "", "")
    rows = engine.run("squeue -h -S-Q,i -o '%i %y' -j " + ",".join(jobs)).stdout.splitlines()
    assert rows == [f"{jobs[2]} 0", f"{jobs[0]} 1", f"{jobs[1]} 0"]
    engine.run(["scancel", *jobs])


def test_requests_from_a_pipe(engine: LocalEngine) -> None:
    lines = 'show hostnames n[1-2]\n!!\nnonsense\n\n  show hostnames "n[1-2]" \nquit\nping\n'
    done = engine.run(f"printf '{lines.encode('unicode_escape').decode()}' | scontrol")
    assert done.stdout.count("\nn1\nn2\nscontrol: ") == 2 and done.stdout.endswith("scontrol: quit\n")
    # scontrol keeps the quotes; text after a bracket belongs to the names. Source: hostlist.c of 25.11, suffix
    assert '\n"n1"\n"n2"\nscontrol: ' in done.stdout
    assert done.stderr == "invalid keyword: nonsense\n" and done.returncode == 1


def test_partitions_are_created_and_deleted(tmp_path: Path) -> None:
    with local_engine(SITE) as engine:
        assert _answer(engine, "create partition=night nodes=n[1-2] maxtime=60 default=yes state=down") == (0, "", "")
        assert engine.run("sinfo -h -o '%P %a %l %N'").stdout.splitlines() == [
            "debug up infinite n[1-4]", "gpu up 1-00:00:00 n[3-4]", "night* down 1:00:00 n[1-2]"
        ]  # fmt: skip
        assert _answer(engine, "update partitionname=night nodes+=n3 st=u")[0] == 0
        assert _answer(engine, "update partitionname=night nodes-=n1")[0] == 0
        engine.run(["slurmsky", "stop"])  # scontrol's changes survive a restart of the controller
        assert engine.run("sinfo -h -p night -o '%P %a %N'").stdout == "night* up n[2-3]\n"
        job = engine.run(["sbatch", "-H", "--parsable", "--wrap=true"]).stdout.strip()
        assert _answer(engine, "delete partition=night")[2] == "delete_partition partition=night: Partition is in use\n"
        engine.run(["scancel", job])
        assert _answer(engine, "delete partitionname night") == (0, "", "")
        assert engine.run("sinfo -h -p night").stdout == ""
        for words, message in (
            ("update partitionname=gpu", "scontrol: error: No changes specified"),
            ("update partitionname=gpu default=maybe", "scontrol: error: Invalid input: default=maybe\n"
             "scontrol: error: Acceptable Default values are YES and NO"),
            ("update partitionname=gpu maxtime=x", "scontrol: error: Invalid input maxtime=x"),
            ("update partitionname=gpu nodes=n9", "slurm_update error: Invalid node name specified"),
            ("create partition=gpu", "Error creating the partition: Invalid partition name specified"),
            ("create partition=default", 'scontrol: error: PartitionName cannot be "DEFAULT".'),
        ):  # fmt: skip
            assert _answer(engine, words) == (1, "", message + "\n")


def test_the_configuration_is_written(engine: LocalEngine) -> None:
    done = engine.run(["scontrol", "write", "config", "conf"])
    (made,) = engine.root.glob("conf.20*T*")
    assert (done.returncode, done.stdout) == (0, f"Slurm config saved to {made.name}\n")
    text = made.read_text()
    assert "\nClusterName=" in text and "\nPartitionName=debug Nodes=n1," in text and text.count("\nNodeName=n") == 4
    assert made.stat().st_mode & 0o777 == 0o600


def test_cpus_as_a_range(engine: LocalEngine) -> None:
    job = engine.run(["sbatch", "-H", "-n2", "--parsable", "--wrap=true"]).stdout.strip()

    def update(word: str) -> tuple[int, str]:
        done = engine.run(["scontrol", "update", f"jobid={job}", word])
        return done.returncode, done.stderr

    assert update("NumCPUs=2-4") == (0, "")
    assert " NumCPUs=2-4 " in engine.run(["scontrol", "show", "job", job]).stdout
    assert update("NumCPUs=3") == (0, "")
    assert " NumCPUs=3-4 " in engine.run(["scontrol", "show", "job", job]).stdout
    assert update("NumCPUs=4-2") == (1, "scontrol: error: Invalid NumCPUs value: 4-2\n")
    assert update("SiteFactor=5") == (0, "")
    assert update("SiteFactor=99999999999") == (
        1, "scontrol: error: SiteFactor value out of range (+/- 2147483645). Value ignored\n")  # fmt: skip
    engine.run(["scancel", job])


def test_reconfigure_reads_the_site_file(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    shutil.copy(SITE, site)
    with local_engine(site) as engine:
        job = engine.run(["sbatch", "-H", "--parsable", "--wrap=true"]).stdout.strip()
        assert "standby" not in engine.run(["sinfo"]).stdout
        site.write_text(SITE.read_text() + '\n[[partition]]\nname = "standby"\nnodes = "n4"\n')
        assert engine.run(["scontrol", "reconfigure"]).returncode == 0
        # The controller leaves once this is answered; the next command waits for it to be gone.
        for _ in range(50):
            if "standby" in engine.run(["sinfo"]).stdout:
                break
        assert "standby" in engine.run(["sinfo"]).stdout
        assert engine.run(["squeue", "-h", "-o%i"]).stdout.strip() == job
        site.write_text("nodes = 3\n[")
        done = engine.run(["scontrol", "reconfigure"])
        assert done.returncode == 1 and done.stderr.startswith("slurm_reconfigure error:")
        assert engine.run(["sinfo"]).returncode == 0
        site.write_text(SITE.read_text())


def test_a_recurring_reservation_skips_a_time(engine: LocalEngine) -> None:
    daily = "starttime=2030-01-01T00:00:00 duration=60 users=root nodecnt=1 flags=daily"
    assert _answer(engine, f"create reservation=r {daily}") == (0, "Reservation created: r\n", "")
    assert _answer(engine, "update reservation=r skip") == (0, "Reservation updated.\n", "")
    assert "StartTime=2030-01-02T00:00:00" in _answer(engine, "show reservation r")[1]
    _answer(engine, "update reservation=r flags-=daily")
    assert _answer(engine, "update reservation=r skip")[2].endswith("is not skipable, try deleting instead\n")
    assert _answer(engine, "delete reservation=r") == (0, "", "")
