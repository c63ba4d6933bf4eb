#!/bin/bash
#SBATCH --job-name=long_run
#SBATCH --time=01:00:00
#SBATCH --signal=B:USR1@300      # five minutes before the end
#SBATCH --requeue
#SBATCH --open-mode=append       # one log over all restarts
#SBATCH --output=long_run_%j.log

resubmit() {
    echo "caught USR1 after restart ${SLURM_RESTART_COUNT:-0}, requeueing $SLURM_JOB_ID"
    kill -TERM "$worker" 2> /dev/null
    scontrol requeue "$SLURM_JOB_ID"
    wait
}
trap resubmit USR1

echo "start number $(( ${SLURM_RESTART_COUNT:-0} + 1 ))"
if [ "${SLURM_RESTART_COUNT:-0}" -eq 0 ]; then
    srun sleep 600 &
else
    srun echo "second half" &
fi
worker=$!
wait "$worker"
echo "worker ended"
