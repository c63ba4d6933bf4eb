"""Launches: a job's files, its task, and the request to SkyPilot."""
