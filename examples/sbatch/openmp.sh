#!/bin/bash
#SBATCH -J omp_scaling
#SBATCH -o %x.o%j
#SBATCH -N 1
#SBATCH -n 1
#SBATCH -c 4
#SBATCH -t 10

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
export OMP_PROC_BIND=close OMP_PLACES=cores
echo "Using $OMP_NUM_THREADS threads on $SLURM_JOB_NODELIST"
srun --cpus-per-task=$SLURM_CPUS_PER_TASK python3 src/threads.py
