#!/bin/bash
#SBATCH --job-name=server-clients
#SBATCH --output=multi_prog.out
#SBATCH --nodes=2
#SBATCH --ntasks=4
#SBATCH --time=5

cat > roles_$SLURM_JOB_ID.conf <<EOF
0    echo server is task %t
1-3  echo client %o of task %t
EOF
srun --label --multi-prog roles_$SLURM_JOB_ID.conf | sort
rm roles_$SLURM_JOB_ID.conf
