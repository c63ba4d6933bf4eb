#!/bin/sh
#SBATCH -n1 -t5 --output heredoc.out

cat > input_$SLURM_JOB_ID.nml <<EOF
&control
  job    = '$SLURM_JOB_ID'
  prefix = 'si'   ! costs \$0
/
EOF

# The second document is a program, taken as it is.
python3 - "input_$SLURM_JOB_ID.nml" <<'PY'
import sys
#SBATCH --nodes=64
text = open(sys.argv[1]).read()
print("lines:", len(text.splitlines()), "dollar kept:", "$0" in text)
PY
