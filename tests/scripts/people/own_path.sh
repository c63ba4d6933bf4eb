#!/bin/bash
#SBATCH -o own.out -t 2
basename "$0"
basename "${BASH_SOURCE[0]}"
[ "$0" = "${BASH_SOURCE[0]}" ] && echo "not sourced"
ORIGINAL=$(scontrol show job $SLURM_JOB_ID | awk -F= '/Command=/{print $2}')
basename "$ORIGINAL"
[ -f "$(dirname "$ORIGINAL")/models/tiny.sh" ] && echo "files beside the original"
