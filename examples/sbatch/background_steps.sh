#!/bin/bash
#SBATCH --job-name=four-at-once
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=500M
#SBATCH --time=15
#SBATCH --output=background_%j.out

for part in 1 2 3 4; do
    srun --exact --ntasks=1 --cpus-per-task=2 --mem-per-cpu=500M bash -c "sleep 1; echo part $part done" &
    pids[$part]=$!
done
failed=0
for pid in "${pids[@]}"; do
    wait "$pid" || failed=$((failed + 1))
done
echo "failed: $failed"
sacct -j "$SLURM_JOB_ID" --format=JobID,State --noheader > /dev/null && exit $failed
