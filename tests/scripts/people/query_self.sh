#!/bin/bash
#SBATCH -J asks
#SBATCH -o asks.out
#SBATCH -t 30
#SBATCH -N 2
squeue -h -j $SLURM_JOB_ID -o "%j %T %D %C %l"
scontrol show job $SLURM_JOB_ID | grep -o "NumNodes=[0-9]*\|TimeLimit=[^ ]*\|JobState=[A-Z]*"
sinfo -h -N -n $SLURM_JOB_NODELIST -o "%N" | sort -u | wc -l
scontrol show node $SLURMD_NODENAME | grep -c NodeName=
