#!/bin/bash
# Submit the three stages, each after the one before: ./chain.sh (this one is run, not submitted).
set -euo pipefail

prep=$(sbatch --parsable -J prep --wrap="sleep 1; echo 'a b c' > corpus_chain.txt")
train=$(sbatch --parsable -J train --dependency=afterok:$prep stage.sh corpus_chain.txt)
eval=$(sbatch --parsable --job-name=eval --dependency=afterok:"$train" -o eval_chain.out --wrap="wc -w < corpus_chain.model")
# Runs only if training failed; otherwise Slurm removes it.
sbatch -J alarm --dependency=afternotok:$train --kill-on-invalid-dep=yes --wrap="echo training failed" > /dev/null

echo "submitted $prep -> $train -> $eval"
squeue --me --format="%.10i %.8j %.10T %E" | head -n 5
