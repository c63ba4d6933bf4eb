#!/bin/bash
#SBATCH --nodelist=node[01-02]
#SBATCH --exclude=badnode7
#SBATCH --nodes=2
#SBATCH -o nl.out
echo "$SLURM_JOB_NUM_NODES"
srun -l echo x | sort
