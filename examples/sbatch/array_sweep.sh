#!/usr/bin/env bash
#SBATCH --job-name=sweep
#SBATCH --array=1-5%2
#SBATCH --output=logs/%x_%A_%a.out
#SBATCH --error=logs/%x_%A_%a.err
#SBATCH --cpus-per-task=1
#SBATCH --mem=500M
#SBATCH --time=0-00:10

set -euo pipefail

# One line of the list for each element: learning rate and seed.
line=$(sed -n "${SLURM_ARRAY_TASK_ID}p" data/params.txt)
read -r lr seed <<< "$line"

echo "element $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT: lr=$lr seed=$seed"
python3 src/train.py --lr "$lr" --seed "$seed" --steps 3 --out "results_${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}.json"
