#!/bin/bash
#SBATCH --job-name=gpt:pretrain
#SBATCH --nodes=2 --exclusive --ntasks-per-node=8 --gpus-per-node=4
#SBATCH --output=megatron.out
#SBATCH --mem=0
#SBATCH --overcommit
#SBATCH --dependency=singleton
NAME=gpt3
DIR=`pwd`
DATETIME=`date +'date_%y-%m-%d_time_%H-%M-%S'`
mkdir -p $DIR/mlogs
options=" \
  --tensor-model-parallel-size 8 \
  --num-layers 24 "
run_cmd="echo \$SLURM_PROCID pretrain ${options}"
srun -l --output=$DIR/mlogs/%x_%j.log bash -c "${run_cmd}"
sort -n $DIR/mlogs/*.log | sed "s/^ *//"
