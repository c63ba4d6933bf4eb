#!/bin/bash
#SBATCH -J blast
#SBATCH -p normal
#SBATCH -N 1
#SBATCH -n 1
#SBATCH -c 8
#SBATCH --mem 64000
#SBATCH -t 48:00:00
#SBATCH -o blast.%j.out
#SBATCH -e blast.%j.err
echo "threads: ${SLURM_CPUS_PER_TASK}"
blastn -num_threads $SLURM_CPUS_PER_TASK -db nt -query q.fa -out hits.tsv
echo "finished" >&2
