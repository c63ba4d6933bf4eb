#!/bin/bash
# One job for each point of a grid: ./submit_grid.sh (run, not submitted); scripts come from stdin.
for lr in 0.1 0.01; do
for batch in 16 32; do
name=grid_${lr}_${batch}
sbatch <<EOF
#!/bin/bash
#SBATCH --job-name=${name}
#SBATCH --output=logs/${name}.out
#SBATCH --time=00:10:00
#SBATCH --mem=1G
echo "lr=$lr batch=$batch job=\$SLURM_JOB_NAME"
EOF
done
done
