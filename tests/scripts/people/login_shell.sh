#!/bin/bash --login
#SBATCH --job-name=post
#SBATCH --ntasks=2
#SBATCH --time=5
#SBATCH --output=post.%j.out
#SBATCH --export=ALL
set -e
which srun > /dev/null && echo "srun is there"
srun --label bash -c 'echo task $SLURM_PROCID of $SLURM_NTASKS' | sort
bash -lc 'command -v scontrol > /dev/null && echo "and in a nested login shell"'
