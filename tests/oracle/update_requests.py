"""Hundreds of random `scontrol update` lines for jobs in every state, as cases.

After each line it is noted what `scontrol show` says of the jobs that it did not say before. The lines are the same
in every run; record.py asks the real scontrol about them once.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from case import Case, Run, Until, Wait

Dice = random.Random

#: keys of a job and values to give them, good and bad. What newer releases have or do otherwise is omitted: StdErr,
#: StdIn, NumTasks, TasksPerNode, MinCPUsNode of several nodes, JobId+=, ArrayTaskThrottle of jobs that are no array.
KEYS: dict[str, str] = {
    "Account": "root nosuch", "AdminComment": "seen x,y", "ArrayTaskThrottle": "1 2 0 -1 x 3x", "BurstBuffer": "x",
    "Comment": "new two,words =", "Contiguous": "yes no 1 0 y N maybe 2", "CoreSpec": "1 -1 * x", "CPUsPerTask": "1 2 9 x 2x 70000",
    "Deadline": "2031-01-01T00:00:00 2031-05-05 yesterday 2001-01-01 never", "DelayBoot": "5 0 1:00 x",
    "Dependency": "afterok:$J1 afterany:$J1 afterok:x nonsense expand:$J1 afterok:$J2",
    "EligibleTime": "2031-01-01T00:00:00 x", "EndTime": "2001-01-01T00:00:00 x",
    "ExcNodeList": "n1 n[1-2] n9 n[1-4] n[1", "Features": "nosuch", "Gres": "gpu:1 gpu:h100:2 gpu:9 nic:1 gpu:a100:1",
    "JobName": "other a.b", "Licenses": "matlab:1 matlab", "MailType": "END NONE ALL END,FAIL bogus begin TIME_LIMIT_50",
    "MailUser": "me@here.org", "MinCPUsNode": "0 x", "MinMemoryCPU": "100 0 x 5000 1G", "MinMemoryNode": "300 0 x 90000 2G",
    "MinTmpDiskNode": "1 0 x 5G", "Name": "named n,m", "Nice": "5 0 -5 100000 x 3000000000 +7", "NodeList": "n1 n[2-3] n9",
    "NumCPUs": "1 2 4-8 0 x 40 9-2 3-x", "NumNodes": "1 2 1-3 4 0 5 x 3-1 2-2 ALL 1k",
    "OverSubscribe": "yes no 1 0 maybe", "Partition": "gpu debug nosuch gpu,debug", "Priority": "9 0 1000 x -1 top", "QOS": "normal nosuch",
    "ReqCores": "1 2 x", "ReqNodeList": "n3 n[3-4] n9 n1,n4", "ReqSockets": "1 2 x", "ReqThreads": "1 2 x", "Requeue": "0 1 2 x yes",
    "ReservationName": "nosuch", "Shared": "yes no", "SiteFactor": "5 -5 x 9999999999", "StartTime": "now 2031-02-02T02:02:02 x tomorrow now+1hour",
    "StdOut": "o.txt %x.out", "Switches": "1 1@5 0 x",
    "ThreadSpec": "1 x", "TimeLimit": "5 1:00:00 2-0 UNLIMITED 0 -1 +10 -5 abc 1:2:3:4 90:30 +x 10000 INFINITE -99999 +0",
    "TimeMin": "1 10 0 1-0 x 99999", "TresPerNode": "gres:gpu:1 gpu:1 gres:gpu:9 x", "WCKey": "w", "WorkDir": "/tmp /no/such rel",
    "ResetAccrueTime": "x 1", "UserID": "root nosuch 0", "Wait-for-switch": "5 x", "Reboot": "yes no x",
}  # fmt: skip
#: keys that no job has
UNKNOWN = (
    "Foo",
    "State",
    "Nodes",
    "SubmitTime",
    "JobState",
    "Time",
    "Cpu",
    "Job",
    "Min",
    "Req",
    "St",
    "N",
    "",
    "=",
    "Weight",
    "Reason",
)
#: given without a value, or with a blank for the sign
BARE = ("Nice", "ResetAccrueTime", "Comment", "TimeLimit", "nonsense", "Requeue", "Nic", "Reset", "NICE")

KEY_NAMES = "|".join((
    "JobName", "Priority", "Nice", "Account", "QOS", "JobState", "Reason", "Dependency", "Requeue", "TimeLimit", "TimeMin", "EligibleTime",
    "StartTime", "EndTime", "Deadline", "Partition", "ReqNodeList", "ExcNodeList", "NodeList", "NumNodes", "NumCPUs", "NumTasks", "CPUs/Task", "ReqB:S:C:T",
    "Socks/Node", "NtasksPerN:B:S:C", "CoreSpec", "ThreadSpec", "MinCPUsNode", "MinMemoryNode", "MinMemoryCPU", "MinTmpDiskNode", "Features", "DelayBoot",
    "Reservation", "OverSubscribe", "Contiguous", "Licenses", "Comment", "AdminComment", "StdErr", "StdIn", "StdOut", "WorkDir", "Switches",
    "TresPerNode", "TresPerJob", "MailUser", "MailType", "ArrayTaskThrottle", "BurstBuffer", "Command",
))  # fmt: skip

FILES = {
    # What is new about the jobs from the one that is named. When a waiting job would start, and what it waits for, is the scheduler's matter.
    "tell.sh": '#!/bin/sh\ntouch seen\nscontrol -o show job 2>/dev/null | awk -v first="$1" \'substr($1, 7) < first { next }\n'
    "{ waits = $0 ~ / JobState=PENDING /\n"
    'for (i = 2; i <= NF; i++) if ($i ~ "^(' + KEY_NAMES + ')=") {\n'
    "if (waits && $i ~ /^(StartTime|EndTime|EligibleTime)=/ && $i !~ /=203/) continue\n"
    'if ($i ~ /^Reason=/ && ($i !~ /Held/ || $0 !~ / Priority=0 /)) $i = "Reason=other"\nprint $1, $i } }\' | LC_ALL=C sort > now\n'
    "LC_ALL=C comm -13 seen now\nmv now seen\n",
    # Element 1 ends once 2 runs on the nodes that 0 gave back: so each has the same nodes in every run.
    "array.sh": "#!/bin/sh\ncase $SLURM_ARRAY_TASK_ID in\n0) ;;\n1) until [ -e two ]; do sleep 0.1; done ;;\n"
    "2) touch two; exec sleep 300 ;;\n*) exec sleep 300 ;;\nesac\n",
    "job.sh": "#!/bin/sh\nexec sleep 300\n",
    "end.sh": "#!/bin/sh\n:\n",
}

#: what there is when the updates come: the lines before, what is waited for, the ids that are queried
# All nodes are taken, lest a job whose hold or dependency ends begins.
_BUSY = ("sbatch -J busy --exclusive -N4 -t 100 job.sh", Wait("$J1", "RUNNING"))
_OTHER = "sbatch -H -J two -t 10 job.sh"
_HERE = Wait("$J1", "RUNNING")
STATES: dict[str, tuple[tuple[str | Wait | Until, ...], str]] = {
    "held": ((*_BUSY, "sbatch -H -J one -t 30 job.sh", _OTHER), "$J2"),
    "held-large": ((*_BUSY, "sbatch -H -J one -N2 -n4 -c2 --mem=100 --gres=gpu:1 -t 30 --comment=old -w n1 -x n4 job.sh", _OTHER), "$J2"),
    "held-range": ((*_BUSY, "sbatch -H -J one -N1-3 -n6 --mem-per-cpu=50 --ntasks-per-node=3 -p gpu,debug --nice=3 -t 9 job.sh", _OTHER), "$J2"),
    "waiting": ((*_BUSY, "sbatch -J one -t 20 job.sh", "sbatch -J three -N2 -t 9 job.sh"), "$J2"),
    "dependent": ((*_BUSY, "sbatch -J one -d afterok:$J1 -t 15 job.sh", _OTHER), "$J2"),
    "later": ((*_BUSY, "sbatch -J one --begin=2031-01-01 -t 10 job.sh", "sbatch -J two --begin=2031-01-01 -d singleton -t 9 job.sh"), "$J2"),
    "running": (("sbatch -J one -t 60 -n2 job.sh", _HERE, _OTHER), "$J1"),
    "running-wide": (("sbatch -J one -N3 -n3 --exclusive --no-requeue -t 50 job.sh", _HERE, _OTHER), "$J1"),
    "suspended": (("sbatch -J one -t 60 job.sh", _HERE, _OTHER, "scontrol suspend $J1"), "$J1"),
    "ended": (("sbatch -J one -t 5 end.sh", Wait("$J1", "COMPLETED"), _OTHER), "$J1"),
    "cancelled": (("sbatch -H -J one -t 5 job.sh", "scancel $J1", Wait("$J1", "CANCELLED"), _OTHER), "$J1"),
    "array-held": ((*_BUSY, "sbatch -H -J one -a 1-6 -t 8 job.sh", _OTHER), "$J2 $J2 ${J2}_2 ${J2}_[3-4] ${J2}_9 ${J2}_1,${J2}_5"),
    "array-half": (("sbatch -J one -a 0-5%2 -N2 --exclusive -t 80 array.sh", Until('test "$(squeue -h -j $J1 -t R -o %K | sort | xargs)" = "2 3"'),
                    Until('test -z "$(squeue -h -t CG -o %i)"'), _OTHER),
                   "$J1 ${J1}_0 ${J1}_2 ${J1}_4 ${J1}_[2-4] ${J1}_[0-5] ${J1}_5"),
    "het-held": ((*_BUSY, "sbatch -H -J one -n1 -t 6 : -J part -n2 -t 6 job.sh", _OTHER), "$J2 $J2 $J2+0 $J2+1 $J2+2 $J2+1"),
    "het-running": (("sbatch -J one -n1 -t 30 : -J part -n2 -t 30 job.sh", _HERE, _OTHER), "$J1 $J1+0 $J1+1"),
}  # fmt: skip


def _spelled(dice: Dice, key: str) -> str:
    """A key as users type it: in any case, or abbreviated."""
    if dice.random() < 0.35:
        key = key[: dice.randint(1, len(key))]
    return dice.choice((str, str, str.lower, str.upper))(key)


def _change(dice: Dice, state: str) -> str:
    chance = dice.random()
    if chance < 0.06:
        return dice.choice(UNKNOWN) + "=" + dice.choice(("1", "x", ""))
    if chance < 0.11:
        return dice.choice(BARE)
    key = dice.choice(list(KEYS) if state.startswith("array") else [key for key in KEYS if key != "ArrayTaskThrottle"])
    value = dice.choice(KEYS[key].split()) if dice.random() < 0.95 or key in ("NumNodes", "Licenses") else ""
    sign = dice.choice("+-") if dice.random() < (0.3 if key == "TimeLimit" else 0.05) else ""
    return f"{_spelled(dice, key)}{sign}={value}" if dice.random() < 0.96 else f"{_spelled(dice, key)} {value}"


def _which(dice: Dice, state: str) -> str:
    """The words that select the jobs; a name belongs to this case alone."""
    one = dice.choice(STATES[state][1].split())
    chance = dice.random()
    if chance < 0.75:
        return dice.choice(("JobId=", "jobid=", "JOBID=", "job ", "JobId ", "job=", "jobi=")) + one
    odd = (f"JobId={one},{one}", "JobId=99", "JobId=abc", "JobId=", "JobId=0", "JobId=-1", f"JobId={one},99", f"JobName={state}", f"Name={state}", "JobName=nosuch",
           f"JobId={one}_7", f"JobId={one}+3", f"JobId={one}x", f"JobId={one}.0", "JobId=[97-98]", "", f"JobId={one}_[1", f"Jo={one}",
           f"JobId={one} JobId=99", f"JobId=99,{one}", f"UserId=root JobName={state}", f"UserId=nobody JobName={state}", f"JobId='{one} 99'")  # fmt: skip
    return dice.choice(odd)


def _line(dice: Dice, state: str) -> str:
    changes = [_change(dice, state) for _ in range(dice.choice((1, 1, 1, 2, 2, 3)))]
    if dice.random() < 0.03:
        changes = []
    words = [_which(dice, state), *changes]
    if dice.random() < 0.1:
        dice.shuffle(words)
    return "scontrol update " + " ".join(filter(None, words))


def lines(state: str, number: int, seed: int = 7, make: Callable[[Dice, str], str] = _line) -> list[str]:
    dice = random.Random(f"{seed} {state}")
    found: list[str] = []
    while len(found) < number:
        line = make(dice, state)
        if line not in found:
            found.append(line)
    return found


def case(state: str, number: int, seed: int = 7) -> Case:
    """Jobs in a state, and the updates of them, one after the other."""
    before = [
        action.replace("-J one", f"-J {state}") if isinstance(action, str) else action for action in STATES[state][0]
    ]
    reported = tuple(Run(f'{line}; echo "= $?"; ./tell.sh $J1', free=True) for line in lines(state, number, seed))
    return Case(f"update-{state}", (*before, Run("./tell.sh $J1", free=True), *reported), FILES)


CASES: tuple[Case, ...] = tuple(case(state, 16) for state in STATES)
