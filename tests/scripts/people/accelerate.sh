#!/bin/bash
#SBATCH --job-name=accel
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:4
#SBATCH --exclusive
#SBATCH --output=accel.out
function launch() {
  accelerate launch --num_processes $((SLURM_NNODES * 4)) --num_machines $SLURM_NNODES --machine_rank $1 main.py
}
for ((node_rank=0; node_rank<SLURM_NNODES; node_rank++)); do
  launch $node_rank
done
