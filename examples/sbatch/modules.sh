#!/bin/bash
#SBATCH --job-name=cfd
#SBATCH --nodes=1
#SBATCH --ntasks=2
#SBATCH --time=01:00:00
#SBATCH --output=cfd.%j.out
#SBATCH --constraint="intel"

set -e
module purge
module load gcc/12.2.0 openmpi/4.1.5 && module load fftw
ml hdf5
module list

srun -n $SLURM_NTASKS bash -c 'echo "rank $SLURM_PROCID with $LOADEDMODULES"'
