#!/bin/bash
#SBATCH --job-name="my long run"   # the name
#SBATCH --comment='two words'
#SBATCH	--time=01:00:00
#SBATCH --output="quoted_%j.out"
##SBATCH --nodes=64
# SBATCH --mem=1T
echo "name: $SLURM_JOB_NAME"
#SBATCH --ntasks=99
echo "tasks: $SLURM_NNODES node"
