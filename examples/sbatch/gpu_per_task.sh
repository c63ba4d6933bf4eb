#!/bin/bash
#SBATCH --job-name=per-task
#SBATCH --ntasks=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-gpu=4G
#SBATCH --output=per_task.out

srun bash -c 'echo "rank $SLURM_PROCID sees ${CUDA_VISIBLE_DEVICES:-nothing}"' | sort
echo "job has ${SLURM_GPUS_PER_TASK} for each of $SLURM_NTASKS tasks"
