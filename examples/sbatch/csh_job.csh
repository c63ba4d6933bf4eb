#!/bin/tcsh
#SBATCH --job-name=legacy
#SBATCH --output=legacy.out
#SBATCH --ntasks=1
#SBATCH --time=00:10:00

setenv MODEL_DIR "$SLURM_SUBMIT_DIR"
set n = 1
while ($n <= 3)
    echo "cycle $n of $SLURM_JOB_NAME"
    @ n++
end
if (-d $MODEL_DIR) echo "model dir found"
exit 0
