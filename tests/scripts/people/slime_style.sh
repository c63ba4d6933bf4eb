#!/bin/bash
#SBATCH --job-name=slime
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --output=slime.out
SCRIPT_DIR="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" &>/dev/null && pwd)"
if [ ! -f "${SCRIPT_DIR}/models/tiny.sh" ] && [ -n "${SLURM_SUBMIT_DIR:-}" ]; then
    SCRIPT_DIR=$SLURM_SUBMIT_DIR
fi
source "${SCRIPT_DIR}/models/tiny.sh"
echo "args: ${MODEL_ARGS[@]}"
