#!/bin/bash
#SBATCH --job=abbr
#SBATCH --out=abbr.log
#SBATCH --err=abbr.log
#SBATCH --tasks-per-node 2
#SBATCH --nodes=1
#SBATCH --time=00:01:00
echo "per node $SLURM_NTASKS_PER_NODE, all $SLURM_NTASKS, list $SLURM_TASKS_PER_NODE"
srun -l echo hi | sort
