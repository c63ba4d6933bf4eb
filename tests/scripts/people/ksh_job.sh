#!/bin/ksh -l
#SBATCH -o ksh.out -t 2
integer n=3
print "n=$((n + 1))"
srun -n1 echo ksh step
