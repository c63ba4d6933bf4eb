#!/bin/bash
#SBATCH -o staging.out
#SBATCH --tmp=10G
#SBATCH --gres=lscratch:100
#SBATCH -t 10
SCR=${TMPDIR:-/tmp}/run.$SLURM_JOB_ID
mkdir -p $SCR && trap 'rm -rf $SCR' EXIT
cp models/tiny.sh $SCR/
(cd $SCR && wc -l < tiny.sh > lines.txt)
cat $SCR/lines.txt
