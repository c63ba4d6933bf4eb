#!/bin/bash -l
#SBATCH --job-name=stream
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --hint=nomultithread
#SBATCH --time=00:20:00
#SBATCH --output=stream.out
#SBATCH --account=k01234
export OMP_PLACES=cores OMP_PROC_BIND=close
export OMP_NUM_THREADS=4
srun --hint=nomultithread -n 1 -c 4 stream_c.exe | tee stream.txt
echo "ran as ${SLURM_JOB_NAME} on ${SLURM_JOB_NUM_NODES} node"
