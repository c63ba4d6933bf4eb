"""JobSpec and Site -> SkyPilot task; SkyPilot's status -> Slurm's state. Pure."""
