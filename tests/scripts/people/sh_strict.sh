#!/bin/sh
#SBATCH -J strict
#SBATCH -o strict.%j.out
#SBATCH -t 10
#SBATCH --open-mode=append
set -eu
: "${SLURM_JOB_ID:?}"
step() { echo "step $1"; }
step one
step two
false || echo "recovered"
trap 'echo "leaving with $?"' EXIT
exit 7
