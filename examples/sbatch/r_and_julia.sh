#!/bin/bash
#SBATCH --job-name=stats
#SBATCH --output=stats_%j.txt
#SBATCH --array=1-2
#SBATCH --mem=2G --time=20:00

case $SLURM_ARRAY_TASK_ID in
1)  program=Rscript; code='cat("mean", mean(1:9), "\n")' ;;
2)  program=julia;   code='println("mean ", sum(1:9) / 9)' ;;
esac
if command -v $program > /dev/null; then
    $program -e "$code"
else
    echo "$program is not installed here; skipped"
fi
