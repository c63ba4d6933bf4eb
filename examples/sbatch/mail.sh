#!/bin/bash
#SBATCH --job-name=nightly
#SBATCH --mail-type=BEGIN,END,FAIL
#SBATCH --mail-type=END,FAIL          # of this option all count; of others the last
#SBATCH --mail-user=ada@example.org
#SBATCH --time=00:01:00
#SBATCH --comment="nightly build, see wiki"
#SBATCH --nice=50
#SBATCH --output=nightly.txt
scontrol show job "$SLURM_JOB_ID" | grep -E -o '(MailUser|MailType|Nice)=[^ ]*'
