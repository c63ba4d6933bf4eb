#!/bin/bash
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=1:00:00
#SBATCH --output=exclusive.out
#SBATCH --job-name=whole-node

echo "cpus on node: $SLURM_CPUS_ON_NODE, per node: $SLURM_JOB_CPUS_PER_NODE"
scontrol show job $SLURM_JOB_ID | grep -o 'OverSubscribe=[A-Z]*'
scontrol show node $SLURMD_NODENAME | grep -o 'State=[A-Z]*'
