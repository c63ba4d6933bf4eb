#!/bin/bash
#SBATCH --job-name=finetune
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gres=gpu:h100:4
#SBATCH --mem=128G
#SBATCH --time=12:00:00
#SBATCH --output=logs/%x-%j.out
#SBATCH --account=nlp
#SBATCH --partition=gpu

set -e
source env.sh

export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / 4))
export NCCL_DEBUG=WARN

echo "GPUs: ${CUDA_VISIBLE_DEVICES:-none}"
torchrun --standalone --nnodes=1 --nproc_per_node=4 src/train.py \
    --lr 3e-4 \
    --steps 2
