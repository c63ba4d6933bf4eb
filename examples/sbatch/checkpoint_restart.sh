#!/bin/bash
#SBATCH --job-name=ckpt
#SBATCH --output=ckpt.log
#SBATCH --open-mode=append
#SBATCH --time=30

# Continues where its last run stopped; submit it again until it says "finished".
CKPT=ckpt.state
step=$(cat $CKPT 2>/dev/null || echo 0)
echo "job $SLURM_JOB_ID starts at step $step"
for ((i = 0; i < 3; i++)); do
    step=$((step + 1))
    echo $step > $CKPT.tmp && mv $CKPT.tmp $CKPT
done
if [ $step -lt 6 ]; then
    sbatch --dependency=afterany:$SLURM_JOB_ID "$(scontrol show job $SLURM_JOB_ID | sed -n 's/^ *Command=//p')"
else
    echo finished at step $step
fi
