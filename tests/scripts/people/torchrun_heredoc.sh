#!/bin/bash
#SBATCH --nodes=2
#SBATCH --gpus-per-node=2
#SBATCH --ntasks-per-node=1
#SBATCH --output=hd.out
#SBATCH --time=10:00
export GPUS_PER_NODE=2
export NNODES=$SLURM_NNODES
LAUNCHER="torchrun --nnodes $NNODES --nproc_per_node $GPUS_PER_NODE --node_rank \$SLURM_PROCID"
CMD=" \
  train.py \
  --batch 4 \
  "
SRUN_ARGS=" \
    --wait=60 \
    --kill-on-bad-exit=1 \
    "
srun $SRUN_ARGS --jobid $SLURM_JOB_ID bash -c "$LAUNCHER $CMD" 2>&1 | sort
