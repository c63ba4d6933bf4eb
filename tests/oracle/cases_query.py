"""squeue, sinfo and sacct over a fleet of jobs in many states."""

from __future__ import annotations

import csv
from pathlib import Path

from case import Action, Case, Run, Until, Wait

DATA = Path(__file__).resolve().parent.parent / "data"


def _rows(table: str) -> list[dict[str, str]]:
    with (DATA / table).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


# Host facts and values that only the clock or the database decides.
_JOB_SKIP = {"accruetime", "allocnodes", "allocsid", "associd", "lastschedeval", "prioritylong", "priority",
             "pendingtime", "timeleft", "schednodes", "startime", "starttime", "selectjobinfo", "shared"}  # fmt: skip
_NODE_SKIP = {"cpusload", "freemem", "nodehost", "port", "version", "user", "userlong", "timestamp"}
JOB_NAMES = [row["long_name"] for row in _rows("squeue_fields.csv")
             if row["record"] == "job" and row["in_22.05"] == "yes" and row["long_name"].lower() not in _JOB_SKIP]  # fmt: skip
STEP_NAMES = [row["long_name"] for row in _rows("squeue_fields.csv")
              if row["record"] == "step" and row["in_22.05"] == "yes" and row["long_name"]]  # fmt: skip
NODE_NAMES = [row["long_name"] for row in _rows("sinfo_fields.csv")
              if row["in_22.05"] == "yes" and row["long_name"].lower() not in _NODE_SKIP]  # fmt: skip
_ACCT_SKIP = {"AssocID", "DBIndex", "Priority", "QOSRAW", "WCKeyID", "BlockID", "Layout", "SystemCPU", "UserCPU", "TotalCPU",
              "CPUTime", "CPUTimeRAW", "ElapsedRaw", "Elapsed", "AllocTRES", "MinCPU", "MinCPUNode", "MinCPUTask",
              "Flags", "Timelimit", "TimelimitRaw"}  # fmt: skip
ACCT_NAMES = [row["field_and_header"] for row in _rows("sacct_fields.csv")
              if not row["added"] and not row["removed"] and row["field_and_header"] not in _ACCT_SKIP
              and not row["field_and_header"].startswith(("Ave", "Max", "TRESUsage", "Consumed"))]  # fmt: skip


def _in_tens(names: list[str]) -> list[list[str]]:
    return [names[at : at + 8] for at in range(0, len(names), 8)]


FLEET_FILES = {
    "steps.sh": "#!/bin/sh\nsrun --exact --mem=50 -J inner -N1 -n1 sleep 100 &\nsleep 1\n"
    "srun --exact --mem=50 -J outer -N1 -n1 -r1 sleep 100 &\nwait\n",
    "ok.sh": "#!/bin/sh\nsrun true\n",
    "bad.sh": "#!/bin/sh\nsrun sh -c 'exit 3'\nexit 5\n",
    "element.sh": "#!/bin/sh\ntest $SLURM_ARRAY_TASK_ID = 1 && exit 0\ntest $SLURM_ARRAY_TASK_ID = 2 && exit 7\nsleep 100\n",
    "het.sh": "#!/bin/bash\n#SBATCH -n1 -J het --mem=10M\n#SBATCH hetjob\n#SBATCH -n2 --mem=10M\nsleep 100\n",
}  # fmt: skip

FLEET: tuple[Action, ...] = (
    "sbatch -J done --mem=10 ok.sh",  # J1
    Wait("$J1", "COMPLETED"),
    "sbatch -J broken --mem=10 bad.sh",  # J2
    Wait("$J2", "FAILED"),
    "sbatch -J stopped --mem=10 job.sh",  # J3
    Wait("$J3", "RUNNING"),
    "scancel $J3",
    Wait("$J3", "CANCELLED"),
    "sbatch -J one -w n1 --mem=100 -t 60 --comment=hello job.sh",  # J4
    Wait("$J4", "RUNNING"),
    "sbatch -J two -N2 -w n[1-2] --mem=100 -t 2-0 steps.sh",  # J5
    Wait("$J5", "RUNNING"),
    Until('test $(squeue -h -s -o %i | grep -c -e "^$J5[.][01]$") = 2'),
    "sbatch -J sweep -w n3 -a 1-9%2 --mem=10 element.sh",  # J6
    Until("test \"$(squeue -h -r -j $J6 -t R -o %K | sort | tr '\\n' ' ')\" = '3 4 '"),
    Wait("${J6}_1", "COMPLETED"),
    Wait("${J6}_2", "FAILED"),
    Until("sleep 1.1"),  # sacct orders by the second of submission: the same seconds on both sides
    "sbatch -p gpu -w n4 --exclusive --gres=gpu:4 -J whole job.sh",  # J7
    Wait("$J7", "RUNNING"),
    "sbatch -J a-very-long-name-that-no-column-holds -H -n3 -c2 --mem-per-cpu=50 --nice=5 job.sh",  # J8
    Until("sleep 1.1; while test $(date +%1N) -gt 2; do sleep 0.05; done"),
    "sbatch -J grün -H -a 1-3,5-9:2%1 job.sh",  # J9
    "sbatch -J after -d afterok:$J4 -n2 --gpus=1 job.sh",  # J10
    "sbatch -J never -d afterok:$J2 job.sh",  # J11
    "sbatch -J later -b 2031-05-06T07:08:09 -t 1:00 job.sh",  # J12
    "sbatch -J big -p gpu -N3 -t 12:00:00 job.sh",  # J13
    "sbatch -J long -p gpu -t 3-0 job.sh",  # J14
    Until("sleep 1.1"),
    "sbatch -J pair -H --mem=10 het.sh",  # J15
    "sbatch -J here -w n4 -n2 job.sh",  # J16
    Wait("$J10", "Dependency"),
    Wait("$J11", "DependencyNeverSatisfied"),
    Wait("$J12", "BeginTime"),
    Wait("$J13", "Partition"),
    Wait("$J14", "PartitionTimeLimit"),
    Wait("$J16", "Resources|Priority"),
)
_KNOWN = "$J1,$J2,$J3,$J4,$J5,$J6,$J7,$J8,$J9,$J10,$J11,$J12,$J13,$J14,$J15,$J16"

SQUEUE = (
    "squeue -S i", "squeue -l -S i | tail -n +2", "squeue -h -S i", "squeue -r -S i", "squeue --me -S i", "squeue -u root -S i",
    "squeue -s -S i | grep -v extern", "squeue -s $J5.0,$J5.1", "squeue -s -j $J5", "squeue -t R -S i", "squeue -t PD -S i",
    f"squeue -t CD,F,CA -j {_KNOWN} -S i", f"squeue -t all -j {_KNOWN} -S i", "squeue -p gpu -S i", "squeue -w n1 -S i",
    "squeue -w n[3-4] -S i", "squeue -n one,two -S i", "squeue -j $J4,$J5 -S i", "squeue -j ${J6}_3", "squeue -j $J6 -S i",
    "squeue -j ${J6}_1", "squeue -t all -j ${J6}_1,${J6}_2 -S i", "squeue -A root -S i", "squeue -q normal -h -S i -o %i",
    "squeue -A nosuch", "squeue -S -i -o '%i %t'", "squeue -S P,-i -o '%P %i'", "squeue -S j -o '%j %i'", "squeue -S t,i -o '%t %i'",
    "squeue -S D,i -o '%D %i'", "squeue -S l,i -o '%l %i'", "squeue -S M,i -h -t PD -o '%M %i'", "squeue -o '%.5i|%5i|%i|%.20i|' -S i",
    "squeue -o '%.8j|%8j|%j|%.3j|' -S i", "squeue -o '%.2t %.10T %T' -S i", "squeue -o '%N|%.2N|%2N|%.20N|' -S i",
    "squeue -o '%R|%.2R|%2R|%20R|' -S i", "squeue -o '%r|%.30r|' -S i", "squeue -o '%b|%.20b|' -S i", "squeue -o '%l|%.12l|%L|' -S i -t PD",
    "squeue -o '%C|%D|%c|%m|%d|' -S i", "squeue -o '%z|%X|%Y|%h|%H|%I|%J|' -S i", "squeue -o '%E|%e|%f|' -S i",
    "squeue -o '%F|%K|%A|%i|' -S i", "squeue -r -o '%F|%K|%A|%i|' -S i", "squeue -o '%a|%g|%G|%k|%o|' -S i",
    "squeue -o '%n|%O|%q|%v|%W|%w|%y|' -S i", "squeue -o '%U|%u|%Z|%x|' -S i", "squeue -o '%B|%P|%s|' -S i", "squeue -o '%V' -S i -h -j $J8",
    "squeue -o 'literal %i %% text' -S i -j $J4", "squeue -o '%i\\n' -S i -j $J4", "squeue -h -o '%all' -j $J8 | wc -l",
    "squeue -o %S -S i -j $J12", "squeue --start -S i -j $J12", "squeue --start -h -t PD -j $J8", "squeue --noconvert -o '%m|' -S i",
    "SQUEUE_FORMAT='%i %j' squeue -S i", "SQUEUE_SORT=-i squeue -o %i", "SQUEUE_STATES=R squeue -S i", "SQUEUE_PARTITION=gpu squeue -S i",
    "SQUEUE_FORMAT2='jobid:8,name:12' squeue -S i", "SLURM_BITSTR_LEN=10 squeue -o %K -j $J9", "squeue -O jobid,name,state -S i",
    "squeue -O 'jobid:.8,name:.12,state:-3' -S i", "squeue -O 'JobArrayID:10 ,Name: ,State:|' -S i -j $J4,$J9",
    *(f"squeue -S i -O '{','.join(f'{name}:40|' for name in names)}'" for names in _in_tens(JOB_NAMES)),
    *(f"squeue -s -S i -O '{','.join(f'{name}:30|' for name in names)}' | grep -v extern" for names in _in_tens(STEP_NAMES)),
    "squeue -s -S i -o '%i|%j|%P|%u|%A|%N|%b|%l|' | grep -v extern",
    "scancel --state=PENDING --name=after", "squeue -n after", "scancel -t R -p gpu", "scancel -n long,big -v",
    "scancel ${J9}_[1-2]", "squeue -j $J9 -S i -o '%i %T %r'", "scancel ${J9}_5 ${J9}_7", "squeue -j $J9 -S i -o '%i %T %r'",
    "scancel $J5.0", "scancel -s USR1 $J4", "scancel --user=root --nodelist=n3",
)  # fmt: skip

SINFO = (
    "sinfo", "sinfo -h", "sinfo -l | tail -n +2", "sinfo -s", "sinfo -N", "sinfo -N -l | tail -n +2", "sinfo -R", "sinfo -a", "sinfo -r",
    "sinfo -e", "sinfo -p gpu", "sinfo -p debug,gpu -h", "sinfo -n n1", "sinfo -n n[3-4] -N", "sinfo -t idle", "sinfo -t mix,alloc", "sinfo -t alloc -N",
    "sinfo -d", "sinfo -o '%P|%a|%l|%D|%t|%N|'", "sinfo -o '%10P|%.10a|%.3l|%.8D|%.8t|%.4N|%4N|'", "sinfo -o '%A|%F|%C|'",
    "sinfo -o '%c|%m|%d|%w|%z|'", "sinfo -o '%X|%Y|%Z|%f|%b|%G|'", "sinfo -o '%g|%h|%r|%R|%S|%s|'", "sinfo -o '%I|%p|%M|%L|%B|'",
    "sinfo -N -o '%n|%N|%T|%t|%P|'", "sinfo -o '%E|%N|'", "sinfo -S -P -o '%P %D'", "sinfo -S N -N -o '%N %t'", "sinfo -o '%V|%T|%D|'",
    "sinfo -o '%#P|%#N|%#D|'", "SINFO_FORMAT='%P %D' sinfo", "SINFO_PARTITION=gpu sinfo", "SINFO_SORT=-P sinfo -o %P",
    *(f"sinfo -O '{','.join(f'{name}:30|' for name in names)}'" for names in _in_tens(NODE_NAMES)),
    *(f"sinfo -N -O '{','.join(f'{name}:30|' for name in names)}'" for names in _in_tens(NODE_NAMES)),
)  # fmt: skip

_X = "sacct -n -P -S now-1hour -j"
SACCT = (
    f"sacct -j {_KNOWN}", f"sacct -X -j {_KNOWN}", f"sacct -b -j {_KNOWN}", f"sacct -n -j {_KNOWN}", f"sacct -P -j {_KNOWN}",
    f"sacct -p -X -j {_KNOWN}", f"sacct -n -P --delimiter=, -X -j {_KNOWN}", "sacct -j $J1", "sacct -j $J2.0", "sacct -j $J2.batch",
    "sacct -j $J6", "sacct -X -j ${J6}_2", "sacct -j ${J6}_1 -o jobid,state,exitcode", "sacct -X -j $J9",
    f"sacct -s F -S now-1hour -E now -X -n -j {_KNOWN} -o jobid,state", f"sacct -s CD,CA -S now-1hour -E now -X -n -j {_KNOWN} -o jobid,state",
    f"sacct -s PD -X -n -j {_KNOWN} -o jobid%20,state%30", f"sacct --name=done,broken -n -X -j {_KNOWN} -o jobname",
    f"sacct -r gpu -n -X -j {_KNOWN} -o jobid,partition", f"sacct -N n4 -n -X -j {_KNOWN} -o jobid,nodelist",
    "sacct -j $J5 -o jobid%-15,jobname%6,nnodes,ntasks,ncpus,reqmem,state%5", "sacct -l -P -n -j $J1 | cut -d '|' -f 1-4 | head -n 1",
    "sacct -o jobid,jobname%30,state%20,exitcode,derivedexitcode -j $J2", "sacct -j $J1 -o all_nosuch", "sacct -j 99999999",
    "sacct -o reqmem,timelimit,timelimitraw -X -n -j $J4,$J5,$J8", "SACCT_FORMAT=jobid,state sacct -X -n -j $J1,$J2",
    "sacct -e | tr -s ' ' | head -n 3",
    *(f"sacct -P -j {_KNOWN} -o JobID,{','.join(names)}" for names in _in_tens(ACCT_NAMES)),
)  # fmt: skip


def _ordered(line: str) -> Run:
    """Steps, one node's rows of several partitions, and jobs of one second in sacct have no defined order."""
    return Run(line, free=line.startswith(("squeue -s", "sinfo -N", "sinfo -n n[3-4] -N")) or _KNOWN in line)


CASES: tuple[Case, ...] = (
    Case("squeue", (*FLEET, *map(_ordered, SQUEUE)), FLEET_FILES),
    Case("sinfo", (*FLEET, *map(_ordered, SINFO)), FLEET_FILES),
    # What the accounting daemon knows may lag a little behind.
    Case("sacct", (*FLEET, Until("sacct -n -X -j $J16 -o state | grep -q PENDING && sleep 3"), *map(_ordered, SACCT)), FLEET_FILES),
    Case("empty", ("squeue", "squeue -l | tail -n +2", "squeue -h", "squeue -s", "squeue --me", "squeue --start", "squeue -o '%i %j'",
                   "squeue -O jobid,name", "sinfo", _ordered("sinfo -N"), "sinfo -s", "sinfo -l | tail -n +2", "sinfo -R", "sinfo -o '%all' | wc -l",
                   "sinfo --version | sed 's/ .*//'")),
)  # fmt: skip
