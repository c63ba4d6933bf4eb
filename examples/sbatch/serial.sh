#!/bin/bash
#SBATCH --job-name=primes        # shown by squeue
#SBATCH --output=primes_%j.log   # stdout and stderr together
#SBATCH --ntasks=1               # one process
#SBATCH --mem=1gb                # memory for the job
#SBATCH --time=00:05:00          # hh:mm:ss
##SBATCH --partition=long        # not needed for such a small one

pwd; hostname; date
echo "Running on one CPU core"
python3 src/primes.py 2000
date
