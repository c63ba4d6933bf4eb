#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --output=hf.out
#SBATCH --time=10
#SBATCH --exclusive
scontrol show hostnames $SLURM_JOB_NODELIST > nodes.txt
wc -l < nodes.txt
srun -l bash -c 'echo $SLURMD_NODENAME' | sort -n | awk '{print $2}' | uniq -c | awk '{print $1}'
mympi -np $SLURM_NTASKS -machinefile nodes.txt ./a.out
