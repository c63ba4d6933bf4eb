#!/bin/bash
#SBATCH --job-name=deepspeed
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:4
#SBATCH --time=04:00:00
#SBATCH --output=deepspeed-%j.out

# Launchers that want a host file: name and slots, one node a line.
HOSTFILE=hostfile-$SLURM_JOB_ID
for host in $(scontrol show hostnames $SLURM_NODELIST); do
    echo "$host slots=4"
done > $HOSTFILE
cat $HOSTFILE

GPUS=$(awk -F= '{n += $2} END {print n}' $HOSTFILE)
echo "world size $GPUS"
srun --ntasks=$SLURM_NNODES --ntasks-per-node=1 bash -c 'echo "node rank $SLURM_NODEID is $SLURMD_NODENAME"' | sort
rm $HOSTFILE
