#!/bin/bash
#SBATCH -o nested.out
#SBATCH -t 3
id=$(sbatch --parsable -p other -o child.out --wrap 'echo child of $SLURM_JOB_NAME')
echo "submitted ${id:+one}"
for i in $(seq 1 100); do [ -s child.out ] && break; sleep 0.2; done
cat child.out
