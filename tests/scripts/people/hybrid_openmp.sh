#!/bin/bash
#SBATCH --job-name=hybrid
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=4
#SBATCH --output=hybrid.log
#SBATCH --time=1:00:00
#SBATCH --constraint=cpu
#SBATCH --qos=regular
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun bash -c 'echo "rank $SLURM_PROCID threads $OMP_NUM_THREADS cpus $SLURM_CPUS_PER_TASK"' | sort
