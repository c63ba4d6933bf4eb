#!/bin/bash
#SBATCH --array=0-9:3
#SBATCH --out=logs/genome-%a.txt
#SBATCH --mem-per-cpu=200

SAMPLES=(liver_1 liver_2 liver_3 heart_1 heart_2 heart_3 brain_1 brain_2 brain_3 blood)
SAMPLE=${SAMPLES[$SLURM_ARRAY_TASK_ID]}
echo "Task $SLURM_ARRAY_TASK_ID ($SLURM_ARRAY_TASK_MIN..$SLURM_ARRAY_TASK_MAX step $SLURM_ARRAY_TASK_STEP): $SAMPLE"
if [ "$SAMPLE" == heart_1 ]; then
    echo "no reads for $SAMPLE" >&2
    exit 4
fi
