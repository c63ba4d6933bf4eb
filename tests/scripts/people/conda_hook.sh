#!/bin/bash
#SBATCH --output=conda.out
#SBATCH --time=5
source activate.sh
conda activate myenv
echo "env $CONDA_DEFAULT_ENV"
train --env
conda deactivate
