#!/bin/bash
#SBATCH --time=10
#SBATCH --output=stage-%j.out
# usage: sbatch stage.sh CORPUS
corpus=$1
[ -s "$corpus" ] || { echo "no corpus $corpus" >&2; exit 1; }
tr ' ' '\n' < "$corpus" > "${corpus%.txt}.model"
echo "trained on $corpus in $SLURM_SUBMIT_DIR"
