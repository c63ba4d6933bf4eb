#!/bin/bash
#SBATCH --nodes=3
#SBATCH --tasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --output=ray.out
#SBATCH --time=10
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
nodes_array=($nodes)
head_node=${nodes_array[0]}
srun --nodes=1 --ntasks=1 -w "$head_node" ray start --head --num-cpus "${SLURM_CPUS_PER_TASK}" --block &
sleep 0.3
worker_num=$((SLURM_JOB_NUM_NODES - 1))
for ((i = 1; i <= worker_num; i++)); do
    node_i=${nodes_array[$i]}
    srun --nodes=1 --ntasks=1 -w "$node_i" ray start --num-cpus "${SLURM_CPUS_PER_TASK}" --worker $i --block
done
wait
