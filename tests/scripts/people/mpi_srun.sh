#!/bin/bash
#SBATCH --job-name=lammps
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=1
#SBATCH --time=12:00:00
#SBATCH --partition=compute
#SBATCH --account=bbk
#SBATCH --output=lmp.%j.out
#SBATCH --error=lmp.%j.err
module load lammps
echo "Running on $SLURM_JOB_NUM_NODES nodes with $SLURM_NTASKS tasks ($SLURM_TASKS_PER_NODE)"
srun --cpu-bind=cores bash -c 'echo "rank $SLURM_PROCID local $SLURM_LOCALID node $SLURM_NODEID"' | sort -k2 -n
