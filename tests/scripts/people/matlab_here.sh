#!/bin/bash
#SBATCH -J mat
#SBATCH -o mat.out
#SBATCH -c 4
#SBATCH --mem=8gb
matlab -nodisplay -nosplash << END
disp('inside')
exit
END
echo "status $?"
