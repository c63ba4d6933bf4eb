#!/bin/bash
#SBATCH --partition=gpu
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=2
#SBATCH --mem=256G
#SBATCH --account=a --qos=b --constraint=c
#SBATCH -o large.out
echo "$SLURM_JOB_CPUS_PER_NODE $SLURM_TASKS_PER_NODE $SLURM_NTASKS $SLURM_NNODES"
srun -l bash -c 'echo $SLURM_GPUS_ON_NODE' | sort -n
