#!/bin/bash
#SBATCH --job-name=container
#SBATCH --output=container.out
#SBATCH --cpus-per-task=4
#SBATCH --gpus=1
#SBATCH --time=30

IMAGE=${IMAGE:-docker://ubuntu:24.04}
runtime=$(command -v apptainer || command -v singularity)
if [ -z "$runtime" ]; then
    echo "neither apptainer nor singularity here: running outside of a container"
    python3 src/train.py --steps 1
else
    srun "$runtime" exec --nv --bind "$PWD:/work" "$IMAGE" python3 src/train.py --steps 1
fi
