#!/bin/bash
#SBATCH --job-name=stage
#SBATCH --output=stage_%j.log
#SBATCH --ntasks=1
#SBATCH --tmp=0
#SBATCH --time=00:10:00

# Work on the node's own disk; copy the results back in any case.
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/job_${SLURM_JOB_ID}.XXXX")
copy_back() {
    cp -v "$SCRATCH"/*.sorted "$SLURM_SUBMIT_DIR"/
    rm -rf "$SCRATCH"
}
trap copy_back EXIT

cp data/params.txt "$SCRATCH"/
cd "$SCRATCH" || exit 1
sort -k1,1g params.txt > params.sorted
echo "sorted $(wc -l < params.sorted) lines in scratch"
