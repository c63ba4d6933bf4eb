#!/bin/bash -e
#SBATCH --job-name=strict
#SBATCH --output=strict.out
#SBATCH --error=strict.err
#SBATCH --no-requeue
#SBATCH --ntasks=2
set -uo pipefail
trap 'echo "line $LINENO failed with $?" >&2' ERR
echo "before"
srun bash -c 'exit $((SLURM_PROCID * 3))'
echo "never reached"
