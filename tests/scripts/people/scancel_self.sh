#!/bin/bash
#SBATCH -o self.out
#SBATCH -t 5
echo before
scancel $SLURM_JOB_ID
exec sleep 20
