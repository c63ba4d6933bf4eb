#!/bin/bash
#SBATCH --time=10:00
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4GB
#SBATCH --output=mpc.txt
#SBATCH --constraint=skylake|cascadelake
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
echo "OMP_NUM_THREADS=$OMP_NUM_THREADS"
srun solver --threads $OMP_NUM_THREADS input.cfg
