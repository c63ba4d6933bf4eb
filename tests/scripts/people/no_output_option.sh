#!/bin/bash
#SBATCH -n1 -t1 --mem=100
echo "default log file"
echo "to stderr" 1>&2
