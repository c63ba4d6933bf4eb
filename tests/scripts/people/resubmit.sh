#!/bin/bash
#SBATCH -o resubmit.out --open-mode=append
#SBATCH -t 3
N=${N:-0}
echo "run $N"
if [ "$N" -lt 2 ]; then
    sbatch --export=ALL,N=$((N + 1)) --dependency=afterany:$SLURM_JOB_ID -p long "$SLURM_SUBMIT_DIR/resubmit.sh" > /dev/null
fi
