"""srun outside and inside of jobs: output, labels, placement, input, exit codes, signals, several steps."""

from __future__ import annotations

from case import Case, Inside, Run, Until, Wait

PROG = "0 echo zero %t %o\n1-2 echo some %t %o\n* echo rest %t %o\n"
FILES = {
    "multi.conf": PROG,
    "bad.conf": "0 echo zero\nx-y echo some\n",
    "short.conf": "0 echo zero\n",
    "input.txt": "first\nsecond\n",
    "in.0": "zero\n",
    "in.1": "one\n",
    "plain.txt": "not a program\n",
    "where.sh": "#!/bin/bash\necho $SLURM_PROCID $SLURMD_NODENAME $SLURM_LOCALID\n",
    "exits.sh": "#!/bin/bash\nexit $SLURM_PROCID\n",
    "dies.sh": "#!/bin/bash\n[ $SLURM_PROCID = 1 ] && kill -9 $$\nexit 5\n",
    "late.sh": "#!/bin/bash\n[ $SLURM_PROCID = 0 ] && exit ${1:-0}\nexec sleep 30\n",
}  # fmt: skip

# Without an allocation of their own: each line gets one.
OUTSIDE: tuple[Run, ...] = tuple(Run(line, free=True) for line in (
    "srun true", "srun false", "srun sh -c 'exit 7'", "srun -n4 ./where.sh", "srun -N4 ./where.sh", "srun -N2 -n4 -l ./where.sh",
    "srun -n11 -l sh -c 'echo x'", "srun -n3 ./exits.sh", "srun -N2 -n4 ./exits.sh", "srun -n2 ./dies.sh", "srun sh -c 'kill -TERM $$'",
    "srun sh -c 'kill -SEGV $$'", "srun sh -c 'kill -USR1 $$'", "srun sh -c 'kill -INT $$'", "srun /no/such/command", "srun no-such-command",
    "srun ./plain.txt", "srun /tmp", "srun -D /no/such/folder pwd", "srun -D /tmp pwd", "srun -n2 -o all.txt ./where.sh; cat all.txt | sort",
    "srun -N2 -n4 -o task.%t ./where.sh; cat task.?", "srun -o node.%N ./where.sh; cat node.*",
    "srun -N2 -o index.%n ./where.sh; cat index.0 index.1", "srun -n2 -o step.%s.%t ./where.sh; ls step.*",
    "srun -o job.%j sh -c :; ls job.* | wc -l", "srun -n2 -o 1 ./where.sh", "srun -n2 -o none ./where.sh", "srun -n2 -o all ./where.sh",
    "srun -o out.txt -e err.txt sh -c 'echo o; echo e >&2'; cat out.txt; cat err.txt", "srun -o both.txt sh -c 'echo o; echo e >&2'; sort both.txt",
    "srun -n2 -o pad.%3t ./where.sh; ls pad.*", "srun sh -c 'echo o; echo e >&2'", "srun -l sh -c 'echo o; echo e >&2'",
    "srun -n2 -l sh -c 'printf unfinished'", "srun -n2 -i input.txt cat", "srun -n2 -i none cat",
    "srun -n2 cat < input.txt", "srun -n2 -i 1 -l cat < input.txt", "echo piped | srun cat", "srun -i /no/such/file cat",
    "srun -o no/such/folder/x true", "srun -n4 --multi-prog multi.conf", "srun -n4 -l --multi-prog multi.conf", "srun -n2 --multi-prog bad.conf",
    "srun -n2 --multi-prog short.conf", "srun -n2 --multi-prog /no/such", "srun", "srun -n0 true", "srun -nx true", "srun -N9-2 true",
    "srun -w n9 true", "srun -p nosuch true", "srun --mem=99G true", "srun -I1 -c99 true", "srun --gres=gpu:9 true", "srun -t x true",
    "srun --jobid=99999999 true", "srun -r1 true", "srun -n2 -K ./late.sh 3", "srun -n2 -W1 ./late.sh", "srun -Q -n2 ./exits.sh",
    "srun --export=NONE /usr/bin/env | grep -c ^PATH=", "srun --export=ALL,MY_A=5 sh -c 'echo $MY_A'", "srun -w n3 ./where.sh",
    "srun -x n1 ./where.sh", "srun -N2 -n2 -w n[2-4] ./where.sh", "srun -n2 -N3 ./where.sh", "srun --unbuffered -n2 ./where.sh",
    "srun -J named sh -c 'squeue -h -s -o \"%i %j\" | grep ^$SLURM_JOB_ID[.]0' | cut -d' ' -f2", "srun --mpi=none true", "srun --mpi=bogus true", "srun --open-mode=a -o add.txt echo 1;"
    " srun --open-mode=a -o add.txt echo 2; cat add.txt", "srun -v --bogus true", "srun -n1 : -n2 ./where.sh", "srun -n2 : true",
    "srun --pty true", "srun printf 'no newline at the end'", "srun printf '\\001\\377\\n' | od -c", "srun sh -c 'echo a b  c'",
    "srun echo 'quoted   blanks' \"it's\"", "srun --umask 022 true", "SLURM_EXIT_ERROR=9 srun -p nosuch true", "SRUN_LABELIO=1 srun -n2 echo x",
    "SLURM_LABELIO=1 srun -n2 echo x", "SLURM_NTASKS=3 srun ./where.sh", "SLURM_NNODES=2 srun ./where.sh", "SLURM_STDOUTMODE=env.%t srun -n2 ./where.sh;"
    " cat env.0 env.1", "srun -I true", "srun -I1 -N5 true", "srun --begin=bogus true", "srun -n3 --ntasks-per-node=1 ./where.sh",
    "srun --immediate=5 -N2 true; echo $?", "srun --quit-on-interrupt true", "srun --task-prolog=/bin/true true",
))  # fmt: skip

# Inside `salloc -N3 -n6 --mem=300 --gres=gpu:2`.
WIDE: tuple[Run, ...] = tuple(Run(line, free=True) for line in (
    "srun ./where.sh", "srun -n3 ./where.sh", "srun -N1 ./where.sh", "srun -N1 -n1 ./where.sh", "srun -N2 -n2 ./where.sh", "srun -n1 -N1 -r2 ./where.sh",
    "srun -N2 -n2 -r1 ./where.sh", "srun -N1 -n1 -r3 ./where.sh", "srun -w n2 -n2 ./where.sh", "srun -w n3 -N1 -n1 ./where.sh", "srun -w n4 ./where.sh",
    "srun -x n1 -N1 -n1 ./where.sh", "srun -n6 -m cyclic ./where.sh", "srun -n6 -m block ./where.sh", "srun -n6 -m plane=1 ./where.sh", "srun -n7 ./where.sh",
    "srun -n7 -O ./where.sh", "srun -n99 true", "srun -N4 true", "srun -N9 true", "srun --ntasks-per-node=1 ./where.sh", "srun -n6 ./exits.sh",
    "srun -n2 -N2 ./dies.sh", "srun -l -n6 sh -c 'echo $SLURM_NODEID'", "srun --exact -n1 -N1 ./where.sh", "srun --exact -n2 -c1 -N1 ./where.sh",
    "srun --overlap -n3 ./where.sh", "srun --exclusive -n1 -N1 ./where.sh", "srun -c2 -n3 ./where.sh", "srun -c9 -n1 true", "srun --mem=100 -n1 -N1 ./where.sh",
    "srun --mem=9G -n1 -N1 true", "srun --gres=gpu:1 -n1 -N1 sh -c 'echo $CUDA_VISIBLE_DEVICES $SLURM_STEP_GPUS'", "srun --gres=gpu:9 -n1 true",
    "srun --jobid=$SLURM_JOB_ID -n2 -N1 ./where.sh", "srun -p gpu -n1 -N1 ./where.sh",
    "for i in 1 2 3; do srun --exact --mem=50 -n1 -N1 sh -c 'sleep 1; echo done' & done; wait", "srun -n1 -N1 sleep 5 & sleep 0.5; kill $!; wait $!; echo $?",
    "srun -n3 -N3 hostname | sort -u | wc -l", "srun -n6 -K ./late.sh 2",
    "srun -n6 -W1 ./late.sh", "srun -t 0:01 -n1 -N1 true", "srun -n1 -N1 -J inner sh -c 'echo $SLURM_JOB_NAME $SLURM_STEP_ID' | cut -d' ' -f1",
    "srun -n1 -N1 srun --overlap -n1 -N1 echo nested", "scontrol show hostnames", "scontrol show hostnames $SLURM_JOB_NODELIST | head -n1", "squeue -h -j $SLURM_JOB_ID -o %D",
    "SLURM_HOSTFILE=hosts srun -n4 -m arbitrary ./where.sh", "srun -N3 --multi-prog three.conf", "cat input.txt | srun -n2 -N1 -i all cat", "srun -n2 -N1 --input=0 -l cat < input.txt",
    "srun --export=MY_B=1,PATH sh -c 'echo $MY_B'", "srun -n1 -N1 -D /tmp pwd", "srun -n1 no-such-command", "srun -n1 ./plain.txt", "srun -n3 -o w.%t ./where.sh; cat w.0 w.1 w.2",
    "srun --quiet -n2 -N1 ./exits.sh", "srun -n2 -N1 --kill-on-bad-exit=0 ./exits.sh", "sbcast -f input.txt there.txt && srun -N3 -n3 cat there.txt",
    "sbcast input.txt there.txt",
))  # fmt: skip

# Inside `salloc -n2`, the commonest shape: two tasks on one node.
NARROW: tuple[Run, ...] = tuple(Run(line, free=True) for line in (
    "srun ./where.sh", "srun -n1 ./where.sh", "srun -n2 -l ./where.sh", "srun -n3 ./where.sh", "srun -N1 ./where.sh", "srun -N2 ./where.sh", "srun false", "srun sh -c 'exit 300'",
    "srun --exact -n1 ./where.sh & srun --exact -n1 ./where.sh & wait", "srun -n2 sleep 1 & srun -n2 echo waited; wait", "srun --overlap -n2 sleep 1 & srun --overlap -n2 echo beside; wait",
    "srun sh -c 'echo $SLURM_STEP_ID' | sort -u | wc -l", "srun -c2 ./where.sh", "srun --immediate=1 -n2 true",
))  # fmt: skip

# Options that were once accepted and did nothing: limits, sizes that stay, devices of a step.
OPTIONS: tuple[Run, ...] = tuple(Run(line, free=True) for line in (
    "srun -n1 -N1 --whole -c1 sh -c 'echo $SLURM_CPUS_ON_NODE'", "srun -n1 -N1 --whole --exact true",
    "srun -E -n1 -N1 sh -c 'echo $SLURM_NTASKS $SLURM_NPROCS $SLURM_NNODES $SLURM_STEP_NUM_TASKS $SLURM_TASKS_PER_NODE'",
    "SLURM_NTASKS=77 SLURM_NNODES=1 srun -E -n2 -N1 sh -c 'echo $SLURM_NTASKS $SLURM_NNODES $SLURM_NPROCS'",
    "srun --resv-ports -n1 -N1 true", "srun --resv-ports=4 -n1 -N1 true",
    "ulimit -Sn 512; srun -n1 -N1 sh -c 'ulimit -Sn'", "ulimit -Sn 512; srun -n2 -N2 sh -c 'ulimit -Sn'", "ulimit -Sn 512; srun --propagate -n1 -N1 sh -c 'ulimit -Sn'",
    "ulimit -Sn 512; srun --propagate=NONE -n1 -N1 sh -c '[ `ulimit -Sn` = 512 ] || echo other'",
    "ulimit -Sn 512; ulimit -Sc 0; srun --propagate=CORE -n1 -N1 sh -c '[ `ulimit -Sn` = 512 ] || echo other; ulimit -Sc'",
    "srun -n1 -N1 -G1 sh -c 'echo $CUDA_VISIBLE_DEVICES $SLURM_STEP_GPUS'", "srun -n3 -N3 -G3 sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'",
    "srun -n2 -N2 -G3 sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'", "srun -n2 -N2 -G4 true", "srun -n3 -N3 -G2 sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'", "srun -n1 -N1 -G9 true",
    "srun -n2 -N1 --gpus-per-task=1 sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'", "srun -n1 -N1 --gpus-per-node=1 sh -c 'echo $CUDA_VISIBLE_DEVICES'",
    "srun -N1 -n2 --ntasks-per-gpu=1 sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'", "srun -N1 -n1 --ntasks-per-gpu=1 sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'",
    "srun -N1 -n2 --ntasks-per-gpu=2 sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'",
    "srun -n2 -N1 --gpu-bind=single:1 --gres=gpu:2 sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES'",
    "srun -i /tmp -n1 -N1 cat; echo $?", "srun -o /tmp -n1 -N1 true", "srun --begin=now+1hour -n1 -N1 true", "srun --hold -n1 -N1 echo held",
    "srun -t 0 -n1 -N1 true",
))  # fmt: skip

IN_FILES = {**FILES, "hosts": "n2\nn1\nn2\nn3\n", "three.conf": "0-2 echo low %t %o\n3-5 echo high %t %o\n"}

CASES: tuple[Case, ...] = (
    *(Case(f"outside-{number}", (run,), FILES) for number, run in enumerate(OUTSIDE)),
    Case("inside-wide", (Inside("-N3 -n6 --mem=300 --gres=gpu:2", WIDE),), IN_FILES),
    Case("inside-narrow", (Inside("-n2", NARROW),), IN_FILES),
    Case("inside-options", (Inside("-N3 -n6 --mem=300 --gres=gpu:2", OPTIONS),), IN_FILES),
    Case("inside-batch", (Inside("-n2", NARROW, via="sbatch"),), IN_FILES),
    Case("salloc", (
        "salloc true", "salloc false", "salloc sh -c 'exit 7'", "salloc sh -c 'kill -9 $$'", "salloc /no/such/command", Run("salloc -n2 srun ./where.sh", free=True),
        "salloc -Q echo quiet", "salloc -J held sh -c 'echo $SLURM_JOB_NAME'",), FILES),
    Case("salloc-no-shell", ("salloc --no-shell -n2", Run("srun --jobid=$J1 ./where.sh", free=True), "scancel $J1"), FILES),
    Case("salloc-cancelled", (
        "salloc sh -c 'scancel $SLURM_JOB_ID; sleep 2; echo still here'", "salloc -K sh -c 'scancel $SLURM_JOB_ID; sleep 5; echo still here'"), FILES),
    Case("srun-cancelled", (
        "{ srun -J victim sleep 30 > srun.out 2> srun.err; echo $? > srun.rc; } & until squeue -h -s -o %j | grep -q victim; do sleep 0.1; done;"
        " sleep 1; scancel -n victim; wait; cat srun.rc",
        Run("sed 's/STEP [0-9]*/STEP ID/' srun.err", free=True)), FILES),
    Case("batch-signals", (
        "sbatch traps.sh", Until("grep -q ready slurm-$J1.out"), "scancel -b -s USR1 $J1", Until("grep -q got slurm-$J1.out"), "scancel -s USR2 $J1",
        "scancel $J1", Wait("$J1", "CANCELLED"), "cat slurm-$J1.out"),
        {"traps.sh": "#!/bin/bash\ntrap 'echo got usr1' USR1\ntrap 'echo got usr2' USR2\ntrap 'echo got term; exit 3' TERM\necho ready\n"
         "while :; do sleep 0.2 & wait $!; done\n"}),
    Case("batch-files", (
        "sbatch -o a-%j-%x.out -e a-%j.err -J n1 say.sh", "sbatch -o trunc.out say.sh", Wait("$J2", "COMPLETED"), "sbatch -o trunc.out say.sh",
        Wait("$J3", "COMPLETED"), "cat trunc.out", "sbatch --open-mode=append -o trunc.out say.sh", Wait("$J4", "COMPLETED"), "cat trunc.out",
        "sbatch -o /dev/null say.sh", "sbatch -i input.txt cat.sh", Wait("$J6", "COMPLETED"), "cat slurm-$J6.out", "sbatch -a 1-2 say.sh",
        Wait("${J7}_1", "COMPLETED"), Wait("${J7}_2", "COMPLETED"), "ls", "sbatch -o %N-%n-%t-%s-%u-%4j-%% say.sh", Wait("$J8", "COMPLETED"), "ls | sed -n 's/^[^-]*-0-0-batch/NODE-0-0-batch/p'",
        "sbatch -o 'bs\\%j.txt' say.sh", Wait("$J9", "COMPLETED"), "ls | grep '^bs'"),
        {"say.sh": "#!/bin/sh\necho out\necho err >&2\n", "cat.sh": "#!/bin/sh\ncat\n", "input.txt": "from a file\n"}),
)  # fmt: skip
