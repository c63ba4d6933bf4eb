#!/bin/bash
#SBATCH --licenses=matlab:2,ansys@server:1
#SBATCH --reservation=course_2024
#SBATCH --wckey=phase1
#SBATCH --nice=50
#SBATCH -o lic.out
echo licensed
