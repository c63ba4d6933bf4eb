#!/bin/bash
#SBATCH --job-name=ddp
#SBATCH -N 2
#SBATCH --ntasks-per-node=4
#SBATCH --gres=gpu:4
#SBATCH -c 2
#SBATCH -o ddp_tasks.out
export MASTER_PORT=$(expr 10000 + 77)
export WORLD_SIZE=$(($SLURM_NNODES * $SLURM_NTASKS_PER_NODE))
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
getent hosts $MASTER_ADDR > /dev/null && echo "master resolves"
echo "WORLD_SIZE=$WORLD_SIZE"
srun bash -c 'echo "RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID of $WORLD_SIZE"' | sort
