#!/bin/tcsh
#SBATCH --job-name=csh_run
#SBATCH --ntasks=2
#SBATCH --time=00:05:00
#SBATCH --output=csh.out
setenv RESULT "$SLURM_JOB_NAME"
set n = $SLURM_NTASKS
echo "name $RESULT tasks $n"
foreach i (1 2 3)
  echo "item $i"
end
srun -n 2 echo "from srun"
