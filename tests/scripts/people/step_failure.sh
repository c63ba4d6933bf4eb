#!/bin/bash
#SBATCH -o failure.out -n 2 -N 1
#SBATCH -t 5
srun -n 2 bash -c 'exit $SLURM_PROCID'
echo "code $?"
srun nosuchprogram_at_all 2> /dev/null
echo "code $?"
srun --kill-on-bad-exit=1 false
exit $?
