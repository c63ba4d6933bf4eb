#!/bin/bash
#SBATCH --job-name=coupled
#SBATCH --output=coupled.out
#SBATCH --time=10
#SBATCH --ntasks=1 --cpus-per-task=2 --mem-per-cpu=100   # the ocean
#SBATCH hetjob
#SBATCH --ntasks=3 --cpus-per-task=1 --mem-per-cpu=200   # the atmosphere

echo "components: $SLURM_HET_SIZE"
echo "ocean on $SLURM_JOB_NODELIST_HET_GROUP_0, atmosphere on $SLURM_JOB_NODELIST_HET_GROUP_1"
srun --label --het-group=0,1 bash -c 'echo "task $SLURM_PROCID, $SLURM_CPUS_ON_NODE CPUs here"' | sort
