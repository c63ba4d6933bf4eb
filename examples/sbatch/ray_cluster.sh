#!/bin/bash
#SBATCH --job-name=ray-tune
#SBATCH --nodes=3
#SBATCH --exclusive
#SBATCH --tasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --output=ray-%j.out

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
nodes_array=($nodes)

head_node=${nodes_array[0]}
head_node_ip=$(srun --nodes=1 --ntasks=1 -w "$head_node" hostname --ip-address | awk '{print $1}')
port=6379
ip_head=$head_node:$port
export ip_head
echo "IP Head: $ip_head (${head_node_ip:+known})"

echo "Starting HEAD at $head_node"
srun --nodes=1 --ntasks=1 -w "$head_node" \
    ray start --head --node-ip-address="$head_node" --port=$port --num-cpus "$SLURM_CPUS_PER_TASK" --block &
sleep 1

worker_num=$((SLURM_JOB_NUM_NODES - 1))
for ((i = 1; i <= worker_num; i++)); do
    node_i=${nodes_array[$i]}
    echo "Starting WORKER $i at $node_i"
    srun --nodes=1 --ntasks=1 -w "$node_i" \
        ray start --address "$ip_head" --num-cpus "$SLURM_CPUS_PER_TASK" --block &
done
sleep 1

python3 src/ray_driver.py "$SLURM_CPUS_PER_TASK" "$SLURM_JOB_NUM_NODES"
ray stop
wait
