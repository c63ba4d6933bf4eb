#!/bin/bash
#SBATCH -o requeue.out --open-mode=append
#SBATCH --requeue -t 5
echo "restart ${SLURM_RESTART_COUNT:-0}"
