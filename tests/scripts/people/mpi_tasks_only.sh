#!/bin/bash
#SBATCH --ntasks=16
#SBATCH --time=00:30:00
#SBATCH --mem-per-cpu=100
#SBATCH --output=ranks.out
#SBATCH --partition=cpu
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
echo "NPROCS $SLURM_NPROCS of $SLURM_NTASKS"
srun -n $SLURM_NTASKS bash -c 'echo $SLURM_PROCID' | sort -n | tail -n 1
srun -N 1 -n 4 --exact echo four | wc -l
