#!/bin/bash
#SBATCH -o args.out
#SBATCH --input=models/tiny.sh
echo "arguments: $# [$1] [$2]"
head -n 1
