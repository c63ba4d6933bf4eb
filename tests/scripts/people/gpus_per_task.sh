#!/bin/bash
#SBATCH --ntasks=4
#SBATCH --nodes=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=2
#SBATCH --output=gpt.out
#SBATCH --partition=accelerated
srun bash -c 'echo "task $SLURM_PROCID gpus $SLURM_GPUS_ON_NODE"' | sort
