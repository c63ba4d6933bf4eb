"""slurmsky: Slurm's commands for SkyPilot and for one machine."""

__version__ = "0.1.0"
