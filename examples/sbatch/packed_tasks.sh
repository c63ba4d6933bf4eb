#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=3
#SBATCH --mem-per-cpu=100
#SBATCH --time=20
#SBATCH --output=packed.out

# More work than places: xargs keeps every place busy.
seq 1 12 | xargs -P "$SLURM_NTASKS" -I{} \
    srun --exact --mem-per-cpu=100 -N1 -n1 --quiet bash -c 'echo "item {} on $SLURMD_NODENAME"'
echo "all $(date +%Y | wc -l) batch finished"
