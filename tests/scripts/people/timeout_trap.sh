#!/bin/bash
#SBATCH -o trap.out
#SBATCH -t 00:01:00
#SBATCH --signal=B:TERM@30
cleanup() { echo "cleaning up"; exit 0; }
trap cleanup USR1
kill -USR1 $$
sleep 5
echo "not reached"
