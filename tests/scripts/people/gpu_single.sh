#!/bin/bash
#SBATCH --job-name=train
#SBATCH --partition=gpu
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=1G
#SBATCH --time=24:00:00
#SBATCH --output=logs_%j.out
#SBATCH --signal=B:USR1@60
module load cuda/12.1 anaconda3
nvidia-smi
echo "GPUs: $SLURM_GPUS_ON_NODE CPUs: $SLURM_CPUS_PER_TASK"
train --epochs 10 --workers $SLURM_CPUS_PER_TASK
