#!/bin/bash
#SBATCH --job-name=notebook
#SBATCH --output=notebook-%j.log
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=8:00:00

port=$(shuf -i 8000-9999 -n 1)
node=$(hostname -s)
user=$(whoami)

cat <<EOF
From your own machine:

    ssh -N -L ${port}:${SLURMD_NODENAME}:${port} ${user}@login.example.org

then open http://localhost:${port}/ ; to end it: scancel ${SLURM_JOB_ID}
EOF

jupyter lab --no-browser --port="$port" --ip="$node"
