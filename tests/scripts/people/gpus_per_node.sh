#!/bin/bash
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=0
#SBATCH --partition=gpu
#SBATCH --account=proj_ml
#SBATCH --qos=high
#SBATCH --output=ddp.out
#SBATCH --time=4-00:00:00
nodes=( $( scontrol show hostnames $SLURM_JOB_NODELIST ) )
nodes_array=($nodes)
head_node=${nodes_array[0]}
head_node_ip=$(srun --nodes=1 --ntasks=1 -w "$head_node" hostname --ip-address)
echo "nodes ${#nodes[@]}, have an address: ${head_node_ip:+yes}"
export LOGLEVEL=INFO
srun torchrun --nnodes $SLURM_NNODES --nproc_per_node $SLURM_GPUS_ON_NODE --rdzv_id 7 --rdzv_backend c10d train.py
