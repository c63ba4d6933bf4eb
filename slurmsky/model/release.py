"""The Slurm release that slurmsky emulates."""

from __future__ import annotations

RELEASE = "25.11.8"
MAJOR, MINOR, MICRO = RELEASE.split(".")
