#!/bin/bash
#SBATCH --job-name=eval
#SBATCH --array=0-2
#SBATCH --gres=gpu:1
#SBATCH --partition=gpu
#SBATCH --output=eval-%a.log
echo "gpus on node: $SLURM_GPUS_ON_NODE"
CKPTS=(a.pt b.pt c.pt)
evaluate --checkpoint ${CKPTS[$SLURM_ARRAY_TASK_ID]}
