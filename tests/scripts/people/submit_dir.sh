#!/bin/bash
#SBATCH --chdir=models
#SBATCH -o submit_dir.out
[ "$PWD" = "$SLURM_SUBMIT_DIR" ] || echo "in $(basename $PWD), submitted from its parent"
cd "$SLURM_SUBMIT_DIR"
ls models
