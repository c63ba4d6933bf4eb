#!/bin/bash
#SBATCH --job-name=nemo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --gpus-per-node=2
#SBATCH --partition=batch_gpu
#SBATCH --output=pmix.out
srun --mpi=pmix --kill-on-bad-exit=1 bash -c 'echo "rank $SLURM_PROCID of $SLURM_NTASKS"' | sort
