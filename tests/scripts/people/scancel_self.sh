#!/bin/bash
#SBATCH -o self.out
#SBATCH -t 5
echo before
scancel $SLURM_JOB_ID
sleep 20
echo after
