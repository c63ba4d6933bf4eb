#!/bin/zsh -l
#SBATCH -o zsh.out -t 2
typeset -A cfg; cfg[lr]=0.1
echo "lr $cfg[lr] in $SLURM_JOB_NAME"
srun -n1 echo zsh step
