#!/bin/bash
#SBATCH --job-name=r_fit
#SBATCH --partition=short
#SBATCH --account=stats_lab
#SBATCH --time=0-02:00
#SBATCH --ntasks=1
#SBATCH --mem=16G            # memory for the whole job
#SBATCH --output=fit_%j.log
#SBATCH --mail-type=END,FAIL
#SBATCH --mail-user=someone@example.org

module purge
module load R/4.3.1

echo "Start: job $SLURM_JOB_NAME with $SLURM_NTASKS task, $SLURM_CPUS_ON_NODE CPU"
cd $SLURM_SUBMIT_DIR
Rscript --vanilla fit.R 2019 2020
echo "Exit code $?"
