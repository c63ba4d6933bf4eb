#!/bin/bash
#SBATCH	-J tabs
#SBATCH -o tabs.out  	# where it goes
#SBATCH --time=1-12
#SBATCH -A 'acc t'
echo "$SLURM_JOB_NAME"