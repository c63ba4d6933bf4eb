#!/bin/bash
#SBATCH -n 2 -N 1
#SBATCH -o overlap.out
#SBATCH -t 5
srun -n 2 sleep 2 &
sleep 0.5
srun --overlap -n 1 echo "monitor beside the program"
wait
echo done
