#!/bin/bash
#SBATCH --export=NONE
#SBATCH --output=clean.out
#SBATCH --time=00:05:00
unset SLURM_EXPORT_ENV

echo "secret: ${MY_SECRET:-not here}"
echo "submitted from: ${SLURM_SUBMIT_DIR:+known}"
srun bash -c "echo task \$SLURM_PROCID"