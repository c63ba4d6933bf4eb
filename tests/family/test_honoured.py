"""Options that a parser could accept and ignore: each has an effect or changes the output."""

from __future__ import annotations

import os
import pty
import re
import select
from pathlib import Path

import pytest
from local_engine import LocalEngine


def _job(output: str) -> str:
    return re.findall(r"\d+", output)[-1]


def test_export_file(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "vars").write_bytes(b"FIRST=one two\0SECOND=a\nb\0no-variable\0")
    line = "sbatch -W --export-file={} -o out --wrap 'echo \"$FIRST|$SECOND|$OWN\"'"
    engine.run(line.format("vars"), cwd=tmp_path, env={"OWN": "x"})
    assert (tmp_path / "out").read_text() == "one two|a\nb|\n"
    engine.run(line.format("5") + " 5<vars", cwd=tmp_path)
    assert (tmp_path / "out").read_text() == "one two|a\nb|\n"
    missing = engine.run(line.format("/no/such"), cwd=tmp_path)
    assert (missing.returncode, missing.stderr) == (1, "sbatch: error: Could not open user environment file /no/such\n")


def test_propagate(engine: LocalEngine, tmp_path: Path) -> None:
    engine.run("srun true")  # the controller and the agent start with limits of their own
    line = "ulimit -S -n 333; sbatch -W --propagate={} -o out --wrap 'ulimit -S -n'"
    for word, same in (("ALL", True), ("NOFILE", True), ("NONE", False), ("CPU", False)):
        engine.run(line.format(word), cwd=tmp_path)
        assert ((tmp_path / "out").read_text() == "333\n") is same, word


def test_preserve_env(engine: LocalEngine) -> None:
    line = "salloc -Q -n4 -N2 srun {} -n1 -N1 sh -c 'echo $SLURM_NTASKS $SLURM_NNODES $SLURM_STEP_NUM_TASKS'"
    assert engine.run(line.format("")).stdout == "1 1 1\n"
    assert engine.run(line.format("-E")).stdout == "4 2 1\n"


def test_ports_are_refused(engine: LocalEngine) -> None:
    done = engine.run("srun -Q --resv-ports=2 true")
    assert done.returncode == 1
    assert "Requires more ports than can be reserved" in done.stderr


def test_bell(engine: LocalEngine) -> None:
    for option, rung in (("--bell", True), ("--no-bell", False), ("", False)):
        leader, follower = pty.openpty()
        engine_env = {**engine.env}
        pid = os.fork()
        if pid == 0:
            os.dup2(follower, 1)
            os.execvpe("bash", ["bash", "-c", f"salloc -Q {option} true </dev/null 2>/dev/null"], engine_env)
        os.close(follower)
        shown = b""
        while select.select([leader], [], [], 60)[0]:
            try:
                data = os.read(leader, 100)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            shown += data
        os.waitpid(pid, 0)
        os.close(leader)
        assert (b"\a" in shown) is rung, option


def test_swait_quiet(engine: LocalEngine) -> None:
    assert engine.run("swait 999999").stderr
    quiet = engine.run("swait -q 999999")
    assert (quiet.returncode, quiet.stderr) == (1, "")


def test_squeue_noconvert(engine: LocalEngine) -> None:
    job = _job(engine.run("sbatch -H --mem=2G --wrap true").stdout)
    assert engine.run(f"squeue -h -j {job} -o %m").stdout == "2G\n"
    assert engine.run(f"squeue -h -j {job} -o %m --noconvert").stdout == "2048M\n"
    engine.run(f"scancel {job}")


_HET_SCRIPT = """#!/bin/bash
#SBATCH -w n1
#SBATCH hetjob
#SBATCH -w n2
srun -l --het-group=0,1 bash -c 'trap "echo usr1" USR1; trap "echo term; exit 3" TERM; echo up; touch up$SLURM_PROCID
while [ ! -e end ]; do sleep 0.1; done' &
until [ -e ended ]; do sleep 0.1; done
srun --het-group=1 true
echo "refused $?"
touch end
wait
"""


def test_a_component_of_a_het_job_has_its_own_signals_and_end(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "het.sh").write_text(_HET_SCRIPT)
    job = int(_job(engine.run("sbatch -o out het.sh", cwd=tmp_path).stdout))
    lines = [
        "until [ -e up0 -a -e up1 ]; do sleep 0.1; done",
        f"scancel -s USR1 {job + 1}; until grep -q usr1 out; do sleep 0.1; done",
        f"scancel {job}+1; until [ $(squeue -h -j {job} | wc -l) = 1 ]; do sleep 0.1; done; squeue -h -s -o %i",
        f"touch ended; swait -q {job}",
    ]
    assert engine.run("; ".join(lines), cwd=tmp_path).stdout.split() == [f"{job}.0", f"{job}.batch"]
    message = f"1: slurmstepd-n2: error: *** STEP {job + 1}.0 ON n2 CANCELLED AT TIME DUE to SIGNAL Terminated ***"
    text = re.sub(r"AT \S+", "AT TIME", (tmp_path / "out").read_text()).splitlines()
    assert [line for line in text if "SIGNAL" in line] == [message]
    assert {line for line in text if "usr1" in line or "term" in line} == {"1: usr1", "1: term"}
    assert "srun: error: n2: task 0: Exited with exit code 3" in text
    done = "Job/step already completing or completed"
    refusal = [f"srun: error: Unable to create step for job {job + 1}: {done}", "refused 1"]
    assert [line for line in text if line.endswith(done) or "refused" in line] == refusal  # of the second srun
    ends = engine.run(f"sacct -n -P -o jobid,state,exitcode -j {job}").stdout.splitlines()
    assert [line for line in ends if "." not in line or ".0" in line] == [
        f"{job}+0|COMPLETED|0:0",
        f"{job}+0.0|COMPLETED|0:0",
        f"{job}+1|CANCELLED by {os.geteuid()}|0:0",
        f"{job}+1.0|FAILED|3:0",
    ]


def test_sacct_filters(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "het.sh").write_text("#!/bin/sh\n#SBATCH -n1\n#SBATCH hetjob\n#SBATCH -n1\nsleep 1\n")
    job = int(_job(engine.run("sbatch -W -o /dev/null het.sh", cwd=tmp_path).stdout))
    ids = "sacct -n -X -P -o jobid -j "

    def listed(line: str) -> list[str]:
        return engine.run(ids + line).stdout.split()

    both, first, second = [f"{job}+0", f"{job}+1"], [f"{job}+0"], [f"{job}+1"]
    assert listed(f"{job}") == both
    assert listed(f"{job} --whole-hetjob=no") == first
    assert listed(f"{job}+1") == second
    assert listed(f"{job}+1 --whole-hetjob") == both
    assert listed(f"{job} -F StartReceived") == both
    assert listed(f"{job} -F NotSet") == []
    assert listed(f"{job} -x 0") == both
    assert listed(f"{job} -x 7") == []
    assert listed(f"{job} -S 2031-01-01 -E 2031-01-02") == []
    end = engine.run(f"sacct -n -X -P -o end -j {job}").stdout.split()[0]
    cut = engine.run(f"sacct -n -X -P -T -S {end} -E now+1hour -o start -j {job}").stdout.split()
    assert cut == [end] * 2


@pytest.mark.parametrize(
    ("request_", "variables", "lines"),
    [
        ("--exclusive -O", "SLURM_CPUS_ON_NODE SLURM_JOB_CPUS_PER_NODE", ["1 8"]),
        ("-N1-4 --mem=100", "SLURM_DISTRIBUTION SLURM_NNODES", ["cyclic 4"] * 4),
        ("-N1-2 --mem=100 -n4", "SLURM_DISTRIBUTION SLURM_NNODES", ["block 2"] * 4),
    ],
)
def test_srun_with_its_own_job_gives_its_step_what_the_line_requests(
    engine: LocalEngine, request_: str, variables: str, lines: list[str]
) -> None:
    shown = " ".join("$" + name for name in variables.split())
    done = engine.run(["srun", *request_.split(), "sh", "-c", f"echo {shown}"])
    assert (sorted(done.stdout.splitlines()), done.stderr) == (lines, "")


def test_steps_of_a_job_inherit_its_tres_bind(engine: LocalEngine) -> None:
    step = ["srun", "sh", "-c", "echo $SLURM_LOCALID $CUDA_VISIBLE_DEVICES"]
    done = engine.run(["salloc", "-Q", "-n2", "--gres=gpu:2", "--tres-bind=gres/gpu:map:1,0", *step])
    assert (sorted(done.stdout.splitlines()), done.stderr) == (["0 1", "1 0"], "")


def test_directives_of_other_schedulers_can_be_ignored(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text("#!/bin/bash\n#PBS -N of_pbs\n#BSUB -J of_lsf\n#SBATCH -n1\nhostname\n")
    line = "scontrol show job $({} --parsable job.sh) | grep -o JobName=.*"
    for command, name in (("sbatch -H", "of_lsf"), ("sbatch -H --ignore-pbs", "job.sh"),
                          ("SBATCH_IGNORE_PBS=1 sbatch -H", "job.sh")):  # fmt: skip
        assert engine.run(line.format(command), cwd=tmp_path).stdout == f"JobName={name}\n"
