"""SLURM_* of batch scripts, of each rank and of salloc's command, and the placement of tasks."""

from __future__ import annotations

from case import Action, Case, Run, Wait

_NAMES = "SLURM_|SLURMD_|SBATCH_|SRUN_|SALLOC_|PMI|GPU_|CUDA_|ROCR_|ZE_|TMPDIR=|ENVIRONMENT=|HOSTNAME=|MY_|HOME=|OMP_"
DUMP = f"#!/bin/bash\nenv | grep -E '^({_NAMES})' | sort\n"
RANK = f"#!/bin/bash\nenv | grep -E '^({_NAMES})' | sort > rank.$SLURM_PROCID\n"
# Cheaper than one file for each variable: rows of where a task is.
PLACE = (
    "#!/bin/bash\n"
    'echo "$SLURM_PROCID node=$SLURM_NODEID local=$SLURM_LOCALID name=$SLURMD_NODENAME gtids=$SLURM_GTIDS'
    ' on_node=$SLURM_CPUS_ON_NODE tasks=$SLURM_STEP_TASKS_PER_NODE step_nodes=$SLURM_STEP_NODELIST"\n'
)
FILES = {"dump.sh": DUMP, "rank.sh": RANK, "place.sh": PLACE}

# name: (sbatch arguments, srun arguments or None, ranks that are shown)
BATCH: dict[str, tuple[str, str | None, int]] = {
    "plain": ("", "", 1),
    "tasks": ("-n3", "", 3),
    "nodes": ("-N2", "", 2),
    "nodes-tasks": ("-N2 -n4", "", 4),
    "nodes-tasks-odd": ("-N3 -n7", "", 7),
    "per-node-cpus-mem": ("-N2 -n4 --ntasks-per-node=2 -c2 --mem=200M", "-l", 4),
    "cpus": ("-c4", "", 1),
    "cpus-tasks": ("-n2 -c3", "-c1", 2),
    "mem-per-cpu": ("-n2 --mem-per-cpu=100", "", 1),
    "mem-zero": ("--mem=0", "", 1),
    "gres": ("--gres=gpu:h100:2 --mem=100", "", 1),
    "gpus-per-task": ("-n2 --gpus-per-task=1 --mem=100", "", 2),
    "gpus-per-node": ("-N2 --gpus-per-node=2 --mem=100", "", 2),
    "gpus": ("-G 3 --mem=100", "", 1),
    "exclusive": ("-N2 --exclusive", "", 2),
    "partition-name": ("-p gpu -J 'a name' -A physics", "-n1 -J other", 1),
    "time-signal": ("-t 30 --signal=USR1@20", "", 1),
    "distribution": ("-N2 -n4 -m cyclic", "", 4),
    "plane": ("-N2 -n8", "-m plane=2", 8),
    "overcommit": ("-O -N2 -n20", "", 1),
    "oversubscribe-hint": ("-s --hint=nomultithread -n2", "", 1),
    "socket-core": ("-n4 --ntasks-per-socket=4 --ntasks-per-core=1", "", 1),
    "threads-per-core": ("--threads-per-core=1", "", 1),
    "dependency-comment": ("-d singleton --comment=hello", "", 1),
    "chdir": ("-o <dir>/out.txt -e <dir>/err.txt", "", 1),
    "step-narrow": ("-N3 -n6", "-N1 -n1", 1),
    "step-relative": ("-N3 -n3", "-N1 -n1 -r2", 1),
    "step-env-names": ("-n2", "--export=ALL,MY_A=1 -u -K", 1),
    "open-mode": ("--open-mode=append --requeue", "", 1),
    "profile-network": ("--profile=task --cpu-freq=high", "", 1),
}

# sbatch --export in all its forms; MY_X and MY_Y are set at submission.
EXPORT = ("ALL", "NONE", "NIL", "MY_X", "MY_X,MY_Y=2", "ALL,MY_Z=3", "MY_X,NOSUCH", "MY_Q='a,b'", "all", "none")

SALLOC = ("", "-n3", "-N2 -n4 -c2", "-N2 --ntasks-per-node=2 --mem=200", "--gres=gpu:1 --mem=100", "--exclusive -N2",
          "-t 30 -J sitting -p gpu", "-n2 --mem-per-cpu=50", "-n2 --gpus-per-task=1 --mem=100", "-n1 : -n2 -c2")  # fmt: skip
SRUN = ("", "-n3", "-N2 -n4", "-N2 -n4 -c2 --mem=200", "--gres=gpu:1 --mem=100", "-N2 --exclusive", "-n4 -N2 -m cyclic",
        "-t 30 -J quick -p gpu", "--export=NONE,PATH=$PATH", "--export=MY_X,PATH=$PATH", "-n2 --gpus-per-task=1 --mem=100")  # fmt: skip

PLACEMENT = (
    "-N1 -n1", "-N2 -n2", "-N2 -n5", "-N3 -n8", "-N4 -n4", "-N4 -n10", "-n9", "-n20", "-N2 -n16", "-N3 -n6 -m cyclic",
    "-N3 -n6 -m block", "-N2 -n8 -m plane=2", "-N2 -n8 -m plane=3", "-N2 -n7 -m plane=4", "-N4 --ntasks-per-node=3",
    "-N2 --ntasks-per-node=4 -n7", "-N2 -n4 -c3", "-n3 -c5", "-w n2,n4 -n4", "-w n[2-3] -N2 -n3", "-x n1 -N2 -n2", "-p gpu -N2 -n4",
    "-N2 -n20 -O", "-N2-3 -n3", "-n4 --ntasks-per-node=2", "-N2 -n2 --mem=100 --gres=gpu:2", "-n6 --mincpus=3", "-n12 --exclusive",
    "-N3 -n3 -c8", "-N2 -n6 -m arbitrary",
)  # fmt: skip


def _batch(name: str, sbatch: str, srun: str | None, ranks: int) -> Case:
    script = "#!/bin/bash\n./dump.sh > batch.env\n" + (f"srun {srun} ./rank.sh\n" if srun is not None else "")
    actions: list[Action] = [
        f"sbatch {sbatch.replace('<dir>', '$PWD')} both.sh",
        Wait("$J1", "COMPLETED|FAILED"),
        "cat batch.env",
    ]
    actions += [f"cat rank.{rank}" for rank in range(ranks)]
    return Case(f"batch-{name}", tuple(actions), {**FILES, "both.sh": script})


def _cases() -> list[Case]:
    cases = [_batch(name, *row) for name, row in BATCH.items()]
    for number, words in enumerate(EXPORT):
        script = "#!/bin/bash\n./dump.sh > batch.env\nsrun ./rank.sh 2> srun.err\n"
        cases.append(Case(f"export-{number}", (
            f"MY_X=x MY_Y=y OMP_NUM_THREADS=3 sbatch --export={words} both.sh", Wait("$J1", "COMPLETED|FAILED"),
            "cat batch.env", "cat rank.0", "cat srun.err"), {**FILES, "both.sh": script}))  # fmt: skip
    cases.append(Case("batch-array", (
        "sbatch -a 3,5,7 element.sh", Wait("${J1}_3", "COMPLETED"), Wait("${J1}_5", "COMPLETED"), Wait("${J1}_7", "COMPLETED"),
        "cat 3.env", "cat 5.env", "cat 7.env"),
        {**FILES, "element.sh": "#!/bin/bash\n./dump.sh > $SLURM_ARRAY_TASK_ID.env\n"}))  # fmt: skip
    cases.append(Case("batch-array-step", (
        "sbatch -a 0-8:4%1 element.sh", Wait("${J1}_8", "COMPLETED", 60), "grep ARRAY 0.env 4.env 8.env"),
        {**FILES, "element.sh": "#!/bin/bash\n./dump.sh > $SLURM_ARRAY_TASK_ID.env\n"}))  # fmt: skip
    cases.append(Case("batch-het", (
        "sbatch het.sh", Wait("$J1", "COMPLETED"), "cat batch.env", "cat both.out", "cat second.out"),
        {**FILES, "het.sh": "#!/bin/bash\n#SBATCH -n1 --mem=10M\n#SBATCH hetjob\n#SBATCH -n2 -c2 --mem=20M\n./dump.sh > batch.env\n"
         "srun --het-group=0,1 -l ./place.sh 2>&1 | sort > both.out\nsrun --het-group=1 ./dump.sh 2>&1 | sort > second.out\n"}))  # fmt: skip
    cases.append(Case("batch-arguments", (
        "sbatch args.sh one 'two words' -n 3 --time=9", Wait("$J1", "COMPLETED"), "cat slurm-$J1.out"),
        {"args.sh": '#!/bin/bash\nfor word in "$@"; do echo "<$word>"; done\nbasename "$0"\npwd\numask\nulimit -n >/dev/null && echo limits\n'
         "readlink /proc/self/fd/0\n"}))  # fmt: skip
    cases.append(Case("batch-requeued", (
        "sbatch again.sh", Wait("$J1", "COMPLETED", 200), "cat restart.0 restart.1"),
        {**FILES, "again.sh": "#!/bin/bash\n./dump.sh > restart.${SLURM_RESTART_COUNT:-0}\n"
         "[ -n \"$SLURM_RESTART_COUNT\" ] || { scontrol requeue $SLURM_JOB_ID; sleep 30; }\n"}, slow=True))  # fmt: skip
    for number, words in enumerate(SALLOC):
        cases.append(Case(f"salloc-{number}", (f"salloc {words} ./dump.sh",), FILES))
    for number, words in enumerate(SRUN):
        cases.append(Case(f"srun-{number}", (f"MY_X=x srun {words} ./rank.sh", "cat rank.0",
                                             "test ! -f rank.1 || cat rank.1"), FILES))  # fmt: skip
    for number, words in enumerate(PLACEMENT):
        prefix = "SLURM_HOSTFILE=hosts " if "arbitrary" in words else ""
        cases.append(Case(f"placement-{number}", (Run(f"{prefix}srun {words} ./place.sh", free=True),),
                          {**FILES, "hosts": "n1\nn2\nn2\nn1\nn1\nn2\n"}))  # fmt: skip
    return cases


CASES: tuple[Case, ...] = tuple(_cases())
