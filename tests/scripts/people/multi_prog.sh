#!/bin/bash
#SBATCH --ntasks=3
#SBATCH --output=mp.out
#SBATCH --time=5
cat > mp.conf << EOF
0    echo master of %t
1-2  echo worker %t offset %o
EOF
srun -l --multi-prog mp.conf | sort
