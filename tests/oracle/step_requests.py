"""Hundreds of random srun lines inside allocations of many shapes, as cases.

The lines are the same in every run; record.py asks the real srun about them once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from case import Case, Inside, Run

#: of allocations; what comes after the colon is another component
SHAPES: tuple[str, ...] = (
    "-N1 -n1", "-n2", "-n4 -c2", "-n11", "-N2 -n4", "-N2 -n5 --mem=500", "-N3 -n6 --gres=gpu:2", "-N4",
    "-N4 -n4 -c3 --mem-per-cpu=100", "-N2 --ntasks-per-node=3 -c2", "-N3 --exclusive", "-N2 -n2 --exclusive --gres=gpu:h100:4",
    "-N2 -n4 --gpus-per-task=1", "-n4 -N1 --gpus=4", "-N2 -n20 -O", "-N3 --gpus=5", "-N2 -n3 -m cyclic -t 30",
    "-N2 -n7 -m plane=2", "-N1 -n8 --mem=2000", "-n2 : -N2 -n3", "-N2 -n2 : -n1 --gres=gpu:1",
)  # fmt: skip

#: how often, and of which one is taken
SIZES: tuple[tuple[float, str], ...] = (
    (0.35, "-N1 -N2 -N3 -N4 -N5 -N1-2 -N2-3 -N2-4"),
    (0.5, "-n1 -n2 -n3 -n4 -n5 -n6 -n7 -n8 -n12 -n17 -n33"),
    (0.25, "-c1 -c2 -c3 -c4 -c8 -c9"),
    (0.15, "--ntasks-per-node=1 --ntasks-per-node=2 --ntasks-per-node=3 --ntasks-per-node=9"),
)
OTHERS: tuple[tuple[float, str], ...] = (
    (0.08, "-wn1 -wn2 -wn[1-2] -wn[2-3] -wn9 -wn[3-4] -wn2,n1"),
    (0.08, "-xn1 -xn2 -xn[1-4] -xn3 -xn9"),
    (0.08, "-r0 -r1 -r2 -r3"),
    (0.25, "-mblock -mcyclic -mplane=1 -mplane=2 -mplane=4 -mblock:cyclic -mcyclic:block -mblock:block -mblock,Pack -mcyclic:cyclic:cyclic"
           " -mblock,NoPack -m*:block -mblock:fcyclic -marbitrary -mplane -mnonsense"),
    (0.3, "--exact --overlap --exclusive --exact --whole"),
    (0.1, "-O"),
    (0.12, "--mem=100 --mem=0 --mem=600 --mem=9000 --mem=1G --mem-per-cpu=50 --mem-per-cpu=700 --mem-per-gpu=100 --mem=none"),
    (0.12, "--gres=gpu:1 --gres=gpu:2 --gres=gpu:h100:1 --gres=gpu:a100:1 --gres=none --gres=gpu:5 --gres=gpu --gres=nic:1"),
    (0.1, "-G1 -G2 -G4 -G5 --gpus=h100:2 -G0 -G17"),
    (0.08, "--gpus-per-node=1 --gpus-per-node=2 --gpus-per-node=5 --gpus-per-task=1 --gpus-per-task=2 --gpus-per-task=h100:1"),
    (0.06, "--ntasks-per-gpu=1 --ntasks-per-gpu=2 --cpus-per-gpu=1 --cpus-per-gpu=4 --gpus-per-socket=1"),
    (0.1, "--gpu-bind=none --gpu-bind=closest --gpu-bind=single:1 --gpu-bind=single:2 --gpu-bind=map_gpu:1,0 --gpu-bind=mask_gpu:0x3,0x1"
          " --gpu-bind=verbose,single:1 --gpu-bind=bogus --gpu-bind=per_task:1"),
    (0.06, "--threads-per-core=1 --ntasks-per-core=1 --ntasks-per-core=2 --ntasks-per-socket=2 --cores-per-socket=4"),
    (0.04, "--hint=multithread --hint=bogus"),
    (0.05, "-t1 -t0 -t1-0 -t5:00 -tbogus -tUNLIMITED"),
    (0.05, "-n0 -N0 -c0 -n-1 -Nx -n1k -nx -N3-1 --ntasks-per-node=0 -r-1 -rx"),
    (0.03, "-Jnamed -Q --comment=x -pgpu -pnosuch -Afoo -qbar -Cfast --contiguous"),
    (0.03, "--export=NONE --export=ALL --export=MINE --export=ALL,YOURS=2 --export="),
    (0.03, "-D/tmp -D/no/such -D. --chdir=.."),
    (0.03, "--mpi=none --mpi=nonsense --bcast --propagate=NONE"),
    (0.03, "--mincpus=2 --tmp=1 -B1:4:1 -S1 --switches=1 --signal=USR1@5 --nice=5 --begin=now --hold --uid=nobody"),
)  # fmt: skip
SEEN = "./seen.sh"

FILES = {
    # Where each task is; of the first one also how its environment differs from its srun's.
    "seen.sh": '#!/bin/sh\necho "$SLURM_PROCID $SLURMD_NODENAME node=$SLURM_NODEID local=$SLURM_LOCALID tasks=$SLURM_GTIDS'
    ' cpus=$SLURM_CPUS_ON_NODE gpus=$SLURM_STEP_GPUS/$SLURM_GPUS_ON_NODE/$CUDA_VISIBLE_DEVICES"\n'
    '[ "$SLURM_PROCID" != 0 ] || "$SLURM_SUBMIT_DIR/known.sh" | comm -3 "$SLURM_SUBMIT_DIR/outer.env" - | tr -d "\\t"\n',
    "known.sh": "#!/bin/sh\nenv | grep -E '^(SLURM|SRUN|MINE|YOURS)' | grep -vE '^SLURM(_(PROCID|NODEID|LOCALID|GTIDS|STEP_?ID|CPUS_ON_NODE|STEP_GPUS"
    "|GPUS_ON_NODE|TASK_PID|PRIO_PROCESS|JOB_ACCOUNT|JOB_QOS|TOPOLOGY_.*|JOB_(ACCOUNT|QOS)_.*|.*_PORT|SRUN_COMM_HOST|CONF|JOB_.*_TIME|WORKING_CLUSTER)|D_NODENAME|SKY_.*)=' | LC_ALL=C sort\n",
    "exits.sh": "#!/bin/sh\nexit $((SLURM_PROCID * ${1:-1}))\n",
    "late.sh": "#!/bin/sh\n[ $SLURM_PROCID = ${2:-0} ] && exit ${1:-0}\nexec sleep 30\n",
    "dies.sh": "#!/bin/sh\n[ $SLURM_PROCID = ${2:-0} ] && kill -${1:-9} $$\nexit ${3:-0}\n",
    "says.sh": "#!/bin/sh\necho out $SLURM_PROCID\necho err $SLURM_PROCID >&2\n",
    # Stays until it is let go, at most half a minute.
    "holds.sh": "#!/bin/sh\n: > held\ni=0\nwhile [ ! -e go ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done\nexec ./where.sh\n",
    "where.sh": "#!/bin/sh\necho $SLURM_STEP_NODELIST $SLURM_STEP_TASKS_PER_NODE $SLURM_CPUS_ON_NODE $SLURM_STEP_GPUS\n",
    "two.conf": "0 echo zero %t %o\n1 echo one %t %o\n",
    "star.conf": "# a comment\n\n0 echo zero %t %o\n* echo rest %o of %t 'quo ted'\n",
    "ranges.conf": "0-1,3 echo some %t %o\n2,4-7 sh -c 'echo $SLURM_PROCID others'\n",
    "twice.conf": "0-3 echo first %t\n2-3 echo second %t\n",
    "odd.conf": "0-3:2 echo step %t\n1 echo one\n*\n",
    "gone.conf": "0 no-such-command\n* true\n",
    "hosts.1": "n1\n", "hosts.2": "n2\nn1\n", "hosts.3": "n1\nn2\nn1\nn2\n", "hosts.4": "n3\nn1\nn2\n", "hosts.5": "n9\nn1\n", "hosts.6": "",
}  # fmt: skip

Dice = random.Random


def _some(dice: Dice, choices: Sequence[tuple[float, str]]) -> list[str]:
    return [dice.choice(options.split()) for chance, options in choices if dice.random() < chance]


def _place(dice: Dice) -> list[str]:
    words = _some(dice, SIZES) + _some(dice, OTHERS)
    dice.shuffle(words)
    return ["srun", *words, SEEN]


def _few(dice: Dice) -> list[str]:
    return [dice.choice(["-n1", "-n2", "-n2", "-n3", "-n4 -O", "-N2", "-N1 -n2", "-N2 -n3"])]


def _end(dice: Dice) -> list[str]:
    how = _some(
        dice, ((0.2, "-K0 --kill-on-bad-exit=0"), (0.2, "-W0"), (0.1, "-Q -l"), (0.1, "-X -u --quit-on-interrupt"))
    )
    last = ("./exits.sh", "./exits.sh 3", "./exits.sh 128", "./dies.sh", "./dies.sh TERM", "./dies.sh USR1 1 3", "./dies.sh SEGV 0 0",
            "./dies.sh INT 1 7", "./dies.sh PIPE 1", "true", "false", "sh -c 'exit 256'", "no-such-command", "./two.conf",
            "./late.sh 2", "./late.sh 0", "./late.sh 3 1")  # fmt: skip
    program = dice.choice(last)
    if "late" in program:  # only where a task stays is it certain that there is one left to end
        return ["srun", dice.choice(["-n2", "-n2 -O", "-N1 -n2"]), dice.choice(["-K -W1", "-K1 -W1", "-W1"]), program]
    return ["srun", *_few(dice), *how, program]


def _files(dice: Dice) -> list[str]:
    names = ("f.%t", "f.%n", "f.%3t", "f.%%", "f.%x", "f.%u", "f.%s", "f.%2n-%t", "f.%q", "none", "all", "0", "1", "9", "f.\\\\%t", "./f.o",
             "/dev/null")  # fmt: skip
    words = ["-o" + dice.choice(names)] if dice.random() < 0.9 else []
    words += ["-e" + dice.choice(names).replace("f.", "f.e")] if dice.random() < 0.5 else []
    words += _some(dice, ((0.3, "-l"), (0.2, "--open-mode=append --open-mode=truncate --open-mode=x"), (0.1, "-u")))
    source = ["-i" + dice.choice(["none", "all", "0", "1", "in.txt", "/no/such"])] if dice.random() < 0.2 else []
    program = "sh -c 'cat; echo $SLURM_PROCID'" if source else "./says.sh"
    return ["rm -f f.*; seq 2 > in.txt;", "srun", *_few(dice), *words, *source, program,
            "; echo $?; tail -n +1 f.* 2>/dev/null"]  # fmt: skip


def _environment(dice: Dice) -> list[str]:
    outer = _some(dice, (
        (0.2, "SLURM_NTASKS=2 SLURM_NTASKS=3 SLURM_NPROCS=1 SLURM_NTASKS= SLURM_NTASKS=x"), (0.15, "SLURM_NNODES=1 SLURM_JOB_NUM_NODES=2 SLURM_NNODES=1-2"),
        (0.15, "SLURM_CPUS_PER_TASK=2 SRUN_CPUS_PER_TASK=2"), (0.1, "SLURM_DISTRIBUTION=cyclic SLURM_DISTRIBUTION=block SLURM_DISTRIBUTION=bogus"),
        (0.1, "SLURM_OVERCOMMIT=1 SLURM_EXACT=1 SLURM_OVERLAP=1 SLURM_EXCLUSIVE=1 SLURM_WHOLE=1"),
        (0.1, "SLURM_EXPORT_ENV=NONE SLURM_EXPORT_ENV=ALL SRUN_EXPORT_ENV=MINE"), (0.1, "SLURM_MEM_PER_NODE=100 SLURM_MEM_PER_CPU=9000"),
        (0.1, "SLURM_GPUS=1 SLURM_GRES=gpu:1 SLURM_GPUS_PER_TASK=1 SLURM_GPU_BIND=single:1"), (0.05, "SLURM_HINT=nomultithread SLURM_THREADS_PER_CORE=1"),
        (0.1, "SLURM_NTASKS_PER_NODE=1 SLURM_NTASKS_PER_NODE=2 SLURM_TASKS_PER_NODE=1"), (0.1, "SLURM_TIMELIMIT=1 SLURM_TIMELIMIT=bogus SLURM_JOB_NAME=other"),
        (0.05, "SLURM_EXIT_ERROR=5 SLURM_EXIT_IMMEDIATE=6 SLURM_DEBUG=0 SLURM_WAIT=3 SLURM_KILL_BAD_EXIT=1 SLURM_KILL_BAD_EXIT=0"),
        (0.05, "SLURM_REMOTE_CWD=/tmp SLURM_WORKING_DIR=/tmp SLURM_RESTART_COUNT=2"),
    ))  # fmt: skip
    words = _some(dice, ((0.6, "--export=NONE --export=ALL --export=MINE --export=ALL,YOURS=2 --export=MINE,YOURS=3 --export=YOURS='a,b'"
                               " --export=NOSUCH --export=none --export=ALL,MINE=4"), *SIZES, (0.1, "-E")))  # fmt: skip
    return ["MINE=1", *outer, "srun", *words, SEEN]


def _programs(dice: Dice) -> list[str]:
    words = _some(
        dice, ((0.7, "-n2 -n3 -n4 -n8 -n1"), (0.3, "-N2 -N1"), (0.3, "-l"), (0.3, "-O"), (0.2, "-mcyclic -mblock"))
    )
    name = dice.choice(["two", "star", "ranges", "twice", "odd", "gone"])
    return ["srun", *words, "--multi-prog", name + ".conf"]


def _hosts(dice: Dice) -> list[str]:
    words = _some(
        dice, ((0.6, "-n1 -n2 -n3 -n4 -n5"), (0.2, "-N1 -N2"), (0.2, "-c2"), (0.2, "--exact --overlap"), (0.2, "-O"))
    )
    how = dice.choice(
        [
            "-marbitrary",
            "-marbitrary",
            "-mblock",
            "",
            "-wn1,n2,n1",
            "-wn2,n1 -marbitrary",
            "-w ./hosts.3 -marbitrary",
            "-w ./hosts.2",
        ]
    )
    outer = [f"SLURM_HOSTFILE=hosts.{dice.randint(1, 6)}"] if "-w" not in how else []
    return [*outer, "srun", *words, *how.split(), SEEN]


def _beside(dice: Dice) -> list[str]:
    """Steps beside a running one; each is created at once or not at all."""
    lines = []
    for _ in range(dice.choice((2, 2, 3))):
        sizes = dice.choice(["-n1", "-n1", "-n2", "-N1", "-N1 -n1", "-N1 -n2", "-N2 -n2", "-n1 -c2"])
        words = _some(dice, ((0.8, "--exact --exact --overlap --exclusive"), (0.2, "--mem=100"), (0.2, "-G1 --gres=gpu:1 --gres=none"),
                             (0.1, "-r1 -wn1 -wn2")))  # fmt: skip
        lines.append(" ".join([sizes, *words]))
    first, *others = lines
    return ["rm -f held go; srun", first, "./holds.sh & while [ ! -e held ] && kill -0 $! 2>/dev/null; do sleep 0.05; done;",
            *(f"srun -I1 {other} ./where.sh;" for other in others), ": > go; wait $!; echo $?"]  # fmt: skip


def _groups(dice: Dice) -> list[str]:
    group = dice.choice(
        ["", "--het-group=0", "--het-group=1", "--het-group=0,1", "--het-group=0-1", "--het-group=2", "--het-group=1,0"]
    )
    words = [
        *([group] if group else []),
        *_some(dice, SIZES),
        *_some(dice, ((0.2, "--exact --overlap"), (0.1, "-mcyclic -mblock"), (0.1, "-O"))),
    ]
    line = ["srun", *words, SEEN]
    if dice.random() < 0.4:
        line += [":", *_some(dice, ((0.5, "--het-group=1 --het-group=0"), *SIZES)), SEEN]
    return line


_KINDS: tuple[tuple[float, Callable[[Dice], list[str]]], ...] = (
    (10, _place), (1.5, _end), (1.5, _files), (2, _environment), (1, _programs), (1.5, _hosts), (1.5, _beside),
)  # fmt: skip


def lines(shape: str, number: int, seed: int = 25) -> list[str]:
    """Lines for an allocation; each has a pair of words that no earlier line has."""
    dice = random.Random(f"{seed} {shape}")
    kinds = [*_KINDS, (12, _groups)] if " : " in shape else _KINDS
    found: list[str] = []
    pairs: set[tuple[str, str]] = set()
    while len(found) < number:
        make = dice.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]
        words = make(dice)
        new = {(one, other) for one in words for other in words} - pairs
        if new:
            pairs |= new
            found.append(" ".join(words))
    return found


def case(shape: str, number: int, seed: int = 25) -> Case:
    """An allocation and its steps; the first line records srun's environment."""
    inside = ["./known.sh | tee outer.env", *lines(shape, number, seed)]
    # srun of 22.05 looks for -c of its job in a variable that sbatch and salloc do not set.
    per_task = re.search(r"-c(\d+)", shape)
    alloc = f"{shape} env SRUN_CPUS_PER_TASK={per_task[1]}" if per_task else shape
    return Case(f"step-{SHAPES.index(shape)}", (Inside(alloc, tuple(Run(line, free=True) for line in inside)),), FILES)


CASES: tuple[Case, ...] = tuple(case(shape, 10) for shape in SHAPES)
