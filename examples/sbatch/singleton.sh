#!/bin/bash
#SBATCH --job-name=one-at-a-time
#SBATCH --dependency=singleton
#SBATCH --output=singleton.log
#SBATCH --open-mode=append
echo "begin $SLURM_JOB_ID"
sleep 1
echo "end $SLURM_JOB_ID"
