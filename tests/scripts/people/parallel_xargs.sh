#!/bin/bash
#SBATCH --ntasks=6
#SBATCH --nodes=1
#SBATCH --cpus-per-task=1
#SBATCH -o xargs.out
seq 1 6 | xargs -P $SLURM_NTASKS -I{} srun -N1 -n1 -c1 --exact echo item {} | sort
