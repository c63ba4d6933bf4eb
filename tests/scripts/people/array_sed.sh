#!/bin/bash
#SBATCH -a 2-6:2
#SBATCH -o line_%a.txt
#SBATCH -t 2
printf 'alpha\nbeta\ngamma\ndelta\nepsilon\nzeta\n' > names.$SLURM_ARRAY_TASK_ID
NAME=$(sed -n "${SLURM_ARRAY_TASK_ID}p" names.$SLURM_ARRAY_TASK_ID)
echo "$NAME step ${SLURM_ARRAY_TASK_STEP}"
if [ "$SLURM_ARRAY_TASK_ID" -eq 4 ]; then exit 3; fi
