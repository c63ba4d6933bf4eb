"""scontrol show: jobs as submitted, in every state that can be made, and nodes, partitions, steps, host lists."""

from __future__ import annotations

from case import Action, Case, Until, Wait

# Submitted on hold, so that nothing but the submission decides what is shown: name, sbatch arguments.
HELD: dict[str, str] = {
    "plain": "job.sh",
    "name": "-J training job.sh",
    "name-with-blank": "-J 'my training run' job.sh",
    "name-unicode": "-J größe job.sh",
    "nodes": "-N2 job.sh",
    "node-range": "-N2-3 job.sh",
    "tasks": "-n4 job.sh",
    "nodes-tasks": "-N2 -n4 job.sh",
    "cpus-per-task": "-c3 job.sh",
    "tasks-cpus": "-n3 -c2 job.sh",
    "ntasks-per-node": "-N2 --ntasks-per-node=2 job.sh",
    "ntasks-per-node-cpus": "-N2 --ntasks-per-node=2 -c2 --mem=200M job.sh",
    "ntasks-per-socket": "-n4 --ntasks-per-socket=2 job.sh",
    "ntasks-per-core": "-n2 --ntasks-per-core=1 job.sh",
    "ntasks-per-gpu": "-n4 --ntasks-per-gpu=2 job.sh",
    "mincpus": "--mincpus=4 job.sh",
    "mem": "--mem=200 job.sh",
    "mem-gib": "--mem=2G job.sh",
    "mem-odd": "--mem=1500M job.sh",
    "mem-kib": "--mem=1500K job.sh",
    "mem-all": "--mem=0 job.sh",
    "mem-per-cpu": "--mem-per-cpu=100M -n4 job.sh",
    "mem-per-gpu": "--mem-per-gpu=500M --gpus=2 job.sh",
    "time": "-t 10 job.sh",
    "time-days": "-t 2-03:04:05 job.sh",
    "time-seconds": "-t 5:30 job.sh",
    "time-min": "-t 60 --time-min=20 job.sh",
    "exclusive": "--exclusive job.sh",
    "exclusive-user": "--exclusive=user job.sh",
    "exclusive-nodes": "-N2 --exclusive --ntasks-per-node=8 job.sh",
    "oversubscribe": "-s job.sh",
    "overcommit": "-O -n16 job.sh",
    "gres": "--gres=gpu:2 job.sh",
    "gres-type": "--gres=gpu:h100:1 job.sh",
    "gres-nodes": "-N2 --gres=gpu:h100:4 job.sh",
    "gpus": "--gpus=3 job.sh",
    "gpus-type": "-G h100:2 job.sh",
    "gpus-per-node": "-N2 --gpus-per-node=2 job.sh",
    "gpus-per-task": "-n2 --gpus-per-task=1 job.sh",
    "cpus-per-gpu": "--gpus=2 --cpus-per-gpu=2 job.sh",
    "gpu-bind": "--gpus=1 --gpu-bind=closest job.sh",
    "tmp": "--tmp=0 job.sh",
    "array": "-a 1-5 job.sh",
    "array-limit": "-a 1-10%2 job.sh",
    "array-list": "-a 1,3,5-9:2 job.sh",
    "array-step": "-a 0-100:3%4 job.sh",
    "array-one": "-a 7 job.sh",
    "begin": "-b 2031-02-03T04:05:06 job.sh",
    "begin-relative": "-b now+2hours job.sh",
    "deadline": "-t 30 --deadline=2031-02-03T04:05:06 job.sh",
    "comment": "--comment='a comment with blanks' job.sh",
    "mail": "--mail-type=END,FAIL --mail-user=ada@example.org job.sh",
    "mail-all": "--mail-type=ALL job.sh",
    "output": "-o out.txt job.sh",
    "output-error": "-o out-%j.txt -e err-%j.txt job.sh",
    "output-name": "-J abc -o %x-%j.out job.sh",
    "output-absolute": "-o /dev/null job.sh",
    "input": "-i job.sh job.sh",
    "chdir": "-D /tmp job.sh",
    "nodelist": "-w n2 job.sh",
    "nodelist-range": "-w n[2-3] job.sh",
    "exclude": "-x n1,n3 job.sh",
    "contiguous": "-N2 --contiguous job.sh",
    "spread-job": "-N2 --spread-job job.sh",
    "use-min-nodes": "-N1-2 --use-min-nodes job.sh",
    "switches": "-N2 --switches=1@10 job.sh",
    "nice": "--nice=100 job.sh",
    "nice-negative": "--nice=-10 job.sh",
    "priority": "--priority=5 job.sh",
    "no-requeue": "--no-requeue job.sh",
    "requeue": "--requeue job.sh",
    "signal": "--signal=B:USR1@120 job.sh",
    "open-mode": "--open-mode=append job.sh",
    "partition": "-p gpu job.sh",
    "partitions": "-p gpu,debug job.sh",
    "extra-node-info": "-B 1:4:1 job.sh",
    "cores-per-socket": "--cores-per-socket=4 job.sh",
    "threads-per-core": "--threads-per-core=1 job.sh",
    "hint": "--hint=nomultithread job.sh",
    "core-spec": "-S 1 job.sh",
    "thread-spec": "--thread-spec=1 job.sh",
    "delay-boot": "--delay-boot=5 job.sh",
    "account": "-A physics job.sh",
    "wckey": "--wckey=project job.sh",
    "distribution": "-N2 -n4 -m cyclic job.sh",
    "export-none": "--export=NONE job.sh",
    "wait-all-nodes": "--wait-all-nodes=1 job.sh",
    "kill-on-invalid-dep": "--kill-on-invalid-dep=yes job.sh",
    "no-kill": "-k job.sh",
    "profile": "--profile=task job.sh",
    "reboot": "--reboot job.sh",
    "wrap": "--wrap='echo hello world'",
    "arguments": "job.sh first 'second one' -n 3",
    "stdin": "< job.sh",
    "directives": "directives.sh",
    "directives-overridden": "-n2 --time=5 directives.sh",
    "many": "-J many -N2 --ntasks-per-node=2 -c2 --mem-per-cpu=100M --gres=gpu:1 -t 1:00:00 -p gpu"
    " --comment=x -o o.txt -e e.txt --mail-type=BEGIN --nice=3 --exclusive --no-requeue job.sh",
    "singleton": "-d singleton job.sh",
}  # fmt: skip

DIRECTIVES = """#!/bin/bash
#SBATCH --job-name=from-script   # the name
#SBATCH -N 1 --ntasks=3
#SBATCH --mem=300M
#SBATCH --time=01:30:00
#SBATCH --output="results.txt"
##SBATCH --mem=1G
echo hi
#SBATCH -n 8
"""
HET = "#!/bin/bash\n#SBATCH -n1 -J het --mem=100M\n#SBATCH hetjob\n#SBATCH -n2 -c2\nsleep 100\n"
SHOW = "scontrol show job $J1"


def _held() -> list[Case]:
    cases = [
        Case(f"held-{name}", (f"sbatch -H {arguments}", SHOW), {"directives.sh": DIRECTIVES})
        for name, arguments in HELD.items()
    ]
    for name in ("plain", "array-limit", "many", "gpus-per-task"):
        arguments = HELD[name]
        cases.append(Case(f"held-{name}-one-line", (f"sbatch -H {arguments}", "scontrol -o show job $J1")))
    cases.append(Case("held-het", ("sbatch -H het.sh", SHOW, "scontrol -o show job $J1+1"), {"het.sh": HET}))
    return cases


def _one(name: str, *actions: Action, script: str | None = None, slow: bool = False) -> Case:
    return Case(name, actions, {"job.sh": script} if script else {}, slow)


_FULL: tuple[Action, ...] = ("sbatch -N4 --exclusive job.sh", Wait("$J1", "RUNNING"))

STATES: list[Case] = [
    # why a job waits
    _one("pending-resources", *_FULL, "sbatch -J waits -n2 job.sh", Wait("$J2", "Resources"),
         "scontrol show job $J2 | grep -v -e SchedNodeList -e StartTime="),
    _one("pending-priority", *_FULL, "sbatch -n2 job.sh", Wait("$J2", "Resources"), "sbatch -n1 job.sh",
         Wait("$J3", "Priority"), "scontrol show job $J3 | grep -v -e SchedNodeList -e StartTime="),
    _one("pending-dependency", "sbatch job.sh", "sbatch -d afterok:$J1 job.sh", Wait("$J2", "Dependency"),
         "scontrol show job $J2"),
    _one("pending-dependencies", "sbatch job.sh", "sbatch -H job.sh",
         "sbatch -d afterany:$J1:$J2,afternotok:$J1 job.sh", "sbatch -d 'after:$J1+5?afterok:$J2' job.sh".replace("'", '"'),
         Wait("$J3", "Dependency"), "scontrol show job $J3", "scontrol show job $J4"),
    _one("pending-never", "sbatch job.sh", Wait("$J1", "FAILED"), "sbatch -d afterok:$J1 job.sh",
         Wait("$J2", "DependencyNeverSatisfied"), "scontrol show job $J2", script="#!/bin/sh\nexit 3\n"),
    _one("pending-begin", "sbatch -b now+1hour job.sh", Wait("$J1", "BeginTime"), SHOW),
    _one("pending-part-time", "sbatch -p gpu -t 2-0 job.sh", Wait("$J1", "PartitionTimeLimit"), SHOW),
    _one("pending-part-nodes", "sbatch -p gpu -N3 job.sh", Wait("$J1", "PartitionNodeLimit|PartitionConfig"), SHOW),
    _one("pending-part-size", "sbatch -n 33 job.sh", Wait("$J1", "Partition"), SHOW),
    _one("pending-held-later", "sbatch -b now+1hour job.sh", "scontrol hold $J1", SHOW, "scontrol release $J1",
         Wait("$J1", "BeginTime"), SHOW),
    _one("pending-uhold", "sbatch -b now+1hour job.sh", "scontrol uhold $J1", SHOW),
    _one("pending-array-limit", "sbatch -a 1-4%2 job.sh", Wait("${J1}_2", "RUNNING"), Wait("${J1}_3", "JobArrayTaskLimit"),
         "scontrol show job ${J1}", "scontrol show job ${J1}_1", "scontrol show job ${J1}_3"),
    _one("pending-node-drained", "scontrol update nodename=n4 state=drain reason=testing",
         "sbatch -w n4 job.sh", Wait("$J1", "ReqNodeNotAvail"), SHOW, "scontrol show node n4 | head -n 16",
         "sinfo", "sinfo -R", "sinfo -l -N -n n4 -h", "scontrol update nodename=n4 state=resume"),
    # while it runs
    _one("running-plain", "sbatch job.sh", Wait("$J1", "RUNNING"), SHOW, "scontrol -d show job $J1"),
    _one("running-nodes", "sbatch -N2 -n4 -t 60 job.sh", Wait("$J1", "RUNNING"), SHOW, "scontrol -d show job $J1"),
    _one("running-tasks", "sbatch -n12 job.sh", Wait("$J1", "RUNNING"), SHOW, "scontrol -d show job $J1"),
    _one("running-exclusive", "sbatch --exclusive -N2 job.sh", Wait("$J1", "RUNNING"), SHOW),
    _one("running-memory", "sbatch --mem=500 -c2 job.sh", Wait("$J1", "RUNNING"), SHOW),
    _one("running-mem-per-cpu", "sbatch --mem-per-cpu=200 -n4 job.sh", Wait("$J1", "RUNNING"), SHOW),
    _one("running-gres", "sbatch -N2 --gres=gpu:h100:2 --mem=100 job.sh", Wait("$J1", "RUNNING"), SHOW,
         "scontrol -d show job $J1", "scontrol -d show node n1"),
    _one("running-gpus", "sbatch -n2 --gpus-per-task=1 --mem=100 job.sh", Wait("$J1", "RUNNING"), SHOW,
         "scontrol -d show job $J1"),
    _one("running-partition", "sbatch -p gpu,debug --mem=100 -w n3 job.sh", Wait("$J1", "RUNNING"), SHOW),
    _one("running-array", "sbatch -a 3,5 --mem=10 job.sh", Wait("${J1}_3", "RUNNING"), Wait("${J1}_5", "RUNNING"),
         SHOW, "scontrol show job ${J1}_3", "scontrol -o show job ${J1}_5"),
    _one("running-het", "sbatch job.sh", Wait("$J1", "RUNNING"), SHOW, script=HET),
    _one("running-step", "sbatch -N2 --mem=100 job.sh", Until("scontrol show step $J1 | grep -q $J1.0"),
         "scontrol show step $J1.0", "scontrol -o show step $J1.0", "scontrol show step $J1.batch",
         script="#!/bin/sh\nsrun -n2 -J mystep sleep 100\n"),
    _one("running-nodes-seen", "sbatch -N2 -n4 --mem=200 --gres=gpu:1 job.sh", Wait("$J1", "RUNNING"),
         "scontrol show node n1", "scontrol -o show node n2", "scontrol show node n[1-2] | grep -E 'State|Alloc'", "sinfo",
         "sinfo -N -l", "sinfo -o '%n %C %T %G'"),
    _one("suspended", "sbatch job.sh", Wait("$J1", "RUNNING"), "scontrol suspend $J1", Wait("$J1", "SUSPENDED"), SHOW,
         "squeue", "scontrol resume $J1", Wait("$J1", "RUNNING"), "squeue -h -o '%i %T'"),
    _one("requeued", "sbatch job.sh", Wait("$J1", "RUNNING"), "scontrol requeue $J1", Wait("$J1", "PENDING"),
         "scontrol show job $J1 | grep -v EligibleTime"),
    _one("requeuehold", "sbatch job.sh", Wait("$J1", "RUNNING"), "scontrol requeuehold $J1",
         Wait("$J1", "PENDING|SPECIAL"), Until('test "$(squeue -h -j $J1 -o %T)" = PENDING'), SHOW),
    # afterwards
    _one("completed", "sbatch job.sh", Wait("$J1", "COMPLETED"), SHOW, "scontrol -o show job $J1",
         script="#!/bin/sh\nexit 0\n"),
    _one("failed", "sbatch job.sh", Wait("$J1", "FAILED"), SHOW, script="#!/bin/sh\nexit 3\n"),
    _one("failed-signal", "sbatch job.sh", Wait("$J1", "FAILED"), SHOW, script="#!/bin/sh\nkill -9 $$\n"),
    _one("failed-step", "sbatch job.sh", Wait("$J1", "COMPLETED"), SHOW, script="#!/bin/sh\nsrun sh -c 'exit 4'\nexit 0\n"),
    _one("failed-interpreter", "sbatch job.sh", Wait("$J1", "FAILED"), SHOW, "cat slurm-$J1.out",
         script="#!/no/such/shell\n:\n"),
    _one("failed-chdir", "sbatch -D /proc/no/such job.sh", Wait("$J1", "FAILED|COMPLETED"), SHOW),
    _one("failed-output", "sbatch -o no/such/dir.txt job.sh", Wait("$J1", "FAILED|COMPLETED"), SHOW),
    _one("cancelled-pending", "sbatch -b now+1hour job.sh", Wait("$J1", "BeginTime"), "scancel $J1", SHOW),
    _one("cancelled-held", "sbatch -H job.sh", "scancel $J1", SHOW),
    _one("cancelled-running", "sbatch job.sh", Wait("$J1", "RUNNING"), "scancel $J1", Wait("$J1", "CANCELLED"), SHOW,
         "cat slurm-$J1.out"),
    _one("cancelled-array", "sbatch -a 1-3 -H job.sh", "scancel ${J1}_2", SHOW, "squeue -h -o '%i %T %r'"),
    _one("cancelled-dependency", "sbatch job.sh", Wait("$J1", "FAILED"),
         "sbatch --kill-on-invalid-dep=yes -d afterok:$J1 job.sh", Wait("$J2", "CANCELLED"), "scontrol show job $J2",
         script="#!/bin/sh\nexit 1\n"),
    _one("completed-array", "sbatch -a 1-2 job.sh", Wait("${J1}_1", "COMPLETED"), Wait("${J1}_2", "FAILED"), SHOW,
         script="#!/bin/sh\nexit $((SLURM_ARRAY_TASK_ID - 1))\n"),
    _one("completed-dependency", "sbatch job.sh", "sbatch -d afterok:$J1 job.sh", Wait("$J2", "COMPLETED"),
         "scontrol show job $J2", script="#!/bin/sh\nexit 0\n"),
    _one("timeout", "sbatch -t 1 job.sh", Wait("$J1", "TIMEOUT", 160),
         "scontrol show job $J1 | grep -v -e RunTime -e EndTime", "cat slurm-$J1.out",
         script="#!/bin/sh\nsleep 200\n", slow=True),
    # changed after submission
    _one("updated", "sbatch -H job.sh", "scontrol update jobid=$J1 timelimit=30", "scontrol update job $J1 name=other comment='new one' nice=7",
         "scontrol update jobid=$J1 partition=gpu minmemorynode=300", "scontrol update jobid=$J1 numnodes=2 numtasks=4",
         "scontrol update jobid=$J1 mailtype=END requeue=0", "scontrol update jobid=$J1 starttime=2031-01-01T00:00:00",
         "scontrol update jobid=$J1 priority=9", "scontrol update jobid=$J1 dependency=singleton",
         "scontrol update jobid=$J1 stdout=new.out", "scontrol update jobid=$J1 reqnodelist=n3 excnodelist=n1", SHOW),
    _one("updated-refused", "sbatch -H job.sh", "scontrol update jobid=$J1 timelimit=abc", "scontrol update jobid=$J1 partition=nosuch",
         "scontrol update jobid=$J1 nosuch=1", "scontrol update jobid=$J1 dependency=afterok:x",
         "scontrol update jobid=$J1 timelimit+=10", "scontrol update jobid=$J1 features=nosuch", SHOW),
    _one("updated-array", "sbatch -H -a 1-4 job.sh", "scontrol update jobid=$J1 arraytaskthrottle=2",
         "scontrol update jobid=${J1}_2 timelimit=5", "scontrol release ${J1}_3", "scontrol hold $J1", SHOW),
    _one("hold-many", "sbatch -b now+1hour job.sh", "sbatch -b now+1hour job.sh", "scontrol hold $J1,$J2",
         "squeue -h -o '%i %r' -S i", "scontrol release $J1 $J2", "squeue -h -o '%i' -S i"),
    _one("finished-verbs", "sbatch job.sh", Wait("$J1", "COMPLETED"), "scontrol hold $J1", "scontrol suspend $J1",
         "scontrol update jobid=$J1 timelimit=5", "scancel $J1", "scancel -v $J1", script="#!/bin/sh\n:\n"),
    _one("write-script", "sbatch -H job.sh", "scontrol write batch_script $J1", "cat slurm-$J1.sh",
         "scontrol write batch_script $J1 -", "scontrol write batch_script $J1 other.sh", "cat other.sh"),
    _one("test-only", "sbatch --test-only -N2 -n4 job.sh", "sbatch --test-only -p gpu -N3 job.sh",
         "sbatch --test-only --mem=9G job.sh"),
    _one("submit-answers", "sbatch -H -a 1-3 job.sh", "sbatch -H --parsable job.sh", "sbatch -H -Q job.sh",
         "sbatch -H -M oracle job.sh", "sbatch -H --parsable -M oracle job.sh"),
    _one("wait-answers", "sbatch -W job.sh", script="#!/bin/sh\nexit 6\n"),
]  # fmt: skip

HOSTS = (
    "n[1-4]", "n[08-11]", "n1,n2,n3", "n[1-3,7],m[01-02]", "r[1-2]n[1-2]", "n3,n1,n2", "n1,n1,n2", "login", "a1b1,a1b2,a2b1",
    "n001,n002,n3", "gpu-[1-2]-[3-4]", "n[1-3", "n[3-1]", "[1-2]", "n1 n2", "",
)  # fmt: skip

ENTITIES: list[Case] = [
    _one("nodes", "scontrol show node", "scontrol -o show node", "scontrol show node n3", "scontrol show nodes n[2-3]",
         "scontrol show node n9", "scontrol -d show node n2"),
    _one("partitions", "scontrol show partition", "scontrol -o show partition", "scontrol show partition gpu",
         "scontrol show part debug", "scontrol show partition nosuch"),
    _one("config", "scontrol show config | sed -n 's/ *=.*//p'", "scontrol ping | sed 's/(.*) at [^ ]*/(<host>)/'"),
    _one("hostnames", *(f"scontrol show hostnames '{hosts}'" for hosts in HOSTS)),
    _one("hostlist", *(f"scontrol show hostlist '{hosts}'" for hosts in HOSTS)),
    _one("hostlistsorted", *(f"scontrol show hostlistsorted '{hosts}'" for hosts in HOSTS)),
    _one("hostnames-job", "SLURM_JOB_NODELIST=n[1-2] scontrol show hostnames", "SLURM_NODELIST=n[3-4] scontrol show hostnames"),
    _one("nothing-to-show", "scontrol show step", "scontrol show reservation", "scontrol show licenses",
         "scontrol show topology", "scontrol completing"),
]  # fmt: skip

CASES: tuple[Case, ...] = (*_held(), *STATES, *ENTITIES)
