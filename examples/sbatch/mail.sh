#!/bin/bash
#SBATCH --job-name=nightly
#SBATCH --mail-type=BEGIN,END,FAIL
#SBATCH --mail-type=END,FAIL          # the last one counts
#SBATCH --mail-user=ada@example.org
#SBATCH --time=00:01:00
#SBATCH --comment="nightly build, see wiki"
#SBATCH --nice=50
#SBATCH --output=nightly.txt
scontrol show job "$SLURM_JOB_ID" | grep -E -o '(MailUser|MailType|Nice)=[^ ]*'
