#!/bin/bash
#SBATCH --job-name=hello
#SBATCH --ntasks=1
#SBATCH --time=00:05:00
#SBATCH --output=slurm-%j.out

# The first job: says who runs it, and where.
echo "Hello from job $SLURM_JOB_ID ($SLURM_JOB_NAME) of $(id -un) on $SLURMD_NODENAME"
echo "submitted in $SLURM_SUBMIT_DIR, with $SLURM_CPUS_ON_NODE CPU(s)"
srun bash -c 'echo "a step: task $SLURM_PROCID of $SLURM_NTASKS"'
sleep 2
