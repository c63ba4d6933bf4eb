#!/usr/bin/env python3
#SBATCH --job-name=pure-python
#SBATCH --output=python_%j.out
#SBATCH --ntasks=2
#SBATCH --time=5
"""A job may be written in any language that has '#' comments."""
import os
import subprocess

#SBATCH --ntasks=16   (too late: this stands after the first statement)
print("python job", os.environ["SLURM_JOB_NAME"], "with", os.environ["SLURM_NTASKS"], "tasks", flush=True)
ranks = subprocess.run(["srun", "sh", "-c", "echo $SLURM_PROCID"], capture_output=True, text=True, check=True)
print("ranks:", " ".join(sorted(ranks.stdout.split())))
