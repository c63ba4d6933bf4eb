#!/usr/bin/env python3
#SBATCH --job-name=pyjob
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=3
#SBATCH --output=pyjob.out
import os
import subprocess

print("cpus", os.environ["SLURM_CPUS_PER_TASK"], "tasks", os.environ["SLURM_NTASKS"], flush=True)
subprocess.run(["srun", "-n", "1", "echo", "step"], check=True)
