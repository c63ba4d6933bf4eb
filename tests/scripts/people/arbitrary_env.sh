#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks=2
#SBATCH --output=env.out
#SBATCH --time=3
export MY_VAR="hello world"
srun --export=ALL,EXTRA=1 bash -c 'echo "$MY_VAR $EXTRA"'
srun --export=NONE /bin/bash -c 'echo "[${MY_VAR-unset}]"'
