#!/bin/bash
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --output=ds.out
#SBATCH --time=5
HOSTFILE=hostfile.$$
function makehostfile() {
perl -e '$slots=split /,/, $ENV{"SLURM_STEP_GPUS"};
$slots=4 if $slots==0;
@nodes = split /\n/, qx[scontrol show hostnames $ENV{"SLURM_JOB_NODELIST"}];
print map { "NODE$_ slots=$slots\n" } 1..scalar(@nodes)'
}
makehostfile > $HOSTFILE
cat $HOSTFILE
rm $HOSTFILE
