#!/bin/bash
#SBATCH -J mpi_hello
#SBATCH -o mpi_hello.out
#SBATCH -N 2
#SBATCH --ntasks-per-node=4
#SBATCH --time=00:05:00
#SBATCH --hint=nomultithread

echo "launching $SLURM_NTASKS ranks on $SLURM_NNODES nodes ($SLURM_TASKS_PER_NODE)"
# MPI_TYPE=pmi2 or pmix where mpi4py and its MPI are installed.
srun --mpi=${MPI_TYPE:-none} python3 src/mpi_hello.py | sort -t' ' -k2n
