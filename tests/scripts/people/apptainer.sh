#!/bin/bash
#SBATCH --job-name=cont
#SBATCH --gres=gpu:1
#SBATCH --output=cont.out
#SBATCH --partition=gpu_p2
IMG=container.sif
apptainer exec --nv --bind $PWD:/work $IMG python /work/train.py
singularity run $IMG
