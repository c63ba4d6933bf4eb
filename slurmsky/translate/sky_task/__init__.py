"""Translates JobSpec and Site to a SkyPilot task, and SkyPilot's status to Slurm's state. Pure."""
