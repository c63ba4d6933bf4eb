"""Translates jobs to SkyPilot tasks, and SkyPilot's status to states."""
