#!/bin/bash
#SBATCH --job-name=parent
#SBATCH --output=parent.out
#SBATCH --time=5

# The job finds out how much there is to do, and submits just that.
count=$(wc -l < data/params.txt)
child=$(sbatch --parsable --array=1-$count --job-name=child --output=logs/child_%a.out --wrap='echo child $SLURM_ARRAY_TASK_ID')
echo "submitted $count elements"
until [ -z "$(squeue -h -j "$child" 2>/dev/null)" ]; do sleep 0.5; done
cat logs/child_*.out | sort | tr '\n' ';'
