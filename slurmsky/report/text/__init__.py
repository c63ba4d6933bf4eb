"""Records as the text that Slurm's commands print."""
