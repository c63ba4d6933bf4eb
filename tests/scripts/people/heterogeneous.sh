#!/bin/bash
#SBATCH -o het.out --ntasks=1 --mem=100
#SBATCH hetjob
#SBATCH --ntasks=2 --partition=gpu --gres=gpu:1
echo "components $SLURM_HET_SIZE"
srun --het-group=0,1 -l echo here | sort
