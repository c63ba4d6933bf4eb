#!/bin/bash -l
#SBATCH --nodes 1
#SBATCH --ntasks 1
#SBATCH --time 00:05:00
#SBATCH --job-name "login shell"
#SBATCH --output login.%j.txt

shopt -q login_shell && echo "this is a login shell"
echo "name: $SLURM_JOB_NAME, home: ${HOME:+set}, path has bin: $(case :$PATH: in *:/usr/bin:*) echo yes;; esac)"
