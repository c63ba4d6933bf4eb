#!/bin/bash
#SBATCH --gres=gpu:h100:2
#SBATCH --partition=a100q
#SBATCH --time=1-00:00:00
#SBATCH --output=typed.out
#SBATCH --constraint=gpu80
echo "job gpus ${SLURM_JOB_GPUS} count ${SLURM_GPUS_ON_NODE}"
srun bash -c 'echo "step $SLURM_STEP_GPUS"'
