#!/bin/bash
#SBATCH --job-name=embed
#SBATCH --gres=gpu:1
#SBATCH -c 8
#SBATCH --mem=32GB
#SBATCH -t 0-4
#SBATCH -o logs/embed-%j.out -e logs/embed-%j.err

eval "$(conda shell.bash hook)"
conda activate embeddings

which python
python -u src/train.py --lr 0.01 --steps 2
