#!/bin/bash
#SBATCH -N 2 --ntasks-per-node=1
#SBATCH -o bcast.out -t 5
sbcast -f models/tiny.sh /tmp/tiny.$SLURM_JOB_ID
srun bash -c 'wc -l < /tmp/tiny.$SLURM_JOB_ID'
rm -f /tmp/tiny.$SLURM_JOB_ID
