#!/bin/bash
#SBATCH -N 2
#SBATCH -n 8
#SBATCH --ntasks-per-node=4
#SBATCH -t 3
#SBATCH -o dist.out
srun -m cyclic bash -c 'echo $SLURM_PROCID $SLURM_NODEID' | sort -n
srun -m block bash -c 'echo $SLURM_PROCID $SLURM_NODEID' | sort -n
