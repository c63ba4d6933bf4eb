"""Converts a batch script to the SkyPilot YAML that a user would write by hand. Pure."""
