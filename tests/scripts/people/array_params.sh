#!/bin/bash
#SBATCH --job-name=sweep
#SBATCH --array=1-4%2
#SBATCH --time=0:05:00
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=2G
#SBATCH --output=sweep_%a.out
#SBATCH --partition=batch
LR=(0.1 0.01 0.001 0.0001)
i=$((SLURM_ARRAY_TASK_ID - 1))
echo "task ${SLURM_ARRAY_TASK_ID} of ${SLURM_ARRAY_TASK_COUNT} (${SLURM_ARRAY_TASK_MIN}-${SLURM_ARRAY_TASK_MAX})"
train --lr ${LR[$i]} --seed $SLURM_ARRAY_TASK_ID
