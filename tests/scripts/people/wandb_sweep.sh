#!/usr/bin/env bash
#SBATCH --job-name=wandb
#SBATCH --output=/dev/null
#SBATCH --gres=gpu:1
#SBATCH --time=1:00
set -euo pipefail
exec > wandb.log 2>&1
export WANDB_MODE=offline
echo "agent ${SLURM_JOB_NAME}"
for trial in $(seq 1 2); do train --trial "$trial"; done
