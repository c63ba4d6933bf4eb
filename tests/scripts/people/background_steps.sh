#!/bin/bash
#SBATCH --nodes=1
#SBATCH --ntasks=4
#SBATCH --output=bg.out
#SBATCH --time=10
for i in 1 2 3 4; do
    srun --ntasks=1 --exclusive --mem=10 bash -c "sleep 0.2; echo part $i > part.$i" &
done
wait
cat part.1 part.2 part.3 part.4
