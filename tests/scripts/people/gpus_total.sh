#!/bin/bash
#SBATCH --gpus=4
#SBATCH --nodes=1
#SBATCH --cpus-per-gpu=2
#SBATCH --mem-per-gpu=100
#SBATCH --output=gt.out
echo "gpus $SLURM_GPUS cpus per gpu $SLURM_CPUS_PER_GPU on node $SLURM_GPUS_ON_NODE"
