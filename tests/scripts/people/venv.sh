#!/bin/bash
#SBATCH --output=venv.out
#SBATCH --time=5
mkdir -p $SLURM_JOB_ID.env/bin
printf 'VIRTUAL_ENV=x; PATH=%s/bin:$PATH\n' "$PWD/$SLURM_JOB_ID.env" > $SLURM_JOB_ID.env/bin/activate
source $SLURM_JOB_ID.env/bin/activate
echo "venv ${VIRTUAL_ENV}"
srun -n1 echo in step
