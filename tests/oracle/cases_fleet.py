"""Queries about two hundred jobs in all producible states.

They use every option of sbatch.
"""

from __future__ import annotations

from case import Action, Case, Run, Until, Wait
from cases_query import ACCT_NAMES, JOB_NAMES, NODE_NAMES, STEP_NAMES
from cases_show import DIRECTIVES, HELD

FILES = {
    "ok.sh": "#!/bin/sh\nsrun true\n",
    "bad.sh": "#!/bin/sh\nsrun sh -c 'exit 3'\nexit 5\n",
    "several.sh": "#!/bin/sh\nsrun -J first true\nsrun -J second sh -c 'exit 4'\nsrun -J third -n1 true\nexit 0\n",
    "killed.sh": "#!/bin/sh\nkill -9 $$\n",
    "noshell.sh": "#!/no/such/shell\n:\n",
    "parity.sh": "#!/bin/sh\nexit $((SLURM_ARRAY_TASK_ID % 2))\n",
    "steps.sh": "#!/bin/sh\nsrun --exact --mem=50 -J inner -N1 -n1 sleep 1000 &\nsleep 1\n"
    "srun --exact --mem=50 -J outer -N1 -n1 -r1 sleep 1000 &\nwait\n",
    "element.sh": "#!/bin/sh\ntest $SLURM_ARRAY_TASK_ID = 1 && exit 0\ntest $SLURM_ARRAY_TASK_ID = 2 && exit 7\nsleep 1000\n",
    "het.sh": "#!/bin/bash\n#SBATCH -n1 -J het -w n1 --mem=10M -t 600\n#SBATCH hetjob\n#SBATCH -n2 -w n3 --mem=10M -t 600\nsleep 1000\n",
    "held-het.sh": "#!/bin/bash\n#SBATCH -n1 -J pair --mem=10M\n#SBATCH hetjob\n#SBATCH -n2 -c2\n#SBATCH hetjob\n#SBATCH -N2\ntrue\n",
    "job.sh": "#!/bin/sh\nsleep 1000\n",
    "directives.sh": DIRECTIVES,
}  # fmt: skip

_NAMES = (
    "'two words'", "a-very-long-name-that-no-column-of-any-table-would-ever-hold", "größe-und-maß", "日本語の仕事", "'naïve café'",
    "'100%'", "'a|b|c'", "'x;y,z'", "'$HOME'", "'back\\slash'", '"it\'s"', "'say \"hi\"'", "'<tag>&'", "'[1-3]'", "'*?'", "'{a,b}'",
    "'#hash'", "'k=v'", "'~'", "'dot.'", "'-dash'", "'🚀'", "'e\u0301'", "'µ'", "'%j_%A'", "' lead'", "'tab\tbed'",
)  # fmt: skip

#: key -> arguments of sbatch, in the order of submission. A key names a job in the lines below as {key}.
ENDED = {
    "done": "-J done -w n1 --mem=10 ok.sh", "broken": "-J broken -w n1 --mem=10 bad.sh",
    "several": "-J several -w n1 --mem=10 several.sh", "killed": "-J killed -w n1 --mem=10 killed.sh",
    "nowhere": "-J nowhere -w n1 -o no/such/dir.txt ok.sh", "noshell": "-J noshell -w n1 noshell.sh",
    "lost": "-J lost -w n1 -D /proc/no/such ok.sh", "wrapped": "-J wrapped -w n1 --wrap 'exit 2'",
    "told": "-J told -w n1 killed.sh first 'second one'", "quiet": "-J quiet -w n1 -o /dev/null -t 5 -c2 ok.sh",
    "mailed": "-J mailed -w n1 --comment='all well' --mail-type=NONE ok.sh",
}  # fmt: skip
RUNNING = {
    "one": "-J one -w n1 --mem=100 -t 60 --comment=hello job.sh", "two": "-J two -N2 -w n[1-2] --mem=100 -t 2-0 steps.sh",
    "whole": "-J whole -p gpu -w n4 --exclusive --gres=gpu:4 -t 600 job.sh", "devices": "-J devices -w n3 --gpus=2 -c2 -t 90 job.sh",
    "both": "-J both -p gpu,debug -w n3 -t 600 --nice=3 job.sh", "stopped": "-J stopped -w n2 -n2 -t 600 job.sh",
    "again": "-J again -w n2 -t 600 job.sh", "shelved": "-J shelved -w n2 -t 600 job.sh", "special": "-J special -w n2 -t 600 job.sh",
    "gone": "-J gone -w n2 -t 600 job.sh", "pair": "het.sh",
}  # fmt: skip
HELD_JOBS = {f"held-{name}": f"-H {arguments}" for name, arguments in HELD.items()}
NAMED = {f"named-{number}": f"-H --job-name={name} job.sh" for number, name in enumerate(_NAMES)}
WAITING = {
    "after": "-J after -d afterok:{one} -n2 --gpus=1 job.sh", "any": "-J any -d afterany:{one}:{two} job.sh",
    "unlucky": "-J unlucky -d afternotok:{one},afterany:{whole} job.sh", "either": '-J either -d "afterok:{one}?afternotok:{two}" job.sh',
    "soon": "-J soon -d after:{one}+600 job.sh", "never": "-J never -d afterok:{broken} job.sh",
    "single": "-J one -d singleton job.sh",
    "array-after": "-J array-after -d afterok:{sweep} job.sh", "later": "-J later -b 2031-05-06T07:08:09 -t 1:00 job.sh",
    "later-array": "-J later-array -b 2031-05-06T07:08:09 -a 1-3 job.sh", "big": "-J big -p gpu -N3 -t 12:00:00 job.sh",
    "long": "-J long -p gpu -t 3-0 job.sh", "wide": "-J wide -n 33 job.sh", "here": "-J here -w n4 -n2 job.sh",
    "due": "-J due -p gpu -t 2-0 --deadline=2031-02-03T04:05:06 job.sh", "dropped": "-J dropped -H job.sh",
    "dropped-later": "-J dropped-later -b 2031-05-06T07:08:09 job.sh", "list": "-J list -H -a 1-3,5-9:2%1 job.sh",
    "cut": "-J cut -H -a 10-19 job.sh", "three": "-H held-het.sh", "moved": "-J moved -H job.sh",
}  # fmt: skip


def _numbers() -> dict[str, str]:
    """The variable with the id of each job; case.py assigns them in the order of submission."""
    order = ["slow", *ENDED, "parity", "fallen", *RUNNING, "sweep", *HELD_JOBS, *NAMED, *WAITING]
    return {key: f"${{J{number}}}" for number, key in enumerate(order, 1)}


JOBS = _numbers()


def named(line: str) -> str:
    for key, variable in JOBS.items():
        line = line.replace("{%s}" % key, variable)
    return line


def _submit(jobs: dict[str, str]) -> tuple[str, ...]:
    """About twelve submissions a line. A new line begins if an id is needed that the line itself creates."""
    lines = [named(f"sbatch {arguments}") for arguments in jobs.values()]
    return tuple("; ".join(lines[at : at + 12]) for at in range(0, len(lines), 12))


SET_UP: tuple[Action, ...] = (
    named("sbatch -J slow -w n2 -t 1 job.sh"),
    *_submit(ENDED),
    *(Wait(JOBS[key], "COMPLETED|FAILED") for key in ENDED),
    "sbatch -J parity -w n1 -a 1-6 --mem=10 parity.sh",
    *(Wait(named("{parity}_%d" % task), "COMPLETED|FAILED")
      for task in range(1, 7)),
    "sbatch -J fallen -w n4 -t 600 --no-requeue job.sh",
    Wait(JOBS["fallen"], "RUNNING"),
    "scontrol update nodename=n4 state=down reason='lost power'",
    Wait(JOBS["fallen"], "NODE_FAIL"),
    Until("scontrol update nodename=n4 state=resume; test $(sinfo -h -n n4 -p gpu -o %t) = idle"),
    Until("sleep 1.1"),  # sacct orders by the second of submission
    *(action for key, arguments in RUNNING.items() for action in (named(f"sbatch {arguments}"), Wait(JOBS[key], "RUNNING"))),
    Until(named("test $(squeue -h -s -o %i | grep -c -e \"^{two}[.][01]$\") = 2")),
    named("scontrol suspend {stopped}"), named("scontrol requeuehold {again}"), named("scontrol requeuehold {shelved}"),
    named("scontrol requeuehold State=SpecialExit {special}"), named("scancel {gone}"),
    Wait(JOBS["stopped"], "SUSPENDED"), Wait(JOBS["gone"], "CANCELLED"),
    *(Until(f'test "$(squeue -h -j {JOBS[key]} -o %T)" = {state}')
      for key, state in (("again", "PENDING"), ("shelved", "PENDING"), ("special", "SPECIAL_EXIT"))),
    named("scontrol update jobid={again} starttime=2031-01-02T03:04:05"), named("scontrol release {again}"),
    "sbatch -J sweep -w n3 -t 600 -a 1-9%2 --mem=10 element.sh",
    Until(named("test \"$(squeue -h -r -j {sweep} -t R -o %K | sort | tr '\\n' ' ')\" = '3 4 '")),
    Until("sleep 1.1"),
    *_submit(HELD_JOBS), *_submit(NAMED),
    Until("sleep 1.1"),
    *_submit(WAITING),
    named("scancel {dropped} {dropped-later} {cut}_12 {cut}_[15-17]"),
    named("scontrol update jobid={moved} partition=gpu timelimit=20 comment=moved name=moved-on"),
    *(Wait(JOBS[key], reason) for key, reason in (
        ("after", "Dependency"), ("never", "DependencyNeverSatisfied"), ("later", "BeginTime"), ("big", "Partition"),
        ("long", "PartitionTimeLimit"), ("here", "Resources|Priority"), ("wide", "Partition"), ("single", "Dependency"),
        ("dropped", "CANCELLED"), ("dropped-later", "CANCELLED"))),
    Wait(JOBS["slow"], "TIMEOUT", 200),
    Until("test -z \"$(squeue -h -t CG,CF)\" && sleep 3"),  # accounting may lag a little behind
)  # fmt: skip

_STATES = ("PENDING", "RUNNING", "SUSPENDED", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED",
           "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "COMPLETING", "CONFIGURING", "SPECIAL_EXIT", "REQUEUE_HOLD", "REQUEUED",
           "STOPPED", "REVOKED", "SIGNALING", "RESIZING", "STAGE_OUT")  # fmt: skip
# Folders (%o, %Z) have names of their own here and there, which must not be cut.
_LETTERS = "aAbBcCdDEfFgGhHiIjJkKlmnNOPqQrRtTuUvwWxXyz"
_SORTS = "aABcCdDefgGHiIjJlmnNPtTuUvVz"
_EVERY = ",".join(JOBS.values())


def _chunks(names: list[str], size: int) -> list[list[str]]:
    return [names[at : at + size] for at in range(0, len(names), size)]


SQUEUE = (
    "squeue -S i", "squeue -l -S i | tail -n +2", "squeue -h -S i", "squeue -r -S i", "squeue --me -h -S i -o %i", f"squeue -t all -S i -j {_EVERY}",
    f"squeue -t all -r -S i -o '%i %T %r' -j {_EVERY}", "squeue -a -S i -h -o %A", "squeue -S i -h -o '%i %R'", "squeue -S i -o '%.30i %.60j|'",
    "squeue -S i -o '%60j|%.10j|%10j|%5j|%.3j|'", "squeue -S i -O 'Name:60|,Name:.10|,Name:7|'", "squeue -S i -O name",
    *(f"squeue -t {state} -S i -h -o '%i %T %t %r' -j {_EVERY}" for state in _STATES), "squeue -t pd,r,s -S i -h -o %i", "squeue -t nosuch",
    *(f"squeue -S i -h -o '%i|%{letter}|%.7{letter}|%20{letter}|'" for letter in _LETTERS),
    *(f"squeue -t all -S i -h -o '%i|%{letter}|' -j {_EVERY}" for letter in "CDEFhNprRtTk"),
    *(f"squeue -S {key},i -h -o '%i %{key}'" for key in _SORTS), *(f"squeue -S -{key},i -h -o '%i'" for key in _SORTS),
    *(f"squeue -S i -h -O '{','.join(f'{name}:30|' for name in ('JobArrayID', *names))}'" for names in _chunks(JOB_NAMES, 4)),
    "squeue -p gpu -S i", "squeue -p gpu,debug -S i -h -o %i", "squeue -p nosuch", "squeue -w n1 -S i", "squeue -w n[2-3] -S i", "squeue -w n9",
    "squeue -n one,two -S i", "squeue -n 'two words' -S i", "squeue -n größe-und-maß -S i", "squeue -A physics -S i", "squeue -A root -h -S i -o %i",
    "squeue -q normal -h -S i -o %i", "squeue -u root -h -S i -o %i", "squeue -u nosuch", "squeue -L nosuch", "squeue -R nosuch",
    *(named(f"squeue -h -t all -j {{{key}}} -S i -o '%i %T %r %R'") for key in
      ("slow", "done", "fallen", "parity", "one", "pair", "again", "shelved", "special", "sweep", "list", "cut", "three", "later-array")),
    named("squeue -j {sweep} -r -S i"), named("squeue -j {sweep}_3,{sweep}_5 -S i"),
    named("squeue -j {one},{two},{whole} -S i"), named("squeue -j {done}"), named("squeue -j {done},{one}"),
    "squeue -s -S i | grep -v extern", named("squeue -s -j {two} -S i | grep -v extern"), named("squeue -s {two}.0,{two}.1"),
    *(f"squeue -s -S i -h -O '{','.join(f'{name}:30|' for name in names)}' | grep -v extern" for names in _chunks(STEP_NAMES, 6)),
)  # fmt: skip

SINFO = (
    "sinfo", "sinfo -l | tail -n +2", "sinfo -s", "sinfo -N", "sinfo -N -l | tail -n +2", "sinfo -R", "sinfo -e", "sinfo -p gpu", "sinfo -n n2 -h",
    "sinfo -t idle", "sinfo -t mix", "sinfo -t alloc", "sinfo -t down,drain", "sinfo -o '%P|%t|%N|%C|%A|%F|'", "sinfo -N -o '%N|%T|%C|'",
    *(f"sinfo -h -O '{','.join(f'{name}:30|' for name in names)}'" for names in _chunks(NODE_NAMES, 6)),
)  # fmt: skip

SHOW = (
    *(named(f"scontrol show job {{{key}}}") for key in (*ENDED, *RUNNING, *WAITING, "slow", "fallen", "parity", "sweep") if key != "stopped"),
    named("scontrol show job {stopped} | grep -v SecsPreSuspend"),
    *(named(f"scontrol -o show job {{{key}}}") for key in (*NAMED, "done", "sweep", "pair", "three", "never")),
    *(named(f"scontrol -d show job {{{key}}}") for key in ("two", "whole", "devices", "pair", "broken")),
    named("scontrol show job {cut}_11"),
    named("scontrol show job {three}+2"), named("scontrol show job {three},{done} | grep JobId"), "scontrol show job 99999",
    named("scontrol show step {two}.0"), named("scontrol show step {two}"), named("scontrol show step {one}.7"),
    "scontrol show node n1 | grep -v -e Alloc -e Load", "scontrol show node n4 | grep -e State -e Alloc -e Gres", "scontrol show partition gpu",
    "scontrol completing",
)  # fmt: skip

SACCT = (
    f"sacct -n -X -j {_EVERY} -o jobid%30,jobname%70,state%25,exitcode", f"sacct -n -X -P -j {_EVERY} -o jobid,partition,account,alloccpus,reqcpus,nnodes,nodelist",
    f"sacct -n -X -D -P -j {_EVERY} -o jobid,state", f"sacct -X -n -P -j {_EVERY} -o jobid,timelimit,reqmem,reqtres,qos",
    *(f"sacct -n -X -P -S now-1hour -E now -s {state} -j {_EVERY} -o jobid,state" for state in _STATES[:12]),
    *(named(f"sacct -n -P -j {{{key}}} -o jobid,jobname,state,exitcode,derivedexitcode,nnodes,ntasks,nodelist") for key in
      (*ENDED, "slow", "parity", "fallen", "gone", "dropped", "again", "pair")),
    *(named(f"sacct -j {{{key}}}") for key in ("done", "broken", "several", "killed", "slow", "parity", "fallen", "gone", "dropped")),
    named("sacct -b -j {several}"), named("sacct -j {several}.1"), named("sacct -j {several}.batch -n"), named("sacct -X -j {parity} --array -n"),
    named("sacct -n -X --name=done,told -j {done},{told},{broken} -o jobname"), named("sacct -n -X -r gpu -j {whole},{one} -o jobid"),
    named("sacct -n -X -N n4 -j {whole},{one},{fallen} -o jobid"),
    *(named(f"sacct -n -P -X -j {{done}},{{broken}},{{several}},{{slow}},{{fallen}} -o JobID,{','.join(names)}") for names in _chunks(ACCT_NAMES, 6)),
    named("sstat -n -P -j {two}.0 -o JobID,NTasks"), named("sstat -n -j {done}"),
)  # fmt: skip

#: answers whose lines come in an order that is not part of them
_FREE = ("squeue -s", "sinfo -N", "sacct", "squeue -S V", "squeue -S -V")  # V: by the second of submission

CASES: tuple[Case, ...] = (
    Case("fleet", (*SET_UP, *(Run(line, free=line.startswith(_FREE)) for line in (*SQUEUE, *SINFO, *SHOW, *SACCT))), FILES, minutes=6),
)  # fmt: skip
